"""Checks of a data set: what its loader returns is what its description says, and the same every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.api import Bench
from bench.conformance import small
from bench.conformance.check import Check, NonConformingError, require
from bench.data.loading import clear_cache, load_ood, load_splits
from bench.data.spec import DatasetSpec, Split
from bench.data.splits import Splits

__all__ = ["checks"]

_T = TypeVar("_T")
_SEED = 1
_CAP = 5


def checks(
    kind: str,  # noqa: ARG001 - the modules of all kinds have one signature
    name: str,  # noqa: ARG001
    spec: DatasetSpec,
    params: Mapping[str, Any],  # noqa: ARG001
    family: str | None,  # noqa: ARG001
) -> tuple[Check, ...]:
    """The checks of a data set, which load it from the data root of the settings."""
    trial = Trial(spec, Bench.here().settings.data)
    found: list[tuple[str, Callable[[], None]]] = [("its files are there", trial.present)]
    if spec.num_classes is not None and spec.image_shape is not None:
        found += [
            ("training: parts, shapes, labels and values that it declares", trial.loaded),
            ("training: every class has items", trial.classes),
            ("training: loaded twice, the same items", trial.repeated),
        ]
    found += [
        ("as another set: images in the shape of the trained one", trial.shaped),
        ("as another set: loaded twice, the same items, and a cap keeps the first", trial.capped),
    ]
    return tuple(Check(text, run) for text, run in found)


class Trial:
    """What the checks of one data set share.

    Args:
        spec: The data set.
        root: The data root.
    """

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        self.spec, self.root = spec, root
        channels = spec.image_shape[0] if spec.image_shape is not None else small.SHAPE[0]
        like = small.part("test", 12)
        self.like = Split(np.repeat(like.images, channels, axis=1).astype(np.float32), like.labels, like.ids)

    def present(self) -> None:
        """``find`` misses nothing below the data root."""
        missing = self.spec.find(self.root)
        require(missing is None, f"{self.spec.name} below {self.root}: {missing}")

    def _training(self) -> Splits:
        clear_cache()
        return _kept(lambda: load_splits(self.spec, self.root, seed=_SEED))

    def _other(self, cap: int | None = None) -> Split:
        clear_cache()
        return _kept(lambda: load_ood(self.spec, self.root, like=self.like, seed=_SEED, cap=cap))

    @cached_property
    def splits(self) -> Splits:
        """The items to train and test on, loaded once."""
        return self._training()

    def loaded(self) -> None:
        """The loader keeps its contract, and the numbers of items are those of ``sizes``."""
        train = len(self.splits.train) + len(self.splits.validation)
        for part, items in (("train", train), ("test", len(self.splits.test))):
            told = self.spec.sizes.get(part)
            require(told is None or told == items, f"sizes says {told} {part} items, loaded are {items}")

    def classes(self) -> None:
        """Each class that the description counts has training items."""
        counts = np.bincount(self.splits.train.labels, minlength=self.spec.num_classes or 0)
        empty = ", ".join(map(str, np.flatnonzero(counts == 0)))
        require(not empty, f"num_classes is {self.spec.num_classes}; no training item has the label {empty}")

    def repeated(self) -> None:
        """Everything is equal in another load, in which nothing is taken from a cache."""
        again = self._training()
        for part in ("train", "validation", "test"):
            _same(getattr(self.splits, part), getattr(again, part), f"{self.spec.name}, {part}")

    def shaped(self) -> None:
        """The images have the shape of those of another data set."""
        found = self._other().image_shape
        require(found == self.like.image_shape, f"images of shape {found}, expected {self.like.image_shape}")

    def capped(self) -> None:
        """Another load has the same items, and so has one of a few items."""
        whole = self._other()
        _same(whole, self._other(), f"{self.spec.name}, as another set")
        few = min(_CAP, len(whole))
        first = whole.take(np.arange(few))
        _same(first, self._other(few), f"{self.spec.name}, the first {few} as another set")


def _kept(load: Callable[[], _T]) -> _T:
    """The result of a load, whose ``ValueError`` says what of the contract is broken."""
    try:
        return load()
    except ValueError as error:
        raise NonConformingError(str(error)) from error


def _same(first: Split, second: Split, what: str) -> None:
    for name in ("images", "labels", "ids"):
        require(
            np.array_equal(getattr(first, name), getattr(second, name)),
            f"{what}: other {name} in the second load; draw from a generator with a fixed seed, and sort files by name",
        )
