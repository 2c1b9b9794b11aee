"""Reads files with a published checksum once; the verified bytes are returned. Light."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import DamagedFileError

__all__ = ["LIMIT", "Checksum", "read_measured", "unpacked"]

LIMIT = 2**30
"""Largest number of bytes of one file, packed or not; the largest published one, that of DTD, has 625 million."""


@dataclass(frozen=True)
class Checksum:
    """A file and its published checksum.

    Attributes:
        path: The file.
        digest: The digest, or as many of its first digits as are published; lower-case hexadecimal.
        algorithm: The digest's algorithm.
        packed: Whether the file is packed by gzip; the digest is then that of the unpacked content.
        limit: Largest number of bytes of the file, and of its content.
    """

    path: Path
    digest: str
    algorithm: Literal["md5", "sha256"] = "sha256"
    packed: bool = False
    limit: int = LIMIT

    def read(self) -> bytes:
        """The verified content. Callers must parse these bytes and not the file, which may change meanwhile.

        Raises:
            DamagedFileError: The file is missing, unreadable, not a regular file, larger than the limit, cannot be
                unpacked, or has another digest; the message names the expected and the found one.
        """
        content = read_measured(self.path, self.limit)
        if self.packed:
            content = unpacked(content, self.path, self.limit)
        found = hashlib.new(self.algorithm, content, usedforsecurity=False).hexdigest()
        if not found.startswith(self.digest):
            name = {"md5": "MD5", "sha256": "SHA-256"}[self.algorithm]
            what = f"{'unpacked ' if self.packed else ''}{name}"
            start = "" if len(self.digest) == len(found) else "to begin with "
            raise DamagedFileError(self.path, f"has {what} {found}, expected {start}{self.digest}")
        return content


def unpacked(content: bytes, path: Path, limit: int) -> bytes:
    """The content of a gzip file. At most ``limit`` + 1 bytes are unpacked: a file of kilobytes can hold gigabytes.

    Args:
        content: The bytes of the file.
        path: The file, for messages.
        limit: Largest number of bytes of the content.

    Raises:
        DamagedFileError: The file is damaged, or holds more.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            found = file.read(limit + 1)
    # gzip, zlib and struct may raise any exception over a damaged file.
    except Exception as error:
        raise DamagedFileError(path, f"cannot be unpacked ({error})") from error
    if len(found) > limit:
        raise DamagedFileError(path, f"holds more than {limit:,} bytes when unpacked, the limit")
    return found


def read_measured(path: Path, limit: int) -> bytes:
    """The bytes of a regular file, whose size is checked before anything is read.

    Raises:
        DamagedFileError: The file is missing, unreadable, not a regular file (reading a pipe or a device may never
            end), or larger than the limit.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DamagedFileError(path, "is not a regular file")
        if found.st_size > limit:
            raise DamagedFileError(path, f"has {found.st_size:,} bytes; the limit is {limit:,}")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise DamagedFileError(path, "is missing") from None
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error
    if len(content) > limit:
        raise DamagedFileError(path, f"grew beyond {limit:,} bytes, the limit, while it was read")
    return content
