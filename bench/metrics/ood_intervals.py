"""Confidence intervals of numbers of out-of-distribution detection: FPR at a TPR, and the mean of several AUROCs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betainc, expit, logit, ndtri

from bench.metrics.arrays import FloatArray, vector
from bench.metrics.intervals import Interval, wilson
from bench.metrics.ood import Positive, placement_values

__all__ = ["FEWEST", "fpr_interval", "mean_auroc_interval"]

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


def mean_auroc_interval(pairs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], level: float = 0.95) -> Interval:
    """Interval of the mean of AUROCs of the same in-distribution items against several sets, within (0, 1).

    As `bench.metrics.intervals.delong`, normal on the logit scale. The AUROCs are correlated, because they share the
    in-items: the variance is that of the mean placement of each in-item, plus those of the out-items of each set
    (DeLong et al. 1988, for a contrast with equal weights).

    Args:
        pairs: For each set the scores of the in-items, shape (m,), in the same order for each set, and those of the
            out-items, shape (n,); m, n >= 2. Higher = in-distribution.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If there is no pair, the in-items differ in number, a set has fewer than 2 items, is not
            one-dimensional or holds NaN, or ``level`` is out of range.

    >>> one = ([1, 3, 4], [0, 2])
    >>> interval = mean_auroc_interval([one, ([1, 3, 4], [0, 3.5])])
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.203, 0.972)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if not pairs:
        raise ValueError("pairs needs at least 1 set")
    above: list[FloatArray] = []
    spread, sizes = 0.0, []
    for in_scores, out_scores in pairs:
        inside, outside = vector("in_scores", in_scores, at_least=2), vector("out_scores", out_scores, at_least=2)
        placements, below = placement_values(inside, outside)
        above.append(placements)
        spread += float(below.var(ddof=1)) / below.size
        sizes += [inside.size, outside.size]
    if len({placements.size for placements in above}) > 1:
        raise ValueError("every pair needs the same in-items")
    mean = np.mean(above, axis=0)
    area = float(mean.mean())
    error = math.sqrt(float(mean.var(ddof=1)) / mean.size + spread / len(pairs) ** 2)
    if error < 1e-12:
        # As for one set: the mean is then 0, 1/2 or 1 in every set, known no better than from disjoint pairs.
        known = wilson(round(area * min(sizes)), min(sizes), level)
        return Interval(known.low, known.high, level, "wilson of disjoint pairs")
    centre, half = float(logit(area)), float(ndtri((1 + level) / 2)) * error / (area * (1 - area))
    return Interval(float(expit(centre - half)), float(expit(centre + half)), level, "delong, logit scale")
