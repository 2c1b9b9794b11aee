"""Differences between the AUROCs of two models on the same items of both sets, for bold face and comparisons."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.metrics.difference import Difference, mean_auroc_difference
from bench.metrics.ood import auroc, missing_as_wrong
from bench.report.stored import Scored

__all__ = ["mean_area", "scored_difference"]


def mean_area(runs: Mapping[int, Scored]) -> float:
    """The mean over seeds of the AUROC; an item without a score is ranked wrongly."""
    return float(np.mean([auroc(*missing_as_wrong(run.inside, run.outside)) for run in runs.values()]))


def scored_difference(mine: Mapping[int, Scored], other: Mapping[int, Scored]) -> tuple[Difference, int] | None:
    """The difference of the mean AUROCs of two models, and the number of items on which it is.

    Args:
        mine: Scores by seed.
        other: Scores of the other model, of the same seeds; or of one seed each.

    Returns:
        None if a set has fewer than two items that all runs share.
    """
    pairs = list(zip(mine.values(), other.values(), strict=True))
    ids = [_shared([run.ids for pair in pairs for run in pair])]
    ids.append(_shared([run.other_ids for pair in pairs for run in pair]))
    if min(map(len, ids)) < 2:
        return None
    runs = []
    for a, b in pairs:
        runs.append((*_ranks(a, *ids), *_ranks(b, *ids)))
    return mean_auroc_difference(runs), len(ids[0]) + len(ids[1])


def _shared(ids: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = ids[0]
    for more in ids[1:]:
        found = np.intersect1d(found, more)
    return np.unique(found)


def _ranks(
    run: Scored, ids: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return missing_as_wrong(_at(run.ids, run.inside, ids), _at(run.other_ids, run.outside, others))


def _at(own: NDArray[np.int64], values: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    order = np.argsort(own)
    chosen: NDArray[np.float64] = values[order[np.searchsorted(own, ids, sorter=order)]]
    return chosen
