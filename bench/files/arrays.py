"""Reads and writes named arrays as ``.npz``; writes are atomic, and one error covers every fault of a file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import DamagedFileError, first_line
from bench.files.atomic import write_atomically

__all__ = ["LIMIT", "load_arrays", "save_arrays"]

_LENGTHS = {(1, 0): 2, (2, 0): 4}
"""Bytes of the length of a header, by the versions of the format that are read."""
LONGEST_HEADER = 10_000
"""Bytes of the longest header that is read, as in NumPy."""
LIMIT = 32 * 2**30
"""Largest number of bytes of one archive's arrays in memory: an archive of kilobytes can claim terabytes."""


def save_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Write arrays, none of objects, as a compressed ``.npz`` and return the SHA-256 of the file."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **dict(arrays))
    data = content.getvalue()
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def load_arrays(
    path: Path, *, sha256: str | None = None, limit: int = LIMIT, names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file. Their headers are read first, so that nothing beyond ``limit`` is unpacked.

    Args:
        path: The archive; it is read whole.
        sha256: The file's digest if known; it is verified.
        limit: Largest number of bytes of all arrays in memory.
        names: Only the arrays with these names, as far as there are any; None: all.

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
        with zipfile.ZipFile(io.BytesIO(content)) as archive, contextlib.ExitStack() as opened:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            begun = {
                name: _Begun.at(opened.enter_context(archive.open(member)), member)
                for name, member in members.items()
                if names is None or name in names
            }
            total = sum(member.size for member in begun.values())
            if total <= limit:
                return {name: member.array() for name, member in begun.items()}
    # Over a damaged archive zipfile, zlib, lzma, struct, ast and NumPy may raise any exception, from
    # NotImplementedError to MemoryError.
    except Exception as error:
        raise DamagedFileError(path, f"is not a readable .npz archive: {first_line(error)}") from error
    raise DamagedFileError(path, f"asks for {total / 2**30:,.1f} GiB of memory; the limit is {limit / 2**30:,.1f} GiB")


@dataclass(frozen=True)
class _Begun:
    """An array of an archive whose header was read.

    Attributes:
        file: The member of the archive, at the first byte of the values.
        shape: Shape of the array.
        fortran: Whether its first index changes fastest.
        dtype: Type of its values.
        size: Bytes of its values.
    """

    file: IO[bytes]
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int

    @classmethod
    def at(cls, file: IO[bytes], member: zipfile.ZipInfo) -> _Begun:
        """Read the header of a member.

        Raises:
            ValueError: The array holds objects, its header has an unknown version, or the archive states another size
                than the header.
        """
        version = np.lib.format.read_magic(file)
        if version not in _LENGTHS:
            raise ValueError(f"{member.filename} has format version {version}")
        length = file.read(_LENGTHS[version])
        if int.from_bytes(length, "little") > LONGEST_HEADER:
            raise ValueError(f"{member.filename} has a header of {int.from_bytes(length, 'little')} bytes")
        shape, fortran, dtype = _header(version, length + file.read(int.from_bytes(length, "little")))
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects")
        size = dtype.itemsize
        for count in shape:
            if count < 0:
                raise ValueError(f"{member.filename} has shape {shape}")
            size *= int(count)
        if file.tell() + size != member.file_size:
            raise ValueError(
                f"{member.filename} holds {member.file_size} bytes, its shape {shape} asks for another number"
            )
        return cls(file, shape, fortran, dtype, size)

    def array(self) -> NDArray[Any]:
        """The array; its values are read to the last, so that their checksum is checked."""
        values = bytearray(self.file.read())
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        return np.ndarray(self.shape, self.dtype, buffer=values, order=order)


@lru_cache(maxsize=1024)
def _header(version: tuple[int, int], content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type in a header. Many files of a report have the same few, and each is Python to parse."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(io.BytesIO(content))
    return found
