"""Rules for a user's own data, whatever their format: limits on sizes, checks of all parts together, and warnings.

Sizes of foreign data are checked before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.spec import Split
from bench.files.arrays import LIMIT

__all__ = [
    "CLASSES",
    "FILE_BYTES",
    "PIXELS",
    "check_memory",
    "check_parts",
    "held_out",
    "memory_limit",
    "shown",
    "warnings_about",
]

PIXELS = 2**24
"""Largest number of pixels of one picture, 4,096 x 4,096: more than any classifier of this harness reads."""
FILE_BYTES = 2**27
"""Largest number of bytes of a picture's file: 16 million pixels of 8 bytes each, uncompressed."""
CLASSES = 2**15
"""Largest number of classes of one data set; the largest public sets have 22 thousand."""
DARK = 2 / 255
"""Images whose largest value is below this are nearly black, for example because they were divided by 255 twice."""


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


def check_parts(raw: Mapping[str, Split], where: str, names: Mapping[int, str] | None = None) -> None:
    """Check the rules on all parts together: one image shape, enough training items, every class in the training part.

    Args:
        raw: Parts by name: train and test, or all, or test alone.
        where: Name of the data, for messages.
        names: Names of classes by number, if they have any.

    Raises:
        ValueError: A rule is broken.
    """
    shapes = {split.image_shape for split in raw.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"{where}: images of {' and '.join(str(shape) for shape in sorted(shapes))}; expected one shape"
        )
    part = "train" if "train" in raw else "all"
    if part not in raw:
        return
    classes = np.unique(raw[part].labels)
    # No array here has the length of the largest label, since a foreign file chooses that number.
    largest = max(int(split.labels.max()) for split in raw.values())
    gaps = np.flatnonzero(classes != np.arange(len(classes)))
    absent = int(gaps[0]) if gaps.size else len(classes)
    if absent <= largest:
        name = f" ({names[absent]!r})" if names and absent in names else ""
        raise ValueError(
            f"{where}: class {absent}{name} has no training item; expected labels 0..K-1, each of them in training;"
            f" found {_some(classes)}{_stored_hint(classes)}"
        )
    if len(classes) < 2:
        raise ValueError(f"{where}: all training items are of one class; a classifier needs two")
    count = len(raw[part])
    if part == "all" and count - held_out(count) < len(classes):
        raise ValueError(
            f"{where}: {count} items of {len(classes)} classes leave {count - held_out(count)} to train on once"
            f" {held_out(count)} are held out as test set"
        )


def held_out(count: int) -> int:
    """The number of test items held out of a set without a test part: a fifth of ``count``, at least one."""
    return max(1, count // 5)


def _some(classes: npt.NDArray[np.int64]) -> str:
    text = ", ".join(str(label) for label in classes[:5])
    return text if len(classes) <= 6 else f"{text}, …, {classes[-1]}"


def _stored_hint(classes: npt.NDArray[np.int64]) -> str:
    """A hint if -1 was stored as the largest number of an unsigned type, or if classes are numbered from 1."""
    if int(classes[-1]) == 255 and len(classes) < 256:
        return "; if 255 is a -1 stored unsigned, leave out items without a label"
    if np.array_equal(classes, np.arange(1, len(classes) + 1)):
        return "; store labels - 1"
    return ""


def warnings_about(raw: Mapping[str, Split], where: str) -> tuple[str, ...]:
    """Warnings about content that is allowed but probably not intended, as sentences that begin with ``where``."""
    found = []
    for part, split in raw.items():
        scale = 255.0 if split.images.dtype == np.uint8 else 1.0
        low, high = float(split.images.min()) / scale, float(split.images.max()) / scale
        if low == high:
            found.append(f"{where}, {part}: every pixel of every image has the same value")
        elif high <= DARK:
            meant = "uint8 is divided by 255" if scale > 1 else "were they divided by 255 twice?"
            found.append(f"{where}, {part}: no pixel is above {high:.3g} on a scale of 0 to 1: {meant}")
    if "train" in raw and "test" in raw:
        known = {*_digests(raw["train"])}
        copies = [place for place, digest in enumerate(_digests(raw["test"])) if digest in known]
        if copies:
            found.append(
                f"{where}: {len(copies):,} of {len(raw['test']):,} test images are training images too (the first:"
                f" test item {copies[0]}); accuracy on them says nothing"
            )
        unseen = np.setdiff1d(raw["train"].labels, raw["test"].labels)
        if unseen.size:
            found.append(f"{where}: {unseen.size} classes have no test item (the first: class {unseen[0]})")
    elif "all" in raw:
        digests = _digests(raw["all"])
        repeated = len(digests) - len(set(digests))
        if repeated:
            found.append(
                f"{where}: {repeated:,} of {len(digests):,} images are copies of others; some will be in both the"
                " training and the test part"
            )
        rare = np.flatnonzero(np.bincount(raw["all"].labels) < 2)
        if rare.size:
            found.append(f"{where}: class {rare[0]} has one item only, which may be held out of training")
    return tuple(found)


def _digests(split: Split) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in split.images]
