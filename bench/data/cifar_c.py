"""CIFAR-10-C and CIFAR-100-C: CIFAR's test images under the corruptions of Hendrycks and Dietterich (ICLR 2019).

Their authors publish one file for each corruption, such as ``CIFAR-10-C/gaussian_noise.npy``: uint8 of shape (50000,
32, 32, 3) with five blocks of 10,000 images, one for each severity from 1 to 5. The images of a block have the order of
CIFAR's test images, whose labels ``labels.npy`` repeats five times. So image i of a block is test item i of CIFAR.

Nothing is downloaded. Only verified bytes are parsed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.published import PublishedFiles
from bench.data.spec import DamagedData, ImageShape, Split
from bench.errors import first_line

__all__ = [
    "CIFAR100_C",
    "CIFAR10_C",
    "CORRUPTIONS",
    "PUBLISHED",
    "SEVERITIES",
    "load_cifar100_c",
    "load_cifar10_c",
    "published_images",
    "published_labels",
]

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The fifteen corruptions of the benchmark, in the order of the paper: noise, blur, weather, digital. The archives hold
four more, which the paper keeps for validation; they are not read.
"""
SEVERITIES = 5
"""Number of severities, from 1, the mildest."""
PUBLISHED: Mapping[str, str] = {"cifar10": "cifar10-c", "cifar100": "cifar100-c"}
"""Name of the corrupted set by that of the data set whose test images it shows."""

_LABELS = "labels"
_SHAPE = (32, 32, 3)


def _files(folder: str, record: int, labels: str, digests: Mapping[str, str]) -> PublishedFiles:
    return PublishedFiles(
        {f"{folder}/{name}.npy": digest for name, digest in {**digests, _LABELS: labels}.items()},
        f"unpack {folder}.tar (https://zenodo.org/records/{record}) into {{root}}",
    )


CIFAR10_C = _files(
    "CIFAR-10-C",
    2535967,
    "c439b113295ed5254878798ffe28fd54",
    {
        "gaussian_noise": "ecaf8b9a2399ffeda7680934c33405fd",
        "shot_noise": "3a7239bb118894f013d9bf1984be7f11",
        "impulse_noise": "2090e01c83519ec51427e65116af6b1a",
        "defocus_blur": "7d1322666342a0702b1957e92f6254bc",
        "glass_blur": "7361fb4019269e02dbf6925f083e8629",
        "motion_blur": "fffa5f852ff7ad299cfe8a7643f090f4",
        "zoom_blur": "6ea8e63f1c5cdee1517533840641641b",
        "snow": "bb238de8555123da9c282dea23bd6e55",
        "frost": "31f6ab3bce1d9934abfb0cc13656f141",
        "fog": "7b397314b5670f825465fbcd1f6e9ccd",
        "brightness": "0a81ef75e0b523c3383219c330a85d48",
        "contrast": "3c8262171c51307f916c30a3308235a8",
        "elastic_transform": "9421657c6cd452429cf6ce96cc412b5f",
        "pixelate": "0f14f7e2db14288304e1de10df16832f",
        "jpeg_compression": "2b9cc4c864e0193bb64db8d7728f8187",
    },
)
"""Zenodo publishes the MD5 of the archives. Those of the files in them are the ones against which public loaders check
unpacked archives.
"""

CIFAR100_C = _files(
    "CIFAR-100-C",
    3555552,
    "bb4026e9ce52996b95f439544568cdb2",
    {
        "gaussian_noise": "ecc4d366eac432bdf25c024086f5e97d",
        "shot_noise": "b0a1fa6e1e465a747c1b204b1914048a",
        "impulse_noise": "3b3c210ddfa0b5cb918ff4537a429fef",
        "defocus_blur": "d923e3d9c585a27f0956e2f2ad832564",
        "glass_blur": "0bf384f38e5ccbf8dd479d9059b913e1",
        "motion_blur": "732a7e2e54152ff97c742d4c388c5516",
        "zoom_blur": "0204613400c034a81c4830d5df81cb82",
        "snow": "0237be164583af146b7b144e73b43465",
        "frost": "3a39c6823bdfaa0bf8b12fe7004b8117",
        "fog": "4efc7ebd5e82b028bdbe13048e3ea564",
        "brightness": "f22d7195aecd6abb541e27fca230c171",
        "contrast": "322bb385f1d05154ee197ca16535f71e",
        "elastic_transform": "a0792bd6581f6810878be71acedfc65a",
        "pixelate": "96c00c60f144539e14cffb02ddbd0640",
        "jpeg_compression": "c851b7f1324e1d2ffddeb76920576d11",
    },
)


