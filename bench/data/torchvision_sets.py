"""CIFAR10, CIFAR100, SVHN and CelebA, read by torchvision from its own layout below the data root.

Nothing is downloaded. Every file with a published checksum is verified before anything parses it: CIFAR's
files are pickles, which may run code.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.spec import UNLABELLED, DamagedData, ImageShape, Split

__all__ = [
    "CELEBA",
    "CIFAR10",
    "CIFAR100",
    "SVHN",
    "find_celeba",
    "find_cifar10",
    "find_cifar100",
    "find_svhn",
    "load_celeba",
    "load_cifar10",
    "load_cifar100",
    "load_svhn",
]

CIFAR10 = {
    "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
"""Files below the data root with their MD5 digests, as published with torchvision; so are the next three."""

CIFAR100 = {
    "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
    "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
}

SVHN = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}

CELEBA = {
    "celeba/list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "celeba/identity_CelebA.txt": "32bd1bd63d3c78cd57e08160ec5ed1e2",
    "celeba/list_bbox_celeba.txt": "00566efa6fedff7a56946cd1c10f1c16",
    "celeba/list_landmarks_align_celeba.txt": "cc24ecafdb5b50baae59b03474781f8c",
    "celeba/list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
}

_CELEBA_IMAGES = "celeba/img_align_celeba"
_CELEBA_SIZE = (178, 218)
_CELEBA_SIDE = 32


def find_cifar10(root: Path) -> str | None:
    """None if the unpacked files are there, else what to put where."""
    return _missing(root, CIFAR10, f"unpack cifar-10-python.tar.gz (the Python version) into {root}")


def find_cifar100(root: Path) -> str | None:
    """None if the unpacked files are there, else what to put where."""
    return _missing(root, CIFAR100, f"unpack cifar-100-python.tar.gz (the Python version) into {root}")


def find_svhn(root: Path) -> str | None:
    """None if both files are there, else what to put where."""
    return _missing(root, SVHN, f"put train_32x32.mat and test_32x32.mat (cropped digits) into {root}")


def find_celeba(root: Path) -> str | None:
    """None if the lists and the folder of images are there, else what to put where."""
    advice = f"unpack img_align_celeba.zip into {root / 'celeba'} and put the five lists of CelebA beside it"
    problem = _missing(root, CELEBA, advice)
    if problem is None and not (root / _CELEBA_IMAGES).is_dir():
        return f"{root / _CELEBA_IMAGES} is not there; {advice}"
    return problem


def load_cifar10(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """``train`` (50,000) and ``test`` (10,000; alone if ``like`` is given): uint8, shape (n, 3, 32, 32).

    Raises:
        DamagedData: A file has another MD5 than published.
    """
    del image_shape, seed
    from torchvision import datasets

    _verify(root, CIFAR10)
    return {part: _read_cifar(datasets.CIFAR10, root, part) for part in _parts(like)}


def load_cifar100(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As `load_cifar10`, with the 100 fine labels.

    Raises:
        DamagedData: A file has another MD5 than published.
    """
    del image_shape, seed
    from torchvision import datasets

    _verify(root, CIFAR100)
    return {part: _read_cifar(datasets.CIFAR100, root, part) for part in _parts(like)}


def load_svhn(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """``train`` (73,257) and ``test`` (26,032; alone if ``like`` is given): uint8, shape (n, 3, 32, 32).

    The label of a digit is the digit (the files call 0 "10"). The part "extra" is never used, as in GMMC's
    code.

    Raises:
        DamagedData: A file has another MD5 than published.
    """
    del image_shape, seed
    from torchvision import datasets

    _verify(root, SVHN)
    splits = {}
    for part in _parts(like):
        data = datasets.SVHN(str(root), split=part, download=False)
        splits[part] = _split(np.ascontiguousarray(data.data), data.labels)
    return splits


def load_celeba(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The official ``test`` part (19,962 aligned faces), unlabelled: uint8, shape (n, 3, 32, 32).

    The centre 178x178 of the 178x218 pixels, then Pillow's antialiased bilinear filter to 32x32. (JEM resizes
    the short side to 32 only, which gives 39x32 pixels; its 8x8 pooling then ignores the lowest features.)

    Raises:
        DamagedData: A list has another MD5 than published, or an image is missing, unreadable or not of
            178x218 pixels. The pixels cannot be verified: no checksums of single images are published.
    """
    del like, image_shape, seed
    from PIL import Image
    from torchvision import datasets

    _verify(root, CELEBA)
    faces = datasets.CelebA(str(root), split="test", target_type=[], download=False)
    images = np.empty((len(faces), 3, _CELEBA_SIDE, _CELEBA_SIDE), dtype=np.uint8)
    top = (_CELEBA_SIZE[1] - _CELEBA_SIZE[0]) // 2
    box = (0, top, _CELEBA_SIZE[0], top + _CELEBA_SIZE[0])
    for index, name in enumerate(faces.filename):
        path = root / _CELEBA_IMAGES / name
        try:
            with Image.open(path) as face:
                size = face.size
                small = face.convert("RGB").crop(box).resize((_CELEBA_SIDE,) * 2, Image.Resampling.BILINEAR)
        except OSError as error:
            raise DamagedData(f"{path} cannot be read ({error}); unpack img_align_celeba.zip again") from error
        if size != _CELEBA_SIZE:
            raise DamagedData(
                f"{path} has {size[0]}x{size[1]} pixels, expected 178x218: the aligned and cropped images are needed"
            )
        images[index] = np.asarray(small).transpose(2, 0, 1)
    return {"test": _split(images, np.full(len(images), UNLABELLED))}


def _parts(like: Split | None) -> tuple[str, ...]:
    return ("train", "test") if like is None else ("test",)


def _read_cifar(reader: Any, root: Path, part: str) -> Split:
    with warnings.catch_warnings():
        # The files were pickled by NumPy 1, whose dtypes NumPy 2.4 and later read with a complaint.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        data = reader(str(root), train=part == "train", download=False)
    return _split(np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), data.targets)


def _split(images: Any, labels: Any) -> Split:
    return Split(images, np.asarray(labels, dtype=np.int64), np.arange(len(images), dtype=np.int64))


def _missing(root: Path, files: Mapping[str, str], advice: str) -> str | None:
    absent = [name for name in files if not (root / name).is_file()]
    if not absent:
        return None
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return f"{absent[0]}{more} not found below {root}; {advice}"


def _verify(root: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        with (root / name).open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if digest != expected:
            raise DamagedData(f"{root / name} has MD5 {digest}, expected {expected}; get the file again")
