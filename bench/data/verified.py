"""Finds the files of named data sets, and reads them with verified checksums."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.data.spec import DamagedData
from bench.errors import DamagedFileError
from bench.files.checksums import Checksum

__all__ = ["absent", "exists", "read_verified"]


def exists(path: Path) -> bool:
    """Whether the path exists and is not a folder; False if its own folder may not be read."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False


def absent(root: Path, files: Mapping[str, str], advice: str) -> str | None:
    """One sentence that says which files are missing, or None if none is.

    Args:
        root: The data root.
        files: Names below it, with their digests.
        advice: Instructions to append.
    """
    names = [name for name in files if not exists(root / name)]
    if not names:
        return None
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} not found below {root}; {advice}"


def read_verified(file: Checksum) -> bytes:
    """The bytes of a file, verified against its published digest.

    Raises:
        DamagedData: The file is missing, unreadable, too large, or has another digest.
    """
    try:
        return file.read()
    except DamagedFileError as error:
        raise DamagedData(f"{error}; get the file again") from error
