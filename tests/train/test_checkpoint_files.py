"""Which files of a job's folder are checkpoints, and which a kill left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.train.checkpoint_files import (
    INDEX,
    Files,
    Index,
    checkpoint_name,
    files_of,
    read_index,
    remove_orphans,
    segment_name,
)

ENTRY = {"number": 4, "file": "checkpoint-4.safetensors", "sha256": "ab", "iteration": 12}


def test_an_index_is_what_was_written(tmp_path: Path) -> None:
    index = Index([ENTRY], ["rows-0-8.safetensors", "rows-4-8.safetensors"], ["rows-0-8.safetensors"], 7)
    index.write(tmp_path)
    assert read_index(tmp_path) == index
    assert json.loads((tmp_path / INDEX).read_text())["checkpoints"] == [ENTRY]


def test_none_is_an_empty_one(tmp_path: Path) -> None:
    assert read_index(tmp_path / "absent") == Index([], [], [], 0)


def test_one_from_before_there_were_segments(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"checkpoints": [ENTRY, {**ENTRY, "number": 3}]}))
    assert read_index(tmp_path) == Index([ENTRY, {**ENTRY, "number": 3}], [], [], 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"checkpoints": 3}',
        '{"checkpoints": [3]}',
        '{"checkpoints": [{}]}',
        '{"checkpoints": []}',
        '{"checkpoints": [{"number": "x", "file": "f", "sha256": "", "iteration": 1}]}',
        '{"checkpoints": [], "segments": 3, "number": 1}',
    ],
)
def test_one_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    assert read_index(tmp_path) is None


def test_one_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(b"\xff\xfe\x00")
    assert read_index(tmp_path) is None


def test_what_is_named_and_what_is_not(tmp_path: Path) -> None:
    segment = segment_name(3, 8)
    Index([{**ENTRY, "file": checkpoint_name(4)}], [segment], [], 5).write(tmp_path)
    orphans = [
        ".checkpoint-5.safetensors.ab12.tmp",
        ".checkpoint.json.ab12.tmp",
        ".rows-5-8.safetensors.ab12.tmp",
        checkpoint_name(3),
        segment_name(5, 8),
    ]
    others = ["record.json", "weights.safetensors", "state.safetensors", ".weights.safetensors.x.tmp", "lock"]
    for name in (checkpoint_name(4), segment, *orphans, *others):
        (tmp_path / name).touch()
    (checkpoint, rows) = (tmp_path / checkpoint_name(4), tmp_path / segment)
    assert files_of(tmp_path) == Files([checkpoint], [rows], [tmp_path / name for name in orphans])
    assert remove_orphans(tmp_path) == [tmp_path / name for name in orphans]
    assert files_of(tmp_path) == Files([checkpoint], [rows], [])
    assert {path.name for path in tmp_path.iterdir()} == {INDEX, checkpoint.name, segment, *others}


def test_without_an_index_all_are_orphans(tmp_path: Path) -> None:
    (tmp_path / checkpoint_name(0)).touch()
    (tmp_path / segment_name(0, 8)).touch()
    assert len(files_of(tmp_path).orphans) == 2
    (tmp_path / INDEX).write_text("damaged")
    assert len(files_of(tmp_path).orphans) == 2
    assert files_of(tmp_path / "absent") == Files([], [], [])
