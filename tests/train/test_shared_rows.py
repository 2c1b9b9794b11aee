"""Checkpoints that share rows keep every promise: atomic, two of them, to the bit, damage told, disk use bounded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.files.tensors import load_tensors
from bench.train import checkpoint, rows
from bench.train.checkpoint_files import files_of, read_index
from bench.train.loop import Trainer, TrainingInterrupted
from bench.train.snapshot import Selected, capture

ROWS = 24


class Buffer:
    """A state of rows: of two widths, of several types, and one tensor that is too narrow to be shared."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tensors = {
            "images": torch.rand(ROWS, 2, 3, generator=generator),
            "codes": torch.randint(0, 99, (ROWS, 3), generator=generator),
            "flags": torch.rand(ROWS, 8, generator=generator) < 0.5,
            "age": torch.zeros(ROWS, dtype=torch.int32),
        }

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        assert set(state) == set(self.tensors)
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])

    def change(self, row: int, value: int) -> None:
        for tensor in self.tensors.values():
            tensor[row] = value % 2 if tensor.dtype == torch.bool else value


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 0)
    monkeypatch.setattr(rows, "MANY", 2)
    monkeypatch.setattr(rows, "NARROW", 8)


@pytest.fixture
def buffered(scripted: Callable[..., Trainer]) -> Callable[[], Trainer]:
    def make() -> Trainer:
        trainer = scripted((3, 9, 5))
        trainer.state = Buffer()
        return trainer

    return make


def buffer(trainer: Trainer) -> Buffer:
    assert isinstance(trainer.state, Buffer)
    return trainer.state


def select(trainer: Trainer) -> None:
    state = {name: tensor.clone() for name, tensor in buffer(trainer).tensors.items()}
    trainer.selected = Selected(1, 0.5, {"weight": torch.tensor(1.0)}, state)


Snapshot = dict[str, Tensor]


def snapshot(trainer: Trainer) -> Snapshot:
    """All tensors of a trainer, the good epoch's if a checkpoint has them."""
    found = {f"now/{name}": tensor for name, tensor in capture(trainer, selected=True).tensors.items()}
    if trainer.iteration % trainer.per_epoch and trainer.good is not None:
        found |= {f"good/{name}": tensor for name, tensor in trainer.good.tensors.items()}
    return found


def assert_equal(found: Snapshot, expected: Snapshot) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def held(folder: Path) -> int:
    """Bytes of segments."""
    return sum(path.stat().st_size for path in files_of(folder).segments)


# --- kills and full disks ---------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing more happens to any file, as after SIGKILL."""


