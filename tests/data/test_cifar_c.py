"""CIFAR-10-C and CIFAR-100-C on tiny files in the true format; the published checksums are replaced with theirs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.data import cifar_c
from bench.data.cifar_c import CORRUPTIONS, SEVERITIES, published_images, published_labels
from bench.data.spec import UNLABELLED, DamagedData
from tests.data.test_torchvision_sets import call, flip_last_byte, write

FOLDERS = {"cifar10-c": ("CIFAR-10-C", "CIFAR10_C"), "cifar100-c": ("CIFAR-100-C", "CIFAR100_C")}


def npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def prepare_cifar_c(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch, labels: Sequence[int], seed: int = 0
) -> dict[str, npt.NDArray[np.uint8]]:
    """Write the files of a corrupted set; the images by corruption, as they are in the files: (5n, 32, 32, 3)."""
    folder, files = FOLDERS[name]
    draw = np.random.default_rng(seed)
    images = {
        corruption: draw.integers(256, size=(SEVERITIES * len(labels), 32, 32, 3)).astype(np.uint8)
        for corruption in CORRUPTIONS
    }
    contents = {f"{folder}/{corruption}.npy": npy(array) for corruption, array in images.items()}
    contents[f"{folder}/labels.npy"] = npy(np.tile(np.array(labels, dtype=np.uint8), SEVERITIES))
    publish(monkeypatch, files, write(root, contents))
    return images


def publish(monkeypatch: pytest.MonkeyPatch, files: str, digests: dict[str, str]) -> None:
    monkeypatch.setattr(cifar_c, files, replace(getattr(cifar_c, files), digests=digests))


@pytest.mark.parametrize("name", FOLDERS)
def test_images_and_labels_are_read_as_the_format_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = prepare_cifar_c(name, tmp_path, monkeypatch, [3, 1, 4])
    assert published_labels(tmp_path, name).tolist() == [3, 1, 4]
    for corruption in CORRUPTIONS:
        found = published_images(tmp_path, name, corruption)
        assert (found.shape, found.dtype) == ((5, 3, 3, 32, 32), np.uint8)
        for severity in range(5):
            for item in range(3):  # severities are blocks, and images are stored with channels last
                expected = images[corruption][severity * 3 + item]
                np.testing.assert_array_equal(found[severity, item].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("name", FOLDERS)
def test_as_other_data_each_item_has_one_corruption_in_turn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 2 * 75 + 7
    images = prepare_cifar_c(name, tmp_path, monkeypatch, [0] * count)
    raw = call(getattr(cifar_c, f"load_{name.replace('-', '_')}"), tmp_path)
    assert set(raw) == {"test"}
    assert set(raw["test"].labels.tolist()) == {UNLABELLED}
    assert raw["test"].image_shape == (3, 32, 32)
    for item in (0, 4, 5, 74, 75, 80, count - 1):
        place, severity = divmod(item % 75, 5)
        expected = images[CORRUPTIONS[place]][severity * count + item]
        np.testing.assert_array_equal(raw["test"].images[item].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_files_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, files = FOLDERS[name]
    said = getattr(cifar_c, files).find(tmp_path)
    assert said.startswith(f"{folder}/gaussian_noise.npy and 15 more not found below {tmp_path}; unpack {folder}.tar")
    prepare_cifar_c(name, tmp_path, monkeypatch, [0])
    assert getattr(cifar_c, files).find(tmp_path) is None
    (tmp_path / folder / "fog.npy").unlink()
    assert getattr(cifar_c, files).find(tmp_path).startswith(f"{folder}/fog.npy not found")
    with pytest.raises(DamagedData, match=r"fog\.npy is missing"):
        published_images(tmp_path, name, "fog")


def test_a_changed_file_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_cifar_c("cifar10-c", tmp_path, monkeypatch, [0, 1])
    flip_last_byte(tmp_path / "CIFAR-10-C" / "snow.npy")
    with pytest.raises(DamagedData, match=r"snow\.npy has MD5 \w+, expected"):
        published_images(tmp_path, "cifar10-c", "snow")
    published_images(tmp_path, "cifar10-c", "frost")


IMAGES = np.zeros((10, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("fog", b"no array", "cannot be parsed"),
        ("fog", npy(np.array([{}], dtype=object)), "cannot be parsed"),
        ("fog", npy(IMAGES.astype(np.float32)), r"float32 of shape \(10, 32, 32, 3\), expected uint8 images"),
        ("fog", npy(IMAGES[:9]), r"shape \(9, 32, 32, 3\), expected uint8 images of 32x32x3 in five blocks"),
        ("fog", npy(IMAGES.transpose(0, 3, 1, 2)), r"shape \(10, 3, 32, 32\), expected"),
        ("labels", npy(np.zeros((10, 1), np.int64)), r"shape \(10, 1\), expected whole numbers"),
        ("labels", npy(np.zeros(10)), "float64 of shape"),
        ("labels", npy(np.arange(10)), "expected five equal blocks"),
    ],
)
def test_a_file_with_other_content_is_told(
    file: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_cifar_c("cifar10-c", tmp_path, monkeypatch, [0, 1])
    changed = write(tmp_path, {f"CIFAR-10-C/{file}.npy": content})
    publish(monkeypatch, "CIFAR10_C", {**cifar_c.CIFAR10_C.digests, **changed})
    with pytest.raises(DamagedData, match=rf"{file}\.npy .*{said}"):
        call(cifar_c.load_cifar10_c, tmp_path)


def test_the_two_sets_have_one_file_for_each_corruption_and_none_in_common() -> None:
    sums = [cifar_c.CIFAR10_C.digests, cifar_c.CIFAR100_C.digests]
    for digests, (folder, _) in zip(sums, FOLDERS.values(), strict=True):
        assert set(digests) == {f"{folder}/{name}.npy" for name in (*CORRUPTIONS, "labels")}
        assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests.values())
    every = [digest for digests in sums for digest in digests.values()]
    assert len(set(every)) == len(every) == 32
