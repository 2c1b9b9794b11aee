"""Limits on the size of foreign data, checked before anything is unpacked."""

from __future__ import annotations

import os
from pathlib import Path

from bench.files.arrays import LIMIT

__all__ = ["CLASSES", "FILE_BYTES", "PIXELS", "check_memory", "memory_limit", "shown"]

PIXELS = 2**24
"""Largest number of pixels of one picture, 4,096 x 4,096: more than any classifier of this harness reads."""
FILE_BYTES = 2**27
"""Largest number of bytes of a picture's file: 16 million pixels of 8 bytes each, uncompressed."""
CLASSES = 2**15
"""Largest number of classes of one data set; the largest public sets have 22 thousand."""


def memory_limit() -> int:
    """Bytes that one data set may use: half of this machine's memory, at most `bench.files.arrays.LIMIT`."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return LIMIT
    return min(LIMIT, memory // 2) if memory > 0 else LIMIT


def check_memory(size: int, what: str) -> None:
    """Refuse data that would use more memory than `memory_limit`.

    Args:
        size: Bytes needed.
        what: Name of the data, with which the message begins.

    Raises:
        ValueError: ``size`` is above the limit; the message gives both numbers.
    """
    limit = memory_limit()
    if size > limit:
        raise ValueError(f"{what} asks for {size / 2**30:,.1f} GiB of memory; the limit is {limit / 2**30:,.1f} GiB")


def shown(path: Path | str) -> str:
    """A path or name as text that can be printed and stored: bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
