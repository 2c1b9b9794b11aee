"""From a description to checked images: resolves the loader, verifies what it returns, splits and resizes."""

from __future__ import annotations

import contextlib
import pickle
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import cast

import numpy as np

from bench.data import user
from bench.data.resize import conform
from bench.data.spec import UNLABELLED, DamagedData, DatasetSpec, ImageShape, MissingData, Split
from bench.data.splits import Caps, Splits, make_splits, make_test
from bench.errors import BenchError
from bench.registry import import_object
from bench.rng import derive_seed, seeded

__all__ = ["clear_cache", "load_ood", "load_splits"]

_PARTS = ({"train", "test"}, {"all"}, {"test"})

# Most recently used last. Four sets: the in-distribution one and three others, 0.6 GB for the largest.
_CACHE: OrderedDict[Hashable, dict[str, Split]] = OrderedDict()
_CACHE_SIZE = 4


def load_splits(
    spec: DatasetSpec,
    root: Path,
    *,
    image_shape: ImageShape | None = None,
    seed: int,
    validation: int | None = None,
    caps: Caps | None = None,
) -> Splits:
    """Training, validation and test items of an in-distribution data set (`bench.data.splits.make_splits`).

    Args:
        spec: The data set.
        root: The data root.
        image_shape: Shape of the returned images; None for the set's own. Another one is resampled
            (`bench.data.resize.conform`).
        seed: The data seed.
        validation: Number of validation items; None for the spec's default.
        caps: Bounds on the number of items.

    Returns:
        Copies, free to be written to.

    Raises:
        MissingData: The files are not there.
        DamagedData: They are there but are not what the spec says: what is parsed is what was hashed.
        ValueError: The set has no classes or no training part, a bound exceeds it, or its loader broke the
            contract.
    """
    if spec.num_classes is None or spec.image_shape is None:
        raise ValueError(f"data set {spec.name!r} has no classes: it can be used only as out-of-distribution data")
    raw = _load(spec, root, like=None, image_shape=spec.image_shape, seed=seed)
    splits = make_splits(spec, raw, seed=seed, validation=validation, caps=caps)
    target = spec.image_shape if image_shape is None else image_shape
    return Splits(
        train=conform(splits.train, target),
        validation=conform(splits.validation, target),
        test=conform(splits.test, target),
    )


def load_ood(
    spec: DatasetSpec,
    root: Path,
    *,
    like: Split,
    image_shape: ImageShape | None = None,
    seed: int,
    cap: int | None = None,
) -> Split:
    """The test items of a data set in the image shape of the in-distribution set.

    Sets that are made have as many items as ``like``; a cap keeps the first of them and changes no image.

    Args:
        spec: The data set.
        root: The data root.
        like: Test split of the in-distribution set.
        image_shape: None, or the shape of ``like``.
        seed: The data seed.
        cap: At most so many items, the first of a fixed order; None for all.

    Returns:
        A copy, free to be written to. Labels are the set's own, or `UNLABELLED`; ids are positions in it.

    Raises:
        MissingData: The files are not there.
        DamagedData: They are there but are not what the spec says.
        ValueError: ``image_shape`` is not that of ``like``, the set has no test part, the cap exceeds it, or
            its loader broke the contract.
    """
    if image_shape is not None and image_shape != like.image_shape:
        raise ValueError(f"image_shape is {image_shape}, but the in-distribution images have {like.image_shape}")
    raw = _load(spec, root, like=like, image_shape=spec.image_shape or like.image_shape, seed=seed)
    return conform(make_test(spec, raw, seed=seed, cap=cap), like.image_shape)


def clear_cache() -> None:
    """Forget every loaded data set, to free memory or because files have changed."""
    _CACHE.clear()


