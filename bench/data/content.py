"""Rules for a user's own images and labels, and warnings about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.measure import CLASSES, check_memory
from bench.data.spec import Split

__all__ = ["check_parts", "held_out", "images", "labels", "warnings_about"]

DARK = 2 / 255
"""Images whose largest value is below this are nearly black, for example because they were divided by 255 twice."""


def images(array: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Images of an archive in the layout of the harness.

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


def labels(array: npt.NDArray[Any], count: int, where: str) -> npt.NDArray[np.int64]:
    """Labels of an archive as int64.

    Args:
        array: Integers 0..K-1 of shape (count,), K at most `CLASSES`.
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
