"""Loads a data set from its description: resolves the loader, checks its result, splits and resizes."""

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
from bench.plugins.sources import source_facts
from bench.registry import import_object
from bench.rng import derive_seed, seeded

__all__ = ["clear_cache", "load_ood", "load_splits"]

_PARTS = ({"train", "test"}, {"all"}, {"test"})

# The most recently used set is last. Four sets: the in-distribution one and three others, the largest of 0.6 GB.
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
        image_shape: Shape of the returned images; None for the set's own. Images of another shape are converted
            (`bench.data.resize.conform`).
        seed: The data seed.
        validation: Number of validation items; None for the spec's default.
        caps: Bounds on the number of items.

    Returns:
        Copies, which the caller may change.

    Raises:
        MissingData: Files are missing.
        DamagedData: Files do not have the fingerprint of the spec; the parsed bytes are the hashed ones.
        ValueError: The set has no classes or no training part, a bound exceeds it, or its loader broke the
            contract.
    """
    if spec.num_classes is None or spec.image_shape is None:
        raise ValueError(f"data set {spec.name!r} has no classes: it can be used only as out-of-distribution data")
    raw = _load(spec, root, like=None, image_shape=spec.loaded_shape or spec.image_shape, seed=seed)
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
    seed: int,
    cap: int | None = None,
) -> Split:
    """The test items of a data set in the image shape of the in-distribution set.

    Generated sets have as many items as ``like``; a cap keeps the first of them and changes no image.

    Args:
        spec: The data set.
        root: The data root.
        like: Test split of the in-distribution set.
        seed: The data seed.
        cap: Largest number of items, which are the first of a fixed order; None for all.

    Returns:
        A copy, which the caller may change. Labels are the set's own, or `UNLABELLED`; ids are positions in it.

    Raises:
        MissingData: Files are missing.
        DamagedData: Files do not have the fingerprint of the spec.
        ValueError: The set has no test part, the cap exceeds it, or its loader broke the contract.
    """
    raw = _load(spec, root, like=like, image_shape=spec.image_shape or like.image_shape, seed=seed)
    return conform(make_test(spec, raw, seed=seed, cap=cap), like.image_shape)


def clear_cache() -> None:
    """Forget every loaded data set, to free memory or because files have changed."""
    _CACHE.clear()


def _load(spec: DatasetSpec, root: Path, *, like: Split | None, image_shape: ImageShape, seed: int) -> dict[str, Split]:
    """The checked result of the loader. Sets that are read, not generated, are cached.

    Callers must copy from it (`Split.take`), so that cached arrays never change.
    """
    where = root if spec.location is None else spec.location
    made = spec.image_shape is None
    key = (
        spec.name,
        spec.version,
        "" if spec.version is not None else str(source_facts(spec.implementation)),
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
        raw = user.read(spec)
    else:
        load = cast(Callable[..., dict[str, Split]], import_object(spec.implementation))
        _check_location(spec)
        # The seed is set here and not by the job, because the set may be cached when the job begins.
        with _reading(spec), seeded(derive_seed(seed, "load", spec.name)):
            raw = load(where, like=like, image_shape=image_shape, seed=seed)
        _check_location(spec)  # again, so that the files did not change while they were read
    _check(spec, raw, image_shape)
    if not made:
        _CACHE[key] = raw
        while len(_CACHE) > _CACHE_SIZE:
            _CACHE.popitem(last=False)
    return raw


def _check_location(spec: DatasetSpec) -> None:
    """Check the fingerprint of data at a location of their own that a plug-in's loader reads.

    Raises:
        DamagedData: The data have changed.
    """
    if spec.location is not None and user.fingerprint(spec.location) != spec.fingerprint:
        raise DamagedData(f"{spec.location} has changed since the suite was read; start again with the new content")


@contextlib.contextmanager
def _reading(spec: DatasetSpec) -> Iterator[None]:
    """Turn errors of a loader of files into one error that names the data set.

    Errors for users pass unchanged, and so does ValueError, which means a request that the set cannot meet.

    Raises:
        DamagedData: Files have vanished, cannot be read or cannot be parsed.
    """
    try:
        yield
    except (BenchError, ValueError, NotImplementedError, ImportError):
        raise
    except (OSError, EOFError, struct.error, zlib.error, pickle.UnpicklingError, MemoryError) as error:
        raise DamagedData(f"data set {spec.name!r} cannot be read: {type(error).__name__}: {error}") from error


def _check(spec: DatasetSpec, raw: dict[str, Split], image_shape: ImageShape) -> None:
    """Check a loader's result against its contract; raises ValueError if it is broken."""
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
        if not (low >= 0.0 and high <= 1.0):  # this form also refuses NaN
            raise ValueError(f"{where}: pixel values from {low:g} to {high:g}, expected [0, 1]")
    smallest, largest = int(split.labels.min()), int(split.labels.max())
    if num_classes is None:
        if smallest != UNLABELLED or largest != UNLABELLED:
            raise ValueError(f"{where}: labels {smallest} to {largest} in a set without classes, expected {UNLABELLED}")
    elif smallest < 0 or largest >= num_classes:
        raise ValueError(f"{where}: labels {smallest} to {largest}, expected 0 to {num_classes - 1}")
    if len(np.unique(split.ids)) != len(split):
        raise ValueError(f"{where}: ids are not unique")
