"""Damaged rows cost only the checkpoints that need them, and are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch

from bench.train import checkpoint, rows
from bench.train.checkpoint_files import files_of, read_index
from bench.train.loop import Trainer
from tests.train.buffered import Snapshot, assert_equal, buffer, snapshot

pytestmark = pytest.mark.usefixtures("by_rows")


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
