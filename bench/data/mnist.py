"""Reads MNIST from the packed idx files that torchvision downloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.idx import parse_idx
from bench.data.published import PublishedFiles
from bench.data.spec import DamagedData, ImageShape, Split
from bench.errors import DamagedFileError
from bench.files.checksums import unpacked

__all__ = ["LIMIT", "MNIST", "load"]

LIMIT = 2**26
"""Largest number of bytes of one unpacked file; the largest published file has 47 million."""

MNIST = PublishedFiles(
    {
        "MNIST/raw/train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "MNIST/raw/train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "MNIST/raw/t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "MNIST/raw/t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "put the four packed files of MNIST into {root}/MNIST/raw; the unpacked ones have no published checksums",
)
"""The digests are those that torchvision publishes."""


def load(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """``train`` (60,000) and ``test`` (10,000; alone if ``like`` is given): uint8, shape (n, 1, 28, 28), ten classes.

    Raises:
        DamagedData: A file has another MD5 than published, or is no idx file.
    """
    del image_shape, seed
    parts = {"train": "train", "test": "t10k"} if like is None else {"test": "t10k"}
    return {
        part: Split.numbered(
            _read(root, f"{prefix}-images-idx3-ubyte", dimensions=3)[:, None],
            _read(root, f"{prefix}-labels-idx1-ubyte", dimensions=1),
        )
        for part, prefix in parts.items()
    }


def _read(root: Path, name: str, *, dimensions: int) -> npt.NDArray[np.uint8]:
    file = f"MNIST/raw/{name}.gz"
    try:
        content = unpacked(MNIST.read(root, file), root / file, LIMIT)
    except DamagedFileError as error:
        raise DamagedData(f"{error}; get the file again") from error
    return parse_idx(content, root / file, dimensions)
