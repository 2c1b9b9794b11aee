"""Results of several models on the items that they share: aligned by ids, means over seeds, differences of AUROCs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.difference import Difference, mean_auroc_difference
from bench.metrics.ood import auroc, missing_as_wrong, placement_values
from bench.report.stored import Scored

__all__ = [
    *("Items", "common_items", "with_finite_values", "mean_area", "mean_over_seeds"),
    *("placements_on_same_items", "scored_difference"),
]

Items = tuple[NDArray[np.int64], NDArray[Any]]
"""Ids of the items, (n,), and for each whether it was right, or its value, (n,)."""


def common_ids(ids: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The ids that stand in every array, in increasing order; at least one array.

    >>> common_ids([np.array([3, 1, 2]), np.array([2, 3])]).tolist()
    [2, 3]
    """
    first, *others = ids
    if all(np.array_equal(first, other) for other in others):  # as a rule, and much faster to see
        return np.unique(first)
    return np.unique(reduce(np.intersect1d, others, first))


def with_finite_values(ids: NDArray[np.int64], values: NDArray[Any]) -> Items:
    """The items with a finite value."""
    present = np.isfinite(values)
    return ids[present], values[present]


def common_items(rows: Mapping[str, Items]) -> dict[str, Items]:
    """The rows on the items that all of them have, in increasing order of their ids.

    Args:
        rows: By row, ids without repetition, (n,), and a result for each item, (n,); at least one row.

    Returns:
        The rows, all with the same array of ids; the array is empty if they have no item in common.
    """
    ids = common_ids(ids for ids, _ in rows.values())
    return {name: (ids, _at(own, values, ids)) for name, (own, values) in rows.items()}


def mean_over_seeds(runs: Sequence[Items]) -> Items:
    """The mean of the results of several seeds on the items that all of them have.

    Args:
        runs: For each seed, ids and results; at least one seed.

    Returns:
        Ids, (n,), and means, (n,); the results of a single seed are returned as they are.
    """
    if len(runs) == 1:
        return runs[0]
    aligned = common_items({str(index): run for index, run in enumerate(runs)})
    values = np.mean([np.asarray(values, dtype=np.float64) for _, values in aligned.values()], axis=0)
    return aligned["0"][0], values


def mean_area(runs: Mapping[int, Scored]) -> float:
    """The mean over seeds of the AUROC; an item without a score is ranked wrongly."""
    return float(np.mean([auroc(*missing_as_wrong(run.inside, run.outside)) for run in runs.values()]))


def placements_on_same_items(rows: Iterable[Mapping[int, Scored]]) -> list[tuple[NDArray[Any], NDArray[Any]]] | None:
    """The placement values of each row, mean over its seeds: (m,) of the in-distribution items, (n,) of the others.

    Returns:
        None if two runs have other items, or items in another order; a pair is then compared on those that it shares
        (`scored_difference`).
    """
    every = [list(row.values()) for row in rows]
    first = every[0][0]
    if not all(
        np.array_equal(run.ids, first.ids) and np.array_equal(run.other_ids, first.other_ids)
        for runs in every
        for run in runs
    ):
        return None
    found = []
    for runs in every:
        parts = [placement_values(*missing_as_wrong(run.inside, run.outside)) for run in runs]
        found.append((np.mean([above for above, _ in parts], axis=0), np.mean([below for _, below in parts], axis=0)))
    return found


def scored_difference(mine: Mapping[int, Scored], other: Mapping[int, Scored]) -> tuple[Difference, int] | None:
    """The difference of the mean AUROCs of two models, and the number of items on which it is.

    Args:
        mine: Scores by seed.
        other: Scores of the other model, of the same seeds; or of one seed each.

    Returns:
        None if a set has fewer than two items that all runs share.
    """
    pairs = list(zip(mine.values(), other.values(), strict=True))
    ids = common_ids([run.ids for pair in pairs for run in pair])
    others = common_ids([run.other_ids for pair in pairs for run in pair])
    if min(len(ids), len(others)) < 2:
        return None
    runs = []
    for a, b in pairs:
        ranked = [
            missing_as_wrong(_at(run.ids, run.inside, ids), _at(run.other_ids, run.outside, others)) for run in (a, b)
        ]
        runs.append((*ranked[0], *ranked[1]))
    return mean_auroc_difference(runs), len(ids) + len(others)


def _at(own: NDArray[np.int64], values: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[Any]:
    """The values of the items ``ids``, which are among ``own``."""
    order = np.argsort(own)
    chosen: NDArray[Any] = values[order[np.searchsorted(own, ids, sorter=order)]]
    return chosen
