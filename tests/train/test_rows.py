"""Rows are stored once, found by content, and proved when read."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.train import rows as module
from bench.train.checkpoint_files import Index
from bench.train.rows import Rows, digests, is_large, keys, store_rows
from bench.train.segment import Bytes, DamagedError


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "AT_ONCE", 50)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# --- digests ----------------------------------------------------------------------------------------------------

TENSORS: dict[str, Tensor] = {
    "float32": torch.linspace(-1, 1, 60).reshape(5, 3, 4),
    "bfloat16": torch.linspace(-1, 1, 60).reshape(5, 12).bfloat16(),
    "float64": torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2),
    "int64": torch.arange(7),
    "bool": torch.arange(35).reshape(5, 7) % 3 == 0,
    "complex64": torch.arange(10).reshape(5, 2) * (1 + 2j),
    "requires gradient": torch.ones(5, 2, requires_grad=True),
    "transposed": torch.arange(60).reshape(12, 5).T,
    "channels last": torch.rand(4, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    "every other row": torch.arange(60.0).reshape(10, 6)[::2],
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("threads", [1, 3])
def test_digests_are_those_of_the_content_in_order(name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    tensor = TENSORS[name]
    plain = tensor.detach().contiguous().view(torch.uint8) if tensor.dim() > 1 else tensor.view(-1, 1).view(torch.uint8)
    expected = [hashlib.sha256(bytes(row.flatten().tolist())).digest()[:16] for row in plain]
    found = digests(tensor)
    assert (found.shape, found.dtype) == ((len(tensor), 16), np.uint8)
    assert keys(found) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_come_from_a_gpu(tmp_path: Path) -> None:
    tensor = torch.rand(40, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    table, segments = store_rows(tmp_path, Index(), {"images": tensor.cuda()}, [])
    assert np.array_equal(table["images"], digests(tensor))
    with Rows(tmp_path, Index([], segments)) as rows:
        read = torch.from_numpy(rows.read(keys(table["images"]), 48)).view(torch.float32)
    assert torch.equal(read.reshape(tensor.shape), tensor)


def test_every_bit_counts() -> None:
    """Zeros of either sign, and NaNs of any payload, are different rows; equal rows are equal."""
    bits = torch.tensor([[0], [-(2**31)], [0x7FC00000], [0x7FC00001], [0]], dtype=torch.int32)
    found = keys(digests(bits.view(torch.float32)))
    assert len(set(found)) == 4
    assert found[0] == found[4]


def test_what_is_large() -> None:
    mebibyte = 2**20
    assert is_large(torch.empty(4096, mebibyte, dtype=torch.uint8, device="meta"))
    assert is_large(torch.empty(100_000, 3, 32, 32, device="meta"))  # the buffer of the papers
    assert is_large(torch.empty(1024, 4096, device="meta"))
    assert not is_large(torch.empty(1023, 4100, device="meta"))  # few rows
    assert not is_large(torch.empty(1024, 4095, device="meta"))  # small
    assert not is_large(torch.empty(10**7, device="meta"))  # short rows
    assert not is_large(torch.empty((), device="meta"))
    assert not is_large(torch.empty(0, 3, device="meta"))


# --- storing ----------------------------------------------------------------------------------------------------


class Shelf:
    """Stores as checkpoints do, with one earlier version kept; and reads everything back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = Index()
        self.kept: list[dict[str, tuple[Bytes, Tensor]]] = []

    def save(self, **tensors: Tensor) -> None:
        older = [key for tables in self.kept[:1] for table, _ in tables.values() for key in keys(table)]
        tables, segments = store_rows(self.folder, self.index, tensors, older)
        for path in self.folder.iterdir():
            if path.name not in segments:
                path.unlink()
        self.index = Index([], segments, [n for n in self.index.distrusted if n in segments], self.index.number + 1)
        self.kept = [{name: (tables[name], tensors[name].clone()) for name in tensors}, *self.kept[:1]]

    def check(self) -> None:
        with Rows(self.folder, self.index) as rows:
            for tables in self.kept:
                for table, tensor in tables.values():
                    width = tensor.nbytes // len(tensor)
                    read = torch.from_numpy(rows.read(keys(table), width))
                    assert torch.equal(read, tensor.reshape(len(tensor), -1).view(torch.uint8))

    def sizes(self) -> dict[str, int]:
        """Rows by segment."""
        with Rows(self.folder, self.index) as rows:
            return {name: len(segment) for name, segment in rows.segments.items()}


