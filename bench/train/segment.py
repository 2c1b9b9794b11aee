"""One file of rows: a safetensors file that is written piece by piece and read row by row.

It holds two tensors of bytes: ``digests`` (n, d) and ``rows`` (n, width). The library would need all content in memory
to write a file, so a buffer of a gigabyte would be there twice. It reads through a memory map, where a failing disk
ends the process by a signal instead of an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bytes", "DamagedError", "Segment", "segment_content"]

Bytes = NDArray[np.uint8]
"""Bytes of shape (rows, width)."""


class DamagedError(OSError):
    """Files are missing or damaged.

    Attributes:
        names: Names of the files that are known to be damaged.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"damaged: {', '.join(names) or 'unknown'}")
        self.names = list(names)


class Segment:
    """A segment, open for reading.

    Args:
        path: Path of the file.
        digest_size: Bytes of a digest.

    Attributes:
        name: Name of the file.
        width: Bytes of a row.
        digests: Digests of the rows, in the order of the rows.

    Raises:
        DamagedError: The file is missing, or is not a complete segment. Its rows are not verified.
    """

    def __init__(self, path: Path, digest_size: int) -> None:
        self.name = path.name
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise DamagedError([self.name]) from None
        try:
            size = os.fstat(self._file.fileno()).st_size
            length = int.from_bytes(self._read(0, 8), "little")
            header = json.loads(self._read(8, min(length, size)))
            count, digest = header["digests"]["shape"]
            _, self.width = header["rows"]["shape"]
            table = 8 + length
            self._rows = table + count * digest
            expected = _header(count, digest, self.width)
            if digest != digest_size or header != expected or self._rows + count * self.width != size:
                raise ValueError("not a segment")
            content = self._read(table, count * digest)
        except (ValueError, KeyError, TypeError):
            self.close()
            raise DamagedError([self.name]) from None
        self.digests = [content[start : start + digest] for start in range(0, len(content), digest)]

    def __len__(self) -> int:
        return len(self.digests)

    def read_into(self, row: Bytes, place: int) -> bool:
        """Read the row at a place into ``row`` (width,); False if its width differs or the file ends early."""
        if len(row) != self.width:
            return False
        return bool(os.preadv(self._file.fileno(), [row.data], self._rows + place * self.width) == self.width)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, start: int, length: int) -> bytes:
        content = os.pread(self._file.fileno(), length, start)
        if len(content) != length:
            raise ValueError("the file ends early")
        return content


def _header(count: int, digest: int, width: int) -> dict[str, object]:
    middle = count * digest
    return {
        "digests": {"dtype": "U8", "shape": [count, digest], "data_offsets": [0, middle]},
        "rows": {"dtype": "U8", "shape": [count, width], "data_offsets": [middle, middle + count * width]},
    }


def segment_content(digests: Sequence[bytes], rows: Iterable[Bytes], width: int) -> Iterator[bytes | memoryview]:
    """The content of a segment in pieces.

    Args:
        digests: Digests of the rows, at least one.
        rows: The rows in the same order, several at a time, each (k, width).
        width: Bytes of a row.
    """
    header = json.dumps(_header(len(digests), len(digests[0]), width)).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header
    yield b"".join(digests)
    for part in rows:
        yield np.ascontiguousarray(part).reshape(-1).data
