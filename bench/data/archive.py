"""Reads, hashes and checks a user's ``.npz`` archive."""

from __future__ import annotations

import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.content import CLASSES, check_memory, check_parts, memory_limit, shown
from bench.data.own_options import KEYS, OwnOptions, of_archive
from bench.data.resize import resized
from bench.data.spec import Split
from bench.errors import DamagedFileError, nearest
from bench.files.arrays import load_arrays
from bench.keys import file_digest

__all__ = ["archive_digest", "images_of", "labels_of", "read_archive"]

_ARRAYS = "x_train, y_train, x_test, y_test (or x_test, y_test; or x, y)"
_KNOWN = ("x", "y", "x_train", "y_train", "x_test", "y_test", *KEYS)


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


def read_archive(path: Path, digest: str) -> tuple[dict[str, Split], OwnOptions]:
    """The parts of an archive and its options by the rules of `bench.data.user.spec_for_path`.

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
    options = of_archive(arrays, where)
    suffixes = _parts({name: array for name, array in arrays.items() if name not in KEYS}, where)
    raw = {}
    for part, suffix in suffixes.items():
        x, y = arrays[f"x{suffix}"], arrays[f"y{suffix}"]
        if x.ndim == 0:
            raise ValueError(f"{where}, x{suffix}: a single value; expected images")
        pixels = images_of(x, f"{where}, x{suffix}")
        if options.resize is not None:
            check_memory(len(x) * pixels.shape[1] * math.prod(options.resize) * pixels.itemsize, f"{where}, resized")
            pixels = resized(pixels, *options.resize)
        numbers = labels_of(y, len(x), f"{where}, y{suffix}")
        raw[part] = Split.numbered(pixels, numbers)
    check_parts(raw, where)
    options.check(next(iter(raw.values())).image_shape, where)
    return raw, options


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
    if set(_KNOWN[2:6]) < set(arrays) or set(arrays) > set(_KNOWN[:2]):
        wanted = _KNOWN[2:6] if set(_KNOWN[2:6]) < set(arrays) else _KNOWN[:2]
        hints = [f"take out {', '.join(shown(name) for name in sorted(arrays) if name not in wanted)}"]
    held = ", ".join(shown(name) for name in sorted(arrays)) or "none"
    raise ValueError(f"{where}: has the arrays {held}; expected {_ARRAYS}{'; ' if hints else ''}{'; '.join(hints[:6])}")


def images_of(array: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Images of an archive, or of somebody's function, in the layout of the harness.

    Args:
        array: Shape (n, H, W), (n, C, H, W) or (n, H, W, C), C of 1 or 3; uint8, or floating point in [0, 1].
        where: Name of the array, for messages.

    Returns:
        Shape (n, C, H, W); uint8 or float32.

    Raises:
        ValueError: Shape, dtype or values are not valid; the message says what would be right.
    """
    if array.ndim == 3:
        found = array[:, None]
    elif array.ndim == 4:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first == last:
            reason = "both could be" if first else "neither can be"
            raise ValueError(
                f"{where}: shape {array.shape}: of the second and the last axis {reason} the channels"
                " (1 or 3); expected (n, C, H, W) or (n, H, W, C)"
            )
        found = array if first else array.transpose(0, 3, 1, 2)
    else:
        raise ValueError(f"{where}: shape {array.shape}; expected (n, H, W), (n, C, H, W) or (n, H, W, C)")
    if 0 in found.shape:
        raise ValueError(f"{where}: shape {array.shape} holds nothing")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(found)
    if array.dtype.kind != "f":
        hint = "; whole numbers 0..255 become uint8 by .astype('uint8')" if array.dtype.kind in "iu" else ""
        raise ValueError(f"{where}: {array.dtype}; expected uint8 in 0..255 or floating point in [0, 1]{hint}")
    check_memory(4 * found.size, f"{where}: shape {array.shape} as float32")
    low, high = float(found.min()), float(found.max())
    if not (low >= 0.0 and high <= 1.0):  # this form also refuses NaN
        raise ValueError(
            f"{where}: values from {low:g} to {high:g}; floating-point images must lie in [0, 1]"
            f"{_range_hint(found, low, high)}"
        )
    return np.ascontiguousarray(found, dtype=np.float32)


def _range_hint(found: npt.NDArray[Any], low: float, high: float) -> str:
    """A hint at the probable cause of values outside of [0, 1]."""
    bad = int(found.size - np.count_nonzero(np.isfinite(found)))
    if bad:
        return f"; {bad:,} of {found.size:,} values are not finite"
    if low >= 0.0 and high <= 255.0:
        return "; if they are 0..255, divide by 255 or store uint8"
    if low >= -1.0 and high <= 1.0:
        return "; if they are in [-1, 1], store (x + 1) / 2"
    return "; were they standardised? store the images as they were before"


def labels_of(array: npt.NDArray[Any], count: int, where: str) -> npt.NDArray[np.int64]:
    """Labels of such images as int64.

    Args:
        array: Integers 0..K-1 of shape (count,), K at most `bench.data.content.CLASSES`.
        count: Number of images.
        where: Name of the array, for messages.

    Raises:
        ValueError: Shape, dtype or values are not valid; the message says what would be right.
    """
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise ValueError(
            f"{where}: {array.dtype} of shape {array.shape}; expected integers of shape ({count},)"
            f"{_shape_hint(array, count)}"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise ValueError(f"{where}: smallest label is {low}; expected 0..K-1{_unlabelled_hint(low)}")
    if high >= CLASSES:
        wrapped = high - (np.iinfo(array.dtype).max + 1) if array.dtype.kind == "u" else 0
        meant = f" ({wrapped} stored as {array.dtype})" if -CLASSES <= wrapped < 0 else ""
        raise ValueError(
            f"{where}: largest label is {high}{meant}; expected 0..K-1 with at most {CLASSES:,} classes"
            f"{_unlabelled_hint(wrapped)}"
        )
    return array.astype(np.int64)


def _unlabelled_hint(label: int) -> str:
    return "; leave out items without a label" if label == -1 else ""


def _shape_hint(array: npt.NDArray[Any], count: int) -> str:
    """A hint at the probable content of an array of another shape."""
    if array.ndim == 2 and array.shape[0] == count and array.shape[1] == 1:
        return f"; store labels[:, 0]{'' if array.dtype.kind in 'iu' else ' as integers'}"
    if array.ndim == 2 and array.shape[0] == count and array.dtype.kind in "iufb":
        ones = np.count_nonzero(array == 1, axis=1)
        if bool(np.all(ones == 1)) and np.count_nonzero(array) == count:
            return "; they are one-hot: store labels.argmax(axis=1)"
    if array.shape == (count,) and array.dtype.kind in "fb":
        return "; store labels.astype('int64') if they are whole numbers"
    if array.dtype.kind in "US":
        return "; number the class names: numpy.unique(labels, return_inverse=True)[1]"
    if array.ndim == 1 and array.dtype.kind in "iu":
        return f": {array.shape[0]} labels for {count} images"
    return ""
