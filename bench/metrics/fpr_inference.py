"""Confidence interval of a false-positive rate at a true-positive rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betainc

from bench.metrics.arrays import vector
from bench.metrics.intervals import Interval
from bench.metrics.ood import Positive

__all__ = ["FEWEST", "fpr_interval"]

FEWEST = 300
"""Smallest size of both sets for which `fpr_interval` was found to cover 93 to 97 % at a TPR of 95 %."""

_NEGLIGIBLE = 1e-9
"""Probability below which a rank of the threshold is left out."""


def fpr_interval(
    in_scores: npt.ArrayLike,
    out_scores: npt.ArrayLike,
    tpr: float = 0.95,
    *,
    positive: Positive,
    level: float = 0.95,
) -> Interval:
    """Interval of the false-positive rate at a true-positive rate, within [0, 1], with the error of the threshold.

    The number of positive items above the true threshold is binomial, Bin(n_pos, tpr), whatever the distribution of
    the scores. So it is known with which probability the threshold lies between two neighbours in rank. Given these,
    the rate is a proportion of negative items, with Jeffreys' distribution Beta(k + 1/2, n_neg - k + 1/2) (Brown et al.
    2001), where k is the mean of the counts at the two neighbours. The ends are the quantiles of the mixture.

    It covers 93 to 97 % in simulation if both sets have at least `FEWEST` items, and more where they have 100 and the
    rate is small. Wilson's interval, which takes the threshold as known, covers 40 to 79 %. The scores must be
    continuous: with ties at the threshold the rate jumps there.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,).
        tpr: Share of positive items that must be detected, in (0, 1).
        positive: As in `bench.metrics.ood.fpr_at_tpr`.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If a set is empty, not one-dimensional, or holds NaN, or an option is out of range.

    >>> interval = fpr_interval(np.arange(400), np.arange(400) - 200.0, positive="in")
    >>> round(interval.low, 3), round(interval.high, 3)  # around 0.45
    (0.398, 0.505)
    """
    if not (0 < tpr < 1 and 0 < level < 1):
        raise ValueError(f"tpr and level must lie in (0, 1), got {tpr} and {level}")
    inside, outside = vector("in_scores", in_scores), vector("out_scores", out_scores)
    if positive not in ("in", "out"):
        raise ValueError(f'positive must be "in" or "out", got {positive!r}')
    wanted, other = (inside, outside) if positive == "in" else (-outside, -inside)
    # counts[k]: negative items at or above the k-th largest positive one; all of them lie above minus infinity.
    ordered = np.sort(other)
    above = other.size - np.searchsorted(ordered, np.sort(wanted)[::-1], side="left")
    counts = np.concatenate([[0], above, [other.size]])
    ranks = np.arange(wanted.size + 1)
    weights = np.diff(bdtr(ranks, wanted.size, tpr), prepend=0.0)
    kept = weights > _NEGLIGIBLE
    weights, between = weights[kept], (counts[ranks] + counts[ranks + 1])[kept] / 2

    def quantile(share: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            below = (weights * betainc(between + 0.5, other.size - between + 0.5, middle)).sum()
            low, high = (middle, high) if below < share * weights.sum() else (low, middle)
        return (low + high) / 2

    return Interval(quantile((1 - level) / 2), quantile((1 + level) / 2), level, "binomial threshold and Jeffreys")