@contextlib.contextmanager
def trouble(after: int, kind: type[BaseException]) -> Iterator[None]:
    """After so many steps that change a folder or wait for a disk, the next fails.

    A kill: so does every step after that. A full disk: names and content fail, deleting goes on to work.
    """
    done = 0

    def limited(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            if done > after:
                raise Killed if kind is Killed else OSError(28, "No space left on device")
            return function(*arguments, **options)

        return step

    with contextlib.ExitStack() as stack:
        for owner, name in ((os, "fsync"), (Path, "replace"), (tempfile, "mkstemp")):
            original = getattr(owner, name)
            wrapped = limited(original)
            stack.enter_context(mock.patch.object(owner, name, wrapped))
        if kind is Killed:
            stack.enter_context(mock.patch.object(Path, "unlink", limited(Path.unlink)))
        yield


CHANGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), CHANGES),
        st.tuples(st.just("select"), st.none()),
        st.tuples(st.just("epoch"), st.none()),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.just("kill"), st.integers(0, 30)),
        st.tuples(st.just("full"), st.integers(0, 15)),
        st.tuples(st.just("restore"), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_the_last_two_named_states_are_there(
    buffered: Callable[[], Trainer], tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("job")
    trainer = buffered()
    states: dict[int, Snapshot] = {}  # by iteration; each save has its own

    def restored(place: Path) -> Trainer:
        fresh = buffered()
        said = checkpoint.restore(fresh, place)
        index = read_index(place)
        assert index is not None
        if index.checkpoints:
            assert said == f"continued at iteration {index.checkpoints[0]['iteration']}"
            assert_equal(snapshot(fresh), states[index.checkpoints[0]["iteration"]])
        else:
            assert said is None
        assert files_of(place).orphans == []
        return fresh

    def older_is_whole() -> None:
        index = read_index(folder)
        assert index is not None
        if len(index.checkpoints) < 2:
            return
        with tempfile.TemporaryDirectory() as place:
            copy = Path(shutil.copytree(folder, Path(place) / "copy"))
            (copy / index.checkpoints[0]["file"]).unlink()
            fresh = buffered()
            said = checkpoint.restore(fresh, copy)
        iteration = index.checkpoints[1]["iteration"]
        name = index.checkpoints[0]["file"]
        assert said == f"continued at iteration {iteration}; damaged and passed over: {name}"
        assert_equal(snapshot(fresh), states[iteration])

    for step, argument in [*steps, ("restore", None)]:
        if step == "change":
            for row, value in argument:
                buffer(trainer).change(row, value)
        elif step == "select":
            select(trainer)
        elif step == "epoch":
            trainer.good = capture(trainer)
        elif step == "restore":
            trainer = restored(folder)
        else:
            before = read_index(folder)
            trainer.iteration = max(states, default=0) + 1
            states[trainer.iteration] = snapshot(trainer)
            kind = {"save": None, "kill": Killed, "full": OSError}[step]
            try:
                with trouble(argument, kind) if kind else contextlib.nullcontext():
                    checkpoint.save(trainer, folder)
            except (Killed, OSError):
                assert kind is not None
                named = read_index(folder)
                assert named is not None
                # What failed may have been the wait for the disk after the last name.
                assert named == before or named.checkpoints[0]["iteration"] == trainer.iteration
                if kind is Killed:
                    trainer = restored(folder)
            else:
                named = read_index(folder)
                assert named is not None
                assert named.checkpoints[0]["iteration"] == trainer.iteration
            assert files_of(folder).orphans == []
            older_is_whole()


# --- resuming ---------------------------------------------------------------------------------------------------

SAMPLER = {"steps": 2, "buffer": 50, "reinit": 0.1}


@pytest.mark.parametrize("family", ["jem", "gmmc-joint"])
def test_resuming_changes_no_bit(trainer: Callable[..., Trainer], tmp_path: Path, family: str) -> None:
    """Networks and their optimiser are stored by rows here, too: whatever is large enough is."""
    config: dict[str, Any] = {"sampler": SAMPLER, **({"start_generative": 1} if family == "gmmc-joint" else {})}
    whole = trainer(family, **config)
    whole.run()
    for iteration in (4, 5, 6):
        part = trainer(family, **config)
        assert (checkpoint.restore(part, tmp_path) is None) == (iteration == 4)
        with pytest.raises(TrainingInterrupted):
            part.run(should_stop=lambda: part.iteration >= iteration)  # noqa: B023 - called at once
        checkpoint.save(part, tmp_path)
    named = [load_tensors(path)[0] for path in files_of(tmp_path).checkpoints]
    assert all("rows/now/state/images" in tensors and "now/state/images" not in tensors for tensors in named)
    last = trainer(family, **config)
    assert checkpoint.restore(last, tmp_path) == "continued at iteration 6"
    last.run()
    assert_equal(snapshot(last), snapshot(whole))


def test_a_checkpoint_from_before_rows_were_shared_is_read(
    buffered: Callable[[], Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It held all tensors, and its index no segments; the next one shares."""
    trainer = buffered()
    trainer.iteration = 1
    monkeypatch.setattr(rows, "LARGE", 2**40)
    checkpoint.save(trainer, tmp_path)
    path = tmp_path / checkpoint.INDEX
    path.write_text(json.dumps({"checkpoints": json.loads(path.read_text())["checkpoints"]}))
    expected = snapshot(trainer)
    monkeypatch.setattr(rows, "LARGE", 0)
    fresh = buffered()
    assert checkpoint.restore(fresh, tmp_path) == "continued at iteration 1"
    assert_equal(snapshot(fresh), expected)
    assert held(tmp_path) == 0
    fresh.iteration = 2
    checkpoint.save(fresh, tmp_path)
    assert held(tmp_path) > 0
    assert [path.name for path in files_of(tmp_path).checkpoints] == [
        "checkpoint-0.safetensors",
        "checkpoint-1.safetensors",
    ]


# --- disk use ---------------------------------------------------------------------------------------------------


def test_few_changes_take_little_room(
    buffered: Callable[[], Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of 64 rows change between two checkpoints of fifty; a selected epoch and a good one are in each."""
    monkeypatch.setattr(rows, "NARROW", 1024)
    trainer = buffered()
    images = torch.rand(64, 1024)
    row = 4096 + rows.DIGEST
    header = 256
    buffer(trainer).tensors = {"images": images}
    select(trainer)
    trainer.good = capture(trainer)
    written, sizes = [], []
    for step in range(50):
        trainer.iteration = 3 * step + 1
        images[[step % 64, 7 * step % 64]] = torch.rand(2, 1024)
        before = {path.name for path in files_of(tmp_path).segments}
        checkpoint.save(trainer, tmp_path)
        written.append(sum(path.stat().st_size for path in files_of(tmp_path).segments if path.name not in before))
        sizes.append(held(tmp_path))
    assert written[0] <= 66 * row + header  # three copies, of which two rows differ
    assert sum(size <= 2 * row + header for size in written[1:]) >= 45
    assert sum(written) < 50 * images.nbytes / 4  # fifty whole copies of one of the three would be 50
    # In use are at most the rows of the good and selected epoch, of the state, and two of the checkpoint before.
    assert max(sizes) <= 2 * (64 + 64 + 2) * row + rows.MOST_SEGMENTS * header


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.fixture
def two(buffered: Callable[[], Trainer], tmp_path: Path) -> list[Snapshot]:
    """Two checkpoints, at iterations 1 and 2; row 5 was changed between them. Their states."""
    trainer = buffered()
    states = []
    for iteration in (1, 2):
        trainer.iteration = iteration
        buffer(trainer).change(5, 1000 * iteration)
        checkpoint.save(trainer, tmp_path)
        states.append(snapshot(trainer))
    return states


IMAGES = 2 * 3 * 4
"""Bytes of a row of images; there are no others of this width but codes."""


def segment(folder: Path, number: int) -> Path:
    (path,) = folder.glob(f"rows-{number}-{IMAGES}.safetensors")
    return path


def flip(path: Path, row: int) -> None:
    """Change one bit of a row, counted from the end."""
    content = bytearray(path.read_bytes())
    content[-IMAGES * row] ^= 1
    path.write_bytes(content)


def test_damaged_rows_that_only_the_newest_needs_cost_only_that(
    buffered: Callable[[], Trainer], tmp_path: Path, two: list[Snapshot]
) -> None:
    flip(segment(tmp_path, 1), 1)
    fresh = buffered()
    said = checkpoint.restore(fresh, tmp_path)
    assert said == (
        f"continued at iteration 1; damaged and passed over: checkpoint-1.safetensors, {segment(tmp_path, 1).name}"
    )
    assert_equal(snapshot(fresh), two[0])
    # The state that the damaged one had is reached again: its rows are written anew instead of being relied on.
    fresh.iteration = 2
    buffer(fresh).change(5, 2000)
    checkpoint.save(fresh, tmp_path)
    names = [path.name for path in files_of(tmp_path).checkpoints]
    assert names == ["checkpoint-0.safetensors", "checkpoint-2.safetensors"]
    again = buffered()
    assert checkpoint.restore(again, tmp_path) == "continued at iteration 2"
    assert_equal(snapshot(again), two[1])


def test_damaged_rows_that_only_the_older_needs_cost_nothing(
    buffered: Callable[[], Trainer], tmp_path: Path, two: list[Snapshot]
) -> None:
    path = segment(tmp_path, 0)
    # Row 5 of images, then of codes: 24 rows of codes are the last.
    content = path.read_bytes()
    value = torch.full((6,), 1000.0).numpy().tobytes()
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, bytes(IMAGES)))
    fresh = buffered()
    assert checkpoint.restore(fresh, tmp_path) == "continued at iteration 2"
    assert_equal(snapshot(fresh), two[1])


def test_rows_that_only_the_older_needs_are_kept(
    buffered: Callable[[], Trainer], tmp_path: Path, two: list[Snapshot]
) -> None:
    trainer = buffered()
    assert checkpoint.restore(trainer, tmp_path)
    trainer.iteration = 4
    buffer(trainer).change(5, 4000)
    checkpoint.save(trainer, tmp_path)
    newest = max(path.name for path in files_of(tmp_path).checkpoints)
    (tmp_path / newest).unlink()
    fresh = buffered()
    said = checkpoint.restore(fresh, tmp_path)
    assert said == f"continued at iteration 2; damaged and passed over: {newest}"
    assert_equal(snapshot(fresh), two[1])


@pytest.mark.parametrize("damage", ["a bit", "truncated", "missing"])
def test_damaged_rows_that_both_need_mean_starting_over(
    buffered: Callable[[], Trainer], tmp_path: Path, two: list[Snapshot], damage: str
) -> None:
    path = segment(tmp_path, 0)
    if damage == "a bit":
        flip(path, 1)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    fresh = buffered()
    expected = snapshot(buffered())
    assert checkpoint.restore(fresh, tmp_path) == (
        f"training starts over; damaged: checkpoint-1.safetensors, {path.name}, checkpoint-0.safetensors"
    )
    assert_equal(snapshot(fresh), expected)
    assert list(tmp_path.iterdir()) == []
    checkpoint.save(fresh, tmp_path)
    assert checkpoint.restore(buffered(), tmp_path) == "continued at iteration 0"


def test_a_distrusted_segment_goes_with_the_checkpoint_that_needs_it(
    buffered: Callable[[], Trainer], tmp_path: Path, two: list[Snapshot]
) -> None:
    """The row was changed in the newest alone, but lies beside rows that both need."""
    trainer = buffered()
    assert checkpoint.restore(trainer, tmp_path)
    with mock.patch.object(rows, "MOST_SEGMENTS", 0):
        trainer.iteration = 4
        buffer(trainer).change(6, 4000)
        checkpoint.save(trainer, tmp_path)
    state = snapshot(trainer)
    path = segment(tmp_path, 2)
    value = torch.full((6,), 4000.0).numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(value, bytes(IMAGES)))
    fresh = buffered()
    said = checkpoint.restore(fresh, tmp_path)
    assert said == f"continued at iteration 2; damaged and passed over: checkpoint-2.safetensors, {path.name}"
    assert_equal(snapshot(fresh), two[1])
    index = read_index(tmp_path)
    assert index is not None
    assert index.distrusted == [path.name]
    for iteration in (4, 5):
        fresh.iteration = iteration
        buffer(fresh).change(6, 1000 * iteration)
        checkpoint.save(fresh, tmp_path)
        if iteration == 4:
            again = buffered()
            assert checkpoint.restore(again, tmp_path) == "continued at iteration 4"
            assert_equal(snapshot(again), state)
    index = read_index(tmp_path)
    assert index is not None
    assert index.distrusted == []
    assert not path.exists()