def numbered(*numbers: int, width: int = 4) -> Tensor:
    """A row for each number."""
    return torch.tensor(numbers)[:, None].expand(-1, width).to(torch.int16).contiguous()


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.save(now=numbered(*range(20)))
    first = (tmp_path / "rows-0-8.safetensors").read_bytes()
    changed = [100, 101, *range(2, 20)]
    shelf.save(now=numbered(*changed), selected=numbered(*range(20)))
    assert shelf.sizes() == {"rows-0-8.safetensors": 20, "rows-1-8.safetensors": 2}
    assert (tmp_path / "rows-0-8.safetensors").read_bytes() == first
    shelf.check()
    shelf.save(now=numbered(*changed), selected=numbered(*range(20)))
    assert shelf.sizes() == {"rows-0-8.safetensors": 20, "rows-1-8.safetensors": 2}
    shelf.check()


def test_equal_rows_are_stored_once_wherever_they_are(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.save(a=numbered(1, 1, 2), b=numbered(3, 2, 1))
    assert shelf.sizes() == {"rows-0-8.safetensors": 3}
    shelf.check()


def test_rows_of_several_widths_lie_apart(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.save(a=numbered(1, 2), b=numbered(1, 2, 3, width=5))
    assert shelf.sizes() == {"rows-0-8.safetensors": 2, "rows-0-10.safetensors": 3}
    shelf.check()
    shelf.save(a=numbered(1, 2))  # b is needed by the version before
    assert shelf.sizes() == {"rows-0-8.safetensors": 2, "rows-0-10.safetensors": 3}
    shelf.save(a=numbered(1, 2))
    assert shelf.sizes() == {"rows-0-8.safetensors": 2}
    shelf.check()


def test_segments_that_nobody_needs_go(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for start in (0, 10, 20):
        shelf.save(now=numbered(*range(start, start + 10)))
        shelf.check()
    assert shelf.sizes() == {"rows-1-8.safetensors": 10, "rows-2-8.safetensors": 10}


def test_half_of_it_garbage_is_merged(tmp_path: Path) -> None:
    """Twenty rows of which three change each time, one of them always: the others keep old segments in use."""
    shelf = Shelf(tmp_path)
    chance = random.Random(0)
    values = list(range(20))
    merged = 0
    for step in range(30):
        shelf.save(now=numbered(*values))
        shelf.check()
        sizes = shelf.sizes()
        assert sum(sizes.values()) <= 2 * 23  # twice the rows of the two versions
        merged += step > 0 and len(sizes) == 1
        for place in (0, *chance.sample(range(1, 20), 2)):
            values[place] = 100 * (step + 1) + place
    assert merged >= 2


def test_many_small_segments_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SEGMENTS", 4)
    shelf = Shelf(tmp_path)
    values = list(range(50))
    counts = []
    for step in range(10):
        shelf.save(now=numbered(*values))
        shelf.check()
        counts.append(len(shelf.sizes()))
        values[step] = 100 + step
    assert counts == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]


def test_without_room_for_merging_what_is_new_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    shelf.save(now=numbered(*range(20)))
    shelf.save(now=numbered(*range(20), 50, 51))
    write = module.write_atomically

    def scarce(path: Path, content: Any) -> None:
        whole = b"".join(content)
        if len(whole) > 400:
            raise OSError(28, "No space left on device")
        write(path, whole)

    monkeypatch.setattr(module, "write_atomically", scarce)
    monkeypatch.setattr(module, "MOST_SEGMENTS", 2)
    shelf.save(now=numbered(*range(20), 52))
    assert shelf.sizes() == {"rows-0-8.safetensors": 20, "rows-1-8.safetensors": 2, "rows-2-8.safetensors": 1}
    shelf.check()
    with pytest.raises(OSError, match="No space"):
        shelf.save(now=numbered(*range(200, 220)))
    shelf.check()


TABLES = st.lists(st.integers(0, 15), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), TABLES, min_size=1), min_size=1, max_size=8))
def test_the_two_last_versions_are_whole_whatever_was_saved(
    tmp_path_factory: pytest.TempPathFactory, versions: list[Mapping[str, list[int]]]
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    for version in versions:
        shelf.save(**{name: numbered(*values, width=3 + (name == "c")) for name, values in version.items()})
        shelf.check()
        for width in (6, 8):
            used = {
                key
                for tables in shelf.kept
                for table, tensor in tables.values()
                if tensor.nbytes // len(tensor) == width
                for key in keys(table)
            }
            held = sum(n for name, n in shelf.sizes().items() if name.endswith(f"-{width}.safetensors"))
            assert len(used) <= held <= 2 * len(used)
    assert {path.name for path in shelf.folder.iterdir()} == set(shelf.index.segments)


# --- damage -----------------------------------------------------------------------------------------------------


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Rows 0 to 9, and 10 and 11 in a second segment."""
    shelf = Shelf(tmp_path)
    shelf.save(now=numbered(*range(10)))
    shelf.save(now=numbered(*range(12)))
    return shelf


def read(shelf: Shelf, *numbers: int) -> list[int]:
    with Rows(shelf.folder, shelf.index) as rows:
        found = torch.from_numpy(rows.read(keys(digests(numbered(*numbers))), 8))
        return [int(row[0]) for row in found.view(torch.int16)]


def test_a_damaged_row_is_told_and_no_other(shelf: Shelf) -> None:
    flip(shelf.folder / "rows-0-8.safetensors", -1)  # the last byte of row 9
    assert read(shelf, *range(9), 10, 11) == [*range(9), 10, 11]
    with pytest.raises(DamagedError) as caught:
        read(shelf, *range(12))
    assert caught.value.names == ["rows-0-8.safetensors"]
    with Rows(shelf.folder, shelf.index) as rows:
        wanted = keys(digests(numbered(8, 9, 10, 77)))
        assert rows.whole(wanted, 8) == [wanted[0], wanted[2]]
        assert rows.whole(wanted, 6) == []


def test_missing_segments_are_named_for_missing_rows(shelf: Shelf) -> None:
    (shelf.folder / "rows-1-8.safetensors").unlink()
    assert read(shelf, *range(10)) == list(range(10))
    with pytest.raises(DamagedError) as caught:
        read(shelf, 3, 10)
    assert caught.value.names == ["rows-1-8.safetensors"]


def test_a_damaged_digest_makes_a_row_missing_and_the_next_save_writes_it_anew(shelf: Shelf) -> None:
    path = shelf.folder / "rows-1-8.safetensors"
    flip(path, -2 * 8 - 1)  # the last byte of the last digest
    assert read(shelf, 10) == [10]
    with pytest.raises(DamagedError):
        read(shelf, 11)
    shelf.save(now=numbered(*range(12)))
    assert shelf.sizes()["rows-2-8.safetensors"] == 1
    shelf.check()


def test_a_distrusted_segment_is_read_for_earlier_versions_alone(shelf: Shelf) -> None:
    flip(shelf.folder / "rows-1-8.safetensors", -1)  # row 11
    shelf.index.distrusted.append("rows-1-8.safetensors")
    shelf.kept = [{"now": (digests(numbered(*range(11))), numbered(*range(11)))}]
    shelf.save(now=numbered(*range(1, 12)))
    assert shelf.sizes() == {"rows-0-8.safetensors": 10, "rows-2-8.safetensors": 2}
    assert shelf.index.distrusted == []
    shelf.check()


def test_merging_leaves_damaged_rows_behind(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SEGMENTS", 1)
    flip(shelf.folder / "rows-0-8.safetensors", -1)  # row 9, which only the version before needs
    shelf.save(now=numbered(*range(9), 50))
    assert shelf.sizes() == {"rows-2-8.safetensors": 12}
    assert read(shelf, *range(9), 50, 10, 11) == [*range(9), 50, 10, 11]
    with pytest.raises(DamagedError):
        read(shelf, 9)
