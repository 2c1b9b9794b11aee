"""Parses idx files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.spec import DamagedData

__all__ = ["parse_idx"]


def parse_idx(content: bytes, path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The values of an idx file of unsigned bytes: magic 0, 0, 8, number of dimensions; big-endian sizes; the values.

    Args:
        content: The unpacked bytes of the file.
        path: The file, for messages.
        dimensions: Number of dimensions that it must have.

    Raises:
        DamagedData: The header says something else than the file holds; nothing is allocated then.
    """
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DamagedData(f"{path} has {len(content)} bytes, less than the header of an idx file")
    header = struct.unpack_from(f">4B{dimensions}I", content)
    if header[:4] != (0, 0, 8, dimensions):
        raise DamagedData(f"{path} is no idx file of bytes with {dimensions} dimensions")
    shape = header[4:]
    # Python integers, since the product of four large sizes overflows those of NumPy.
    if math.prod(shape) != len(content) - start:
        raise DamagedData(f"{path} says that it holds {shape} values; {len(content) - start:,} follow")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
