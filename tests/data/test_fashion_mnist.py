from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torchvision

from bench.data import fashion_mnist
from bench.data.spec import DamagedData, Split

PIXELS = np.random.default_rng(0).integers(256, size=(9, 28, 28)).astype(np.uint8)
LABELS = (np.arange(9) % 10).astype(np.uint8)
SIZES = {"train": slice(0, 6), "t10k": slice(6, 9)}


def idx(array: npt.NDArray[Any]) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


FILES = {
    f"{prefix}-{kind}-idx{array.ndim}-ubyte": idx(array[part])
    for prefix, part in SIZES.items()
    for kind, array in (("images", PIXELS), ("labels", LABELS))
}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(
        fashion_mnist,
        "SHA256",
        {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
    )


def write(folder: Path, *, packed: bool) -> None:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def load(root: Path) -> dict[str, Split]:
    return fashion_mnist.load(root, like=None, image_shape=None, seed=0)


@pytest.mark.parametrize("place", ["fashion-mnist", "FashionMNIST/raw", "debian"])
@pytest.mark.parametrize("packed", [True, False])
def test_reads_packed_and_plain_files_in_each_place(tmp_path: Path, place: str, packed: bool) -> None:
    assert "train-images-idx3-ubyte.gz" in str(fashion_mnist.find(tmp_path))
    write(tmp_path / place, packed=packed)
    assert fashion_mnist.find(tmp_path) is None
    raw = load(tmp_path)
    assert set(raw) == {"train", "test"}
    for part, which in (("train", SIZES["train"]), ("test", SIZES["t10k"])):
        np.testing.assert_array_equal(raw[part].images[:, 0], PIXELS[which])
        np.testing.assert_array_equal(raw[part].labels, LABELS[which])
        np.testing.assert_array_equal(raw[part].ids, np.arange(len(PIXELS[which])))


def test_agrees_with_torchvision(tmp_path: Path) -> None:
    write(tmp_path / "FashionMNIST" / "raw", packed=False)
    raw = load(tmp_path)
    for part in ("train", "test"):
        theirs = torchvision.datasets.FashionMNIST(str(tmp_path), train=part == "train", download=False)
        np.testing.assert_array_equal(raw[part].images[:, 0], theirs.data.numpy())
        np.testing.assert_array_equal(raw[part].labels, theirs.targets.numpy())


def test_an_incomplete_folder_is_not_found(tmp_path: Path) -> None:
    write(tmp_path / "fashion-mnist", packed=True)
    (tmp_path / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert fashion_mnist.find(tmp_path) is not None
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-mnist"
    write(folder, packed=True)
    name = "t10k-labels-idx1-ubyte"
    good = (folder / f"{name}.gz").read_bytes()
    (folder / f"{name}.gz").write_bytes(good[:-9])
    with pytest.raises(DamagedData, match=f"{name}.gz cannot be unpacked"):
        load(tmp_path)
    (folder / f"{name}.gz").write_bytes(gzip.compress(FILES[name][:-1] + b"\x07"))
    with pytest.raises(DamagedData, match=f"{name}.gz has unpacked SHA-256"):
        load(tmp_path)


def test_the_committed_digests_are_checked_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "fashion-mnist", packed=True)
    monkeypatch.undo()
    with pytest.raises(DamagedData, match="expected c59f468a"):
        load(tmp_path)


def with_sums(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    monkeypatch.setitem(fashion_mnist.SHA256, name, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("shape", [(2**31, 28, 28), (2**32 - 1,) * 3, (2, 28, 28), (4, 28, 28), (0, 28, 28)])
def test_a_header_that_lies_allocates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    folder, name = tmp_path / "fashion-mnist", "t10k-images-idx3-ubyte"
    write(folder, packed=False)
    content = struct.pack(">4B3I", 0, 0, 8, 3, *shape) + FILES[name][16:]
    (folder / name).write_bytes(content)
    with_sums(monkeypatch, name, content)
    with pytest.raises(DamagedData, match=rf"{name} says that it holds .*; 2,352 follow"):
        load(tmp_path)


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, name = tmp_path / "fashion-mnist", "t10k-images-idx3-ubyte"
    write(folder, packed=True)
    monkeypatch.setattr(fashion_mnist, "LIMIT", 2**16)
    (folder / f"{name}.gz").write_bytes(gzip.compress(bytes(2**24)))
    with pytest.raises(DamagedData, match=rf"{name}\.gz holds more than 65,536 bytes when unpacked, the limit"):
        load(tmp_path)


def test_every_damaged_byte_is_one_error_or_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With checksums that fit the damage: what guards the parser may fail, the parser may not."""
    folder, name = tmp_path / "fashion-mnist", "t10k-labels-idx1-ubyte"
    write(folder, packed=False)
    whole, told = FILES[name], 0
    for place in range(len(whole)):
        for damaged in (whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :], whole[:place]):
            (folder / name).write_bytes(damaged)
            with_sums(monkeypatch, name, damaged)
            try:
                found = load(tmp_path)["test"].labels
            except DamagedData as error:
                told += 1
                found = LABELS[6:] if str(error).startswith(f"{folder / name} ") else np.zeros(0)
            assert len(found) == 3
    assert told == len(whole) + 8  # every length, and every byte of the header


@pytest.mark.parametrize("packed", [True, False])
def test_checksums_are_those_of_the_files_that_are_there(tmp_path: Path, packed: bool) -> None:
    assert fashion_mnist.checksums(tmp_path) == ()
    write(tmp_path / "fashion-mnist", packed=packed)
    files = fashion_mnist.checksums(tmp_path)
    assert [file.digest for file in files] == list(fashion_mnist.SHA256.values())
    assert {file.packed for file in files} == {packed}
    for file, content in zip(files, FILES.values(), strict=True):
        assert file.read() == content
