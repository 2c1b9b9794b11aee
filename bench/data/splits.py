"""Splits a data set into training, validation and test items; the choice depends on the data seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.data.spec import DatasetSpec, Split
from bench.rng import generator

__all__ = ["Caps", "Splits", "make_splits", "make_test"]


@dataclass(frozen=True)
class Splits:
    """The three disjoint parts of an in-distribution data set."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Upper bounds on the number of items of each part; None for all items.

    A cap keeps the first items of a fixed order, so that a smaller cap gives a prefix of a larger one.

    Raises:
        ValueError: A cap is not positive.
    """

    train: int | None = None
    validation: int | None = None
    test: int | None = None

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            cap = getattr(self, part)
            if cap is not None and cap < 1:
                raise ValueError(f"cap on {part} is {cap}, expected 1 or more, or None for all")


def make_splits(
    spec: DatasetSpec,
    raw: Mapping[str, Split],
    *,
    seed: int,
    validation: int | None = None,
    caps: Caps | None = None,
) -> Splits:
    """Split a loaded data set into training, validation and test items.

    Each official part, or the whole set if there is none, is permuted by a generator of (seed, name,
    part). Without an official test set the first ``spec.test`` items are the test set, so the test set does
    not depend on the number of validation items. The first ``validation`` of the remaining items are held out
    and never trained on. The split is not stratified, as in JEM's and GMMC's code. Ids are positions in the official
    part or the whole set.

    Args:
        spec: The data set.
        raw: The loader's result, with the keys ``train`` and ``test``, or ``all``.
        seed: The data seed.
        validation: Number of validation items; None for the spec's default.
        caps: Bounds applied last: a cap on training items does not change which items are validation items.

    Raises:
        ValueError: There is no training part, or more items are requested than there are.
    """
    bounds = Caps() if caps is None else caps
    held_out = spec.validation if validation is None else validation
    if held_out < 0:
        raise ValueError(f"data set {spec.name!r}: validation is {held_out}, expected 0 or more")
    if "all" in raw:
        source, order, skip = (
            raw["all"],
            _order(spec, raw["all"], "all", seed),
            _held_out_test(spec, raw["all"]),
        )
    elif "train" in raw and "test" in raw:
        source, order, skip = raw["train"], _order(spec, raw["train"], "train", seed), 0
    else:
        raise ValueError(
            f"data set {spec.name!r} has no training part (only {', '.join(sorted(raw)) or 'nothing'}):"
            " it can be used only as out-of-distribution data"
        )
    rest = order[skip:]
    if held_out >= len(rest):
        raise ValueError(
            f"data set {spec.name!r}: {held_out} validation items leave nothing to train on;"
            f" expected fewer than {len(rest)}"
        )
    return Splits(
        train=source.take(_first(spec, rest[held_out:], "training", bounds.train)),
        validation=source.take(_first(spec, rest[:held_out], "validation", bounds.validation)),
        test=make_test(spec, raw, seed=seed, cap=bounds.test),
    )


def make_test(spec: DatasetSpec, raw: Mapping[str, Split], *, seed: int, cap: int | None = None) -> Split:
    """The test items in the order of `make_splits`, the same for in- and out-of-distribution use.

    Args:
        spec: The data set.
        raw: The loader's result, with the key ``test`` or ``all``.
        seed: The data seed.
        cap: Largest number of items; None for all.

    Raises:
        ValueError: There is no test part, or the cap exceeds it.
    """
    if "all" in raw:
        source = raw["all"]
        order = _order(spec, source, "all", seed)[: _held_out_test(spec, source)]
    elif "test" in raw:
        source = raw["test"]
        order = _order(spec, source, "test", seed)
    else:
        raise ValueError(f"data set {spec.name!r} has no test part (only {', '.join(sorted(raw)) or 'nothing'})")
    return source.take(_first(spec, order, "test", cap))


def _order(spec: DatasetSpec, part: Split, name: str, seed: int) -> npt.NDArray[np.int64]:
    return generator(seed, f"{spec.name}/{name}").permutation(len(part)).astype(np.int64)


def _held_out_test(spec: DatasetSpec, whole: Split) -> int:
    if spec.test is None:
        raise ValueError(f"data set {spec.name!r} has no official test set and its spec holds out no test items")
    if spec.test >= len(whole):
        raise ValueError(f"data set {spec.name!r}: {spec.test} test items of {len(whole)} leave nothing to train on")
    return spec.test


def _first(spec: DatasetSpec, order: npt.NDArray[np.int64], part: str, cap: int | None) -> npt.NDArray[np.int64]:
    if cap is None:
        return order
    if cap < 1 or cap > len(order):
        raise ValueError(
            f"data set {spec.name!r}: {cap} {part} items asked for, expected 1 to {len(order)} (all it has)"
        )
    return order[:cap]
