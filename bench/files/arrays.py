"""Reads and writes named arrays as ``.npz``; writes are atomic, and one error covers every fault of a file."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DamagedFileError, first_line
from bench.files.atomic import write_atomically

__all__ = ["LIMIT", "load_arrays", "save_arrays"]

LIMIT = 32 * 2**30
"""Largest number of bytes of one archive's arrays in memory: an archive of kilobytes can claim terabytes."""


def save_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Write arrays, none of objects, as a compressed ``.npz`` and return the SHA-256 of the file."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **dict(arrays))
    data = content.getvalue()
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def load_arrays(path: Path, *, sha256: str | None = None, limit: int = LIMIT) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz`` file. Their headers are read first, so that nothing beyond ``limit`` is unpacked.

    Args:
        path: The archive; it is read whole.
        sha256: The file's digest if known; it is verified.
        limit: Largest number of bytes of all arrays in memory.

    Raises:
        DamagedFileError: The file is missing, damaged or larger than the limit, has another digest, or is not an
            archive of plain arrays.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(path, "is missing") from None
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedFileError(path, "does not have the content that was recorded (another SHA-256)")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(_size(archive, member) for member in archive.infolist())
        if total <= limit:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
    # Over a damaged archive zipfile, zlib, lzma, struct, ast and NumPy may raise any exception, from
    # NotImplementedError to MemoryError.
    except Exception as error:
        raise DamagedFileError(path, f"is not a readable .npz archive: {first_line(error)}") from error
    raise DamagedFileError(path, f"asks for {total / 2**30:,.1f} GiB of memory; the limit is {limit / 2**30:,.1f} GiB")


def _size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes of an array according to its header.

    Raises:
        ValueError: The array holds objects, its header has an unknown version, or the archive states another size than
            the header.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{member.filename} has format version {version}")
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects")
        size = dtype.itemsize
        for length in shape:
            if length < 0:
                raise ValueError(f"{member.filename} has shape {shape}")
            size *= int(length)
        if file.tell() + size != member.file_size:
            raise ValueError(
                f"{member.filename} holds {member.file_size} bytes, its shape {shape} asks for another number"
            )
    return size