def published_images(root: Path, name: str, corruption: str) -> npt.NDArray[np.uint8]:
    """All images of one corruption.

    Args:
        root: The data root.
        name: ``"cifar10-c"`` or ``"cifar100-c"``.
        corruption: One of `CORRUPTIONS`.

    Returns:
        Shape (5, n, 3, 32, 32): severity, test item of CIFAR, channels, height, width.

    Raises:
        DamagedData: The file is missing, has another MD5 than published, or another content than described above.
    """
    array = _array(root, name, corruption)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != _SHAPE or len(array) % SEVERITIES:
        raise _unexpected(root, name, corruption, array, "uint8 images of 32x32x3 in five blocks")
    blocks = array.reshape(SEVERITIES, -1, *_SHAPE)
    images: npt.NDArray[np.uint8] = np.ascontiguousarray(blocks.transpose(0, 1, 4, 2, 3))
    return images


def published_labels(root: Path, name: str) -> npt.NDArray[np.int64]:
    """The labels of CIFAR's test items as the corrupted set states them, shape (n,); arguments as above.

    Raises:
        DamagedData: As `published_images`, or the labels of the five blocks differ.
    """
    array = _array(root, name, _LABELS)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or len(array) % SEVERITIES:
        raise _unexpected(root, name, _LABELS, array, "whole numbers in five blocks")
    blocks = array.reshape(SEVERITIES, -1)
    if (blocks != blocks[0]).any():
        raise _unexpected(root, name, _LABELS, array, "five equal blocks")
    labels: npt.NDArray[np.int64] = blocks[0].astype(np.int64)
    return labels


def load_cifar10_c(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As out-of-distribution data: each test image once, unlabelled, uint8, shape (n, 3, 32, 32).

    Item i is test item i of CIFAR10 under number i mod 75 of the corruptions and severities, the severities of the
    first corruption first. The evaluation ``corruption`` reads all versions of every item instead.

    Raises:
        DamagedData: See `published_images`.
    """
    del like, image_shape, seed
    return {"test": _one_of_each(root, "cifar10-c")}


def load_cifar100_c(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As `load_cifar10_c`, of CIFAR100."""
    del like, image_shape, seed
    return {"test": _one_of_each(root, "cifar100-c")}


def _one_of_each(root: Path, name: str) -> Split:
    count = len(published_labels(root, name))
    turn = np.arange(count) % (len(CORRUPTIONS) * SEVERITIES)
    images = np.empty((count, 3, 32, 32), dtype=np.uint8)
    for place, corruption in enumerate(CORRUPTIONS):
        rows = np.flatnonzero(turn // SEVERITIES == place)
        images[rows] = published_images(root, name, corruption)[turn[rows] % SEVERITIES, rows]
    return Split.numbered(images)


def _published(name: str) -> PublishedFiles:
    return {"cifar10-c": CIFAR10_C, "cifar100-c": CIFAR100_C}[name]


def _path(name: str, array: str) -> str:
    return next(path for path in _published(name).digests if path.endswith(f"/{array}.npy"))


def _array(root: Path, name: str, array: str) -> npt.NDArray[Any]:
    path = _path(name, array)
    content = _published(name).read(root, path)
    try:
        found: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    # NumPy may raise any exception over a damaged file.
    except Exception as error:
        raise DamagedData(f"{root / path} cannot be parsed ({first_line(error)}); get the file again") from error
    return found


def _unexpected(root: Path, name: str, array: str, found: npt.NDArray[Any], wanted: str) -> DamagedData:
    return DamagedData(
        f"{root / _path(name, array)} holds {found.dtype} of shape {found.shape}, expected {wanted}; get the file again"
    )
