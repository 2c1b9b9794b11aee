"""What jobs took: the file beside the store says what the records say, or it is not believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.execute import times
from bench.execute.times import FILE, Took, finished_jobs
from bench.store import JobFolder, Measured, Provenance, Record, Store

KEYS = [f"{number:02x}" * 20 for number in (3, 1, 2)]


def record(seconds: float) -> Record:
    measured = Measured(kind="pgd", details={"a": [1, 2]})
    return Record(
        kind="evaluate",
        job="m/d/p",
        seconds=seconds,
        passes=5.0,
        measured=measured,
        provenance=Provenance(device="cpu"),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for number, key in enumerate(KEYS):
        store.folder(key).finish(record(float(number)))
    return store


def taken(store: Store, worth: int = 1) -> dict[str, Took]:
    return {took.key: took for took in finished_jobs(store, worth)}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the records that were read."""
    found: list[str] = []
    whole = JobFolder.record

    def noted(folder: JobFolder, *, remember: bool = True) -> Record | None:
        found.append(folder.key)
        return whole(folder, remember=remember)

    monkeypatch.setattr(JobFolder, "record", noted)
    return found


def test_a_second_look_reads_no_record_and_says_the_same(store: Store, reads: list[str]) -> None:
    first = taken(store)
    assert reads == sorted(KEYS) == list(first)
    assert first[KEYS[2]] == Took("evaluate", "pgd", "", "", "", 5.0, 2.0, "", "m/d/p", "cpu", KEYS[2])
    reads.clear()
    assert taken(store) == first
    assert reads == []


def test_few_new_records_are_not_worth_a_file(store: Store, reads: list[str]) -> None:
    taken(store, worth=4)
    assert not (store.root.parent / FILE).exists()
    taken(store, worth=4)
    assert len(reads) == 6


def test_a_record_that_was_written_again_is_read_again(store: Store, reads: list[str]) -> None:
    taken(store)
    folder = store.folder(KEYS[0])
    size = folder.file("record.json").stat().st_size
    folder.finish(record(9.0))
    assert folder.file("record.json").stat().st_size == size  # only times and inode tell
    reads.clear()
    assert taken(store)[KEYS[0]].seconds == 9.0
    assert reads == [KEYS[0]]


def test_results_that_are_gone_or_damaged_took_nothing(store: Store) -> None:
    taken(store)
    store.remove(store.folder(KEYS[0]))
    path = store.folder(KEYS[1]).file("record.json")
    path.write_bytes(path.read_bytes().replace(b'"seconds": 1.0', b'"seconds": 7.0'))
    assert list(taken(store)) == [KEYS[2]]
    assert list(taken(store)) == [KEYS[2]]


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone", "folder", "older"])
def test_a_file_that_is_not_what_was_written_is_not_believed(store: Store, reads: list[str], how: str) -> None:
    first, path = taken(store), store.root.parent / FILE
    content = path.read_bytes()
    if how == "flip":
        path.write_bytes(content.replace(b"2.0", b"7.0"))
    elif how in ("cut", "empty"):
        path.write_bytes(content[: len(content) // 2 if how == "cut" else 0])
    elif how == "older":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(times, "_FIELDS", ("kind", "seconds"))
            path.unlink()
            taken(store)
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
    reads.clear()
    assert taken(store) == first
    assert reads == sorted(KEYS)


def test_a_store_that_may_not_be_written_is_read_each_time(
    store: Store, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, _: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(times, "write_atomically", refused)
    assert taken(store) == taken(store)
    assert len(reads) == 6


def test_a_file_whose_writer_was_killed_is_absent_or_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken(store)
    store.folder(KEYS[0]).finish(replace(record(9.0), passes=6.0))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            taken(store)
    assert taken(store) == first | {KEYS[0]: first[KEYS[0]]._replace(seconds=9.0, passes=6.0)}
