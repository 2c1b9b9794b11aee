"""Reads Fashion-MNIST from its idx files, packed or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.idx import parse_idx
from bench.data.published import exists, read_verified
from bench.data.spec import ImageShape, Split
from bench.files.checksums import Checksum

__all__ = ["LIMIT", "SHA256", "checksums", "find", "load"]

LIMIT = 2**26
"""Largest number of bytes of one file, packed or not; the largest published file has 47 million."""

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the unpacked content of the published files, because torchvision unpacks them and distributions may
repack them (other gzip headers, same content). The published MD5 digests of the packed files are, in the same
order, 8d4fb7e6c68d591d4c3dfef9ec88bf0d, 25c81989df183df01b3e8a0aad5dffbe, bef4ecab320f06d8554ea6380940ec79
and bb300cfdad3c16e7a12a480ee83cd310."""

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Folder of the files of Debian's package dataset-fashion-mnist."""


def find(root: Path) -> str | None:
    """None if all four files are in one of the known folders, else a sentence that says what to put where."""
    if _folder(root) is not None:
        return None
    return (
        f"put {', '.join(f'{name}.gz' for name in SHA256)} (or unpacked, without .gz)"
        f" into {root / 'fashion-mnist'}; also looked in {root / 'FashionMNIST' / 'raw'} and {DEBIAN}"
    )


def load(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The official ``train`` (60,000) and ``test`` (10,000) parts: uint8, shape (n, 1, 28, 28), ten classes.

    Args:
        root: The data root; the folders of `find` are tried in its order.
        like: No effect.
        image_shape: No effect.
        seed: No effect.

    Raises:
        FileNotFoundError: A file is missing; `find` says which.
        DamagedData: A file cannot be read or unpacked, its content has another sha256, or it is larger than `LIMIT`.
    """
    del like, image_shape, seed
    folder = _folder(root)
    if folder is None:
        raise FileNotFoundError(find(root))
    return {part: _read_part(folder, prefix) for part, prefix in (("train", "train"), ("test", "t10k"))}


def _folder(root: Path) -> Path | None:
    for folder in (root / "fashion-mnist", root / "FashionMNIST" / "raw", DEBIAN):
        if all(_file(folder, name) is not None for name in SHA256):
            return folder
    return None


def _file(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        if exists(path):
            return path
    return None


def checksums(root: Path) -> tuple[Checksum, ...]:
    """The four files with their checksums; empty if `find` does not find them."""
    folder = _folder(root)
    return () if folder is None else tuple(_checksum(folder, name) for name in SHA256)


def _checksum(folder: Path, name: str) -> Checksum:
    path = _file(folder, name) or folder / name
    return Checksum(path, SHA256[name], packed=path.suffix == ".gz", limit=LIMIT)


def _read_part(folder: Path, prefix: str) -> Split:
    images = _read(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)[:, None]
    return Split.numbered(images, _read(folder, f"{prefix}-labels-idx1-ubyte", dimensions=1))


def _read(folder: Path, name: str, *, dimensions: int) -> npt.NDArray[np.uint8]:
    file = _checksum(folder, name)
    return parse_idx(read_verified(file), file.path, dimensions)
