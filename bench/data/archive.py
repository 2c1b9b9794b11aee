"""Reads, hashes and checks a user's ``.npz`` archive."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.content import check_parts, images, labels
from bench.data.measure import memory_limit, shown
from bench.data.spec import Split
from bench.errors import DamagedFileError, nearest
from bench.files.arrays import load_arrays
from bench.keys import file_digest

__all__ = ["archive_digest", "read_archive"]

_ARRAYS = "x_train, y_train, x_test, y_test (or x_test, y_test; or x, y)"
_KNOWN = ("x", "y", "x_train", "y_train", "x_test", "y_test")


def archive_digest(path: Path) -> str:
    """SHA-256 of the file.

    Raises:
        ValueError: It is not a regular file, or larger than `memory_limit`.
        OSError: It cannot be read.
    """
    found, limit = path.stat(), memory_limit()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{shown(path)}: is not a regular file")
    if found.st_size > limit:
        raise ValueError(f"{shown(path)}: has {found.st_size / 2**30:,.1f} GiB; the limit is {limit / 2**30:,.1f} GiB")
    return file_digest(path)


def read_archive(path: Path, digest: str) -> dict[str, Split]:
    """The parts of an archive by the rules of `bench.data.user.spec_for_path`.

    Args:
        path: The archive.
        digest: SHA-256 that the parsed bytes must have.

    Raises:
        ValueError: It is not an archive of plain arrays, has another digest, or breaks a rule; the message says where.
    """
    where = shown(path)
    try:
        arrays = load_arrays(path, sha256=digest, limit=memory_limit())
    except DamagedFileError as error:
        raise ValueError(f"{where}: not a readable .npz archive of plain arrays ({error.problem})") from error
    suffixes = _parts(arrays, where)
    raw = {}
    for part, suffix in suffixes.items():
        x, y = arrays[f"x{suffix}"], arrays[f"y{suffix}"]
        if x.ndim == 0:
            raise ValueError(f"{where}, x{suffix}: a single value; expected images")
        pixels = images(x, f"{where}, x{suffix}")
        numbers = labels(y, len(x), f"{where}, y{suffix}")
        raw[part] = Split(pixels, numbers, np.arange(len(numbers), dtype=np.int64))
    check_parts(raw, where)
    return raw


def _parts(arrays: dict[str, npt.NDArray[Any]], where: str) -> dict[str, str]:
    """The suffix of the names of the arrays, by part.

    Raises:
        ValueError: Arrays are missing or unknown; the message suggests a name for each unknown one.
    """
    for parts in (("train", "test"), ("test",), ("all",)):
        suffixes = {part: "" if part == "all" else f"_{part}" for part in parts}
        if set(arrays) == {f"{letter}{suffix}" for suffix in suffixes.values() for letter in "xy"}:
            return suffixes
    absent = [name for name in _KNOWN if name not in arrays]
    close = {name: nearest(name, absent) for name in sorted(arrays) if name not in _KNOWN}
    hints = [f"for {shown(name)!r} did you mean {meant!r}?" for name, meant in close.items() if meant]
    if set(_KNOWN[2:]) < set(arrays) or set(arrays) > set(_KNOWN[:2]):
        wanted = _KNOWN[2:] if set(_KNOWN[2:]) < set(arrays) else _KNOWN[:2]
        hints = [f"take out {', '.join(shown(name) for name in sorted(arrays) if name not in wanted)}"]
    held = ", ".join(shown(name) for name in sorted(arrays)) or "none"
    raise ValueError(f"{where}: has the arrays {held}; expected {_ARRAYS}{'; ' if hints else ''}{'; '.join(hints[:6])}")
