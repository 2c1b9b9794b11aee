"""Arrays that a report keeps in memory: each is read once, within a bound, and none of a damaged file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.files import arrays
from bench.files.arrays import save_arrays
from bench.report.opened import OpenedArrays
from bench.store import ITEMS, JobFolder, Measured, Record, Store

KEYS = ["ab" * 20, "cd" * 20]
STORED = {"ids": np.arange(4), "a": np.arange(4) / 4, "b": np.ones(4, dtype=np.bool_)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for key in KEYS:
        folder = store.folder(key)
        save_arrays(folder.file(ITEMS), STORED)
        folder.finish(Record(kind="evaluate", measured=Measured(items=ITEMS)), [ITEMS])
    return store


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The names of arrays that each reading of a file asked for."""
    found: list[tuple[str, ...]] = []
    whole = arrays.load_arrays

    def noted(path: Path, **options: object) -> object:
        found.append(tuple(options["names"]))  # type: ignore[call-overload]
        return whole(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(arrays, "load_arrays", noted)
    return found


def test_each_array_is_read_once(store: Store, loads: list[tuple[str, ...]]) -> None:
    opened = OpenedArrays(store)
    for names in (("ids", "a"), ("a", "ids"), ("b", "a", "none"), ("none",)):
        found = opened.get(KEYS[0], names)
        assert found.keys() == set(names) - {"none"}
        assert all(np.array_equal(array, STORED[name]) for name, array in found.items())
    assert loads == [("ids", "a"), ("b", "none")]


def test_arrays_beyond_the_bound_are_read_again(store: Store, loads: list[tuple[str, ...]]) -> None:
    opened = OpenedArrays(store, most=STORED["ids"].nbytes + STORED["a"].nbytes)
    for key in (KEYS[0], KEYS[1], KEYS[0]):
        assert opened.get(key, ("ids", "a")).keys() == {"ids", "a"}
        assert opened._bytes <= opened.most
    assert len(loads) == 3
    tiny = OpenedArrays(store, most=1)
    assert tiny.get(KEYS[0], ("ids", "a")).keys() == {"ids", "a"}  # what was asked for is there, however large


def test_a_damaged_file_has_no_array_and_is_hashed_next_time(store: Store) -> None:
    folder: JobFolder = store.folder(KEYS[0])
    path = folder.file(ITEMS)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert OpenedArrays(store).get(KEYS[0], ("ids", "a")) == {}
    assert not folder.file("checked.json").exists()
    assert "another SHA-256" in str(folder.damage())


def test_a_job_without_arrays_or_without_a_result_has_none(store: Store) -> None:
    store.folder("ef" * 20).finish(Record(kind="evaluate"))
    opened = OpenedArrays(store)
    assert opened.get("ef" * 20, ("ids",)) == opened.get("01" * 20, ("ids",)) == {}
