from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from bench.data import mnist
from bench.data.catalogue import DATASETS
from bench.data.loading import load_ood
from bench.data.spec import DamagedData, Split
from tests.data.test_fashion_mnist import FILES, LABELS, PIXELS, SIZES


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with nine digits, packed as published and unpacked as torchvision leaves them."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        (folder / name).write_bytes(content)
    publish(tmp_path, monkeypatch)
    return tmp_path


def publish(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = {name: hashlib.md5((root / name).read_bytes()).hexdigest() for name in mnist.MNIST.digests}
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, digests=sums))


def load(root: Path, like: Split | None = None) -> dict[str, Split]:
    return mnist.load(root, like=like, image_shape=None, seed=0)


def test_it_agrees_with_the_format_and_with_torchvision(root: Path) -> None:
    raw = load(root)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        np.testing.assert_array_equal(raw[part].images[:, 0], PIXELS[SIZES[prefix]])
        np.testing.assert_array_equal(raw[part].labels, LABELS[SIZES[prefix]])
        theirs = torchvision.datasets.MNIST(str(root), train=part == "train", download=False)
        np.testing.assert_array_equal(raw[part].images[:, 0], theirs.data.numpy())
        np.testing.assert_array_equal(raw[part].labels, theirs.targets.numpy())
    assert set(load(root, like=raw["test"])) == {"test"}


def test_the_packed_files_are_needed(root: Path) -> None:
    assert mnist.MNIST.find(root) is None
    (root / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    assert "put the four packed files" in str(mnist.MNIST.find(root))


def test_damage_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(DamagedData, match=r"t10k-labels-idx1-ubyte\.gz has MD5"):
        load(root)
    publish(root, monkeypatch)  # what guards the parser may fail, the parser may not
    with pytest.raises(DamagedData, match=r"t10k-labels-idx1-ubyte\.gz cannot be unpacked .*; get the file again"):
        load(root)
    monkeypatch.setattr(mnist, "LIMIT", 2**10)
    with pytest.raises(DamagedData, match=r"train-images-idx3-ubyte\.gz holds more than 1,024 bytes when unpacked"):
        load(root)


def test_against_colour_images_it_is_colour_and_resized(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(
        next(one for one in DATASETS if one.name == "mnist"),
        find=mnist.MNIST.find,
        fingerprint=mnist.MNIST.fingerprint,
        sizes={"train": 6, "test": 3},
    )
    like = Split.numbered(np.zeros((1, 3, 32, 32), np.uint8))
    found = load_ood(spec, root, like=like, seed=0)
    for image, place in zip(found.images, found.ids, strict=True):
        digit = Image.fromarray(PIXELS[SIZES["t10k"]][place]).resize((32, 32), Image.Resampling.BILINEAR)
        for channel in image:
            np.testing.assert_array_equal(channel, np.asarray(digit))
