"""Checkpoints that share rows keep every promise: atomic, two of them, to the bit, disk use bounded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.files.tensors import load_tensors
from bench.train import checkpoint, rows
from bench.train.checkpoint_files import files_of, read_index
from bench.train.loop import Trainer, TrainingInterrupted
from bench.train.snapshot import capture
from tests.train.buffered import Snapshot, assert_equal, buffer, held, select, snapshot

pytestmark = pytest.mark.usefixtures("by_rows")


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
