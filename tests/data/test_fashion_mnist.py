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