def _load(spec: DatasetSpec, root: Path, *, like: Split | None, image_shape: ImageShape, seed: int) -> dict[str, Split]:
    """What the loader returned, checked; sets that are read rather than made are kept.

    Callers copy from it (`Split.take`), so that nobody writes to what is kept.
    """
    where = root if spec.location is None else spec.location
    made = spec.image_shape is None
    key = (
        spec.name,
        spec.version,
        spec.fingerprint,
        spec.implementation,
        where.absolute(),
        like is None,
        seed,
    )
    if not made and key in _CACHE:
        _CACHE.move_to_end(key)
        return _CACHE[key]
    problem = spec.find(root)
    if problem is not None:
        raise MissingData(spec.name, problem)
    if user.is_own(spec):
        raw = user.load(spec)
    else:
        load = cast(Callable[..., dict[str, Split]], import_object(spec.implementation))
        _check_location(spec)
        # Seeded here and not by the job, which may find the set loaded already.
        with _reading(spec), seeded(derive_seed(seed, "load", spec.name)):
            raw = load(where, like=like, image_shape=image_shape, seed=seed)
        _check_location(spec)  # again: what was loaded lies between two equal states
    _check(spec, raw, image_shape)
    if not made:
        _CACHE[key] = raw
        while len(_CACHE) > _CACHE_SIZE:
            _CACHE.popitem(last=False)
    return raw


def _check_location(spec: DatasetSpec) -> None:
    """Hold data at a place of their own, read by somebody else's loader, to their fingerprint.

    Raises:
        DamagedData: They have changed.
    """
    if spec.location is not None and user.fingerprint(spec.location) != spec.fingerprint:
        raise DamagedData(f"{spec.location} has changed since the suite was read; start again with the new content")


@contextlib.contextmanager
def _reading(spec: DatasetSpec) -> Iterator[None]:
    """What a loader of files raises over them comes out as one error that names the data set.

    Errors that are meant for people pass, and ValueError, which the contract gives to requests that a set cannot meet.

    Raises:
        DamagedData: The files vanished or cannot be read, or a reader gave up on them.
    """
    try:
        yield
    except (BenchError, ValueError, NotImplementedError, ImportError):
        raise
    except (OSError, EOFError, struct.error, zlib.error, pickle.UnpicklingError, MemoryError) as error:
        raise DamagedData(f"data set {spec.name!r} cannot be read: {type(error).__name__}: {error}") from error


def _check(spec: DatasetSpec, raw: dict[str, Split], image_shape: ImageShape) -> None:
    """Hold a loader to its contract; raises ValueError where it is broken."""
    where = f"data set {spec.name!r} ({spec.implementation})"
    if set(raw) not in _PARTS:
        raise ValueError(
            f"{where}: returned the parts {', '.join(sorted(raw)) or 'none'}; expected train and test, all, or test"
        )
    for part, split in raw.items():
        if not isinstance(split, Split):
            raise ValueError(f"{where}, {part}: returned a {type(split).__name__}, expected a Split")
        expected = sum(spec.sizes.values()) if part == "all" else spec.sizes.get(part)
        if len(split) == 0 or (expected and len(split) != expected):
            raise ValueError(f"{where}, {part}: {len(split)} items, expected {expected or 'at least one'}")
        if split.image_shape != image_shape:
            raise ValueError(f"{where}, {part}: images of shape {split.image_shape}, expected {image_shape}")
        _check_values(split, spec.num_classes, f"{where}, {part}")


def _check_values(split: Split, num_classes: int | None, where: str) -> None:
    if split.images.dtype == np.float32:
        low, high = float(split.images.min()), float(split.images.max())
        if not (low >= 0.0 and high <= 1.0):  # written so that NaN is refused too
            raise ValueError(f"{where}: pixel values from {low:g} to {high:g}, expected [0, 1]")
    smallest, largest = int(split.labels.min()), int(split.labels.max())
    if num_classes is None:
        if smallest != UNLABELLED or largest != UNLABELLED:
            raise ValueError(f"{where}: labels {smallest} to {largest} in a set without classes, expected {UNLABELLED}")
    elif smallest < 0 or largest >= num_classes:
        raise ValueError(f"{where}: labels {smallest} to {largest}, expected 0 to {num_classes - 1}")
    if len(np.unique(split.ids)) != len(split):
        raise ValueError(f"{where}: ids are not unique")
