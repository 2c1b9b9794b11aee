"""Confidence intervals over items of an AUROC, of the difference between two, and of a false-positive rate.

Those of AUROCs rest on the placement values of DeLong et al. (1988): the AUROC is their mean over either set, and its
variance is that over the items of both sets. Near an area of 1 a sample may lack the few items that matter, so that
this variance is far too small or 0; limits and added items make up for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betainc, ndtr

from bench.metrics.arrays import FloatArray, vector
from bench.metrics.intervals import Interval, normal_quantile, wilson_ends
from bench.metrics.ood import Positive, by_positive, count_at_least, placement_values

__all__ = [
    "FEWEST",
    "auroc_interval",
    "delong",
    "delong_difference",
    "fpr_interval",
    "mean_auroc_interval",
    "mean_delong_difference",
    "paired_placements",
    "placement_difference",
]

FEWEST = 300
"""Smallest size of both sets for which `fpr_interval` was found to cover 93 to 97 % at a TPR of 95 %."""

_NEGLIGIBLE = 1e-9
"""Probability below which a rank of the threshold is left out."""


def auroc_interval(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the AUROC over items, within [0, 1]; never of zero width. It is the one that the tables print.

    Wilson's interval for K = A (1 - A) / V trials, where A is the area and V the variance of DeLong et al. (1988). With
    k = min(m, n), K is at least k, because no distribution of scores has a larger variance than A (1 - A) / k (Birnbaum
    and Klose 1957). It is at most k (1 + k min(A, 1 - A) / z^2), so that few errors of ranking do not pass for
    certainty: near A = 1 the width is then never below that of perfectly separated sets, which have K = k. For fixed m
    and n and scores of one shape the width falls as the area goes to 1.

    Coverage was simulated for scores of equal and unequal spread, ties and outliers (docs/intervals.md). It is
    conservative near 1. Method 5 of Newcombe (2006, Statistics in Medicine 25:559) is a function of the area, m and n
    alone. It covers for scores of equal spread, but too seldom for others, because these can have more variance than
    the exponential scores that it assumes.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), m >= 2, higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,), n >= 2.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If a set has fewer than 2 items, is not one-dimensional, or holds NaN, or level is out of range.

    >>> interval = auroc_interval([3, 4], [1, 2])  # perfectly separated: that of 2 successes in 2 trials
    >>> round(interval.low, 3), interval.high
    (0.342, 1.0)
    """
    above, below = _placements(in_scores, out_scores)
    return _wilson(float(above.mean()), _variance(above, below), min(above.size, below.size), level)


def mean_auroc_interval(pairs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], level: float = 0.95) -> Interval:
    """Interval of the mean of AUROCs of the same in-distribution items against several sets, within [0, 1].

    As `auroc_interval`, with the variance of the mean: the AUROCs are correlated, because they share the in-items. It
    is that of the mean placement of each in-item, plus those of the out-items of each set (DeLong et al. 1988, for a
    contrast with equal weights). k is the size of the smallest set.

    Args:
        pairs: For each set the scores of the in-items, shape (m,), in the same order for each set, and those of the
            out-items, shape (n,); m, n >= 2. Higher = in-distribution.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If there is no pair, the in-items differ in number, a set has fewer than 2 items, is not
            one-dimensional or holds NaN, or level is out of range.

    >>> interval = mean_auroc_interval([([3, 4], [1, 2]), ([3, 4], [0, 1, 2])])
    >>> round(interval.low, 3), interval.high
    (0.342, 1.0)
    """
    if not pairs:
        raise ValueError("pairs needs at least 1 set")
    placements = [_placements(in_scores, out_scores) for in_scores, out_scores in pairs]
    if len({above.size for above, _ in placements}) > 1:
        raise ValueError("every pair needs the same in-items")
    above = np.mean([above for above, _ in placements], axis=0)
    spread = sum(float(below.var(ddof=1)) / below.size for _, below in placements) / len(pairs) ** 2
    variance = float(above.var(ddof=1)) / above.size + spread
    return _wilson(float(above.mean()), variance, min(above.size, *(below.size for _, below in placements)), level)


def delong(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the AUROC over items, within (0, 1): normal on the logit scale, with the variance of DeLong et al.
    (1988) transformed by the delta method (Pepe 2003, section 5.2.4).

    This is the interval that other packages print. It covers too seldom near an area of 1: 80 % instead of 95 % at .99
    for 400 and 100 items of unequal spread. Use `auroc_interval`.

    If that variance is 0 (the sets are perfectly separated, or all scores are equal), it does not measure the
    uncertainty. The interval is then Wilson's for min(m, n) trials: the AUROC is a proportion of that many disjoint,
    hence independent, pairs of one in- and one out-item.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), m >= 2, higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,), n >= 2.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If a set has fewer than 2 items, is not one-dimensional, or holds NaN, or level is out of range.

    >>> delong([3, 4], [1, 2]).kind  # perfectly separated
    'wilson of disjoint pairs'
    >>> interval = delong([1, 3, 4], [0, 2])
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.152, 0.993)
    """
    z = normal_quantile(level)
    above, below = _placements(in_scores, out_scores)
    area = float(above.mean())
    standard_error = math.sqrt(_variance(above, below))
    if standard_error < 1e-12:
        low, high = wilson_ends(area, min(above.size, below.size), z)
        return Interval(low, high, level, "wilson of disjoint pairs")
    centre, half = math.log(area / (1 - area)), z * standard_error / (area * (1 - area))
    return Interval(_logistic(centre - half), _logistic(centre + half), level, "delong, logit scale")


def delong_difference(
    in_a: npt.ArrayLike, out_a: npt.ArrayLike, in_b: npt.ArrayLike, out_b: npt.ArrayLike, level: float = 0.95
) -> tuple[Interval, float]:
    """Interval of the difference between two AUROCs on the same items, and the p value of equal areas.

    Both are from one normal statistic, so that the interval excludes 0 if and only if p < 1 - level. The differences of
    placement values are treated as Agresti and Min (2005, Statistics in Medicine 24:729) treat differences of pairs:
    two items are added to each set, half an item each at -1 and at 1 and one at 0. Without them the test of DeLong
    rejects too often near an area of 1 if the scores have different shapes; with them it is conservative there
    (docs/intervals.md).

    Args:
        in_a: Scores A of the in-distribution items, shape (m,), m >= 2, higher = in-distribution.
        out_a: Scores A of the out-of-distribution items, shape (n,), n >= 2.
        in_b: Scores B of the same in-distribution items, in the same order.
        out_b: Scores B of the same out-of-distribution items, in the same order.
        level: Nominal coverage of the interval, in (0, 1).

    Returns:
        The interval of A - B, within [-1, 1], and p in (0, 1].

    Raises:
        ValueError: If A and B differ in length, a set has fewer than 2 items, or holds NaN, or level lies outside
            (0, 1).

    >>> interval, p = delong_difference([2, 3], [0, 1], [2, 3], [0, 1])  # the same scores
    >>> round(interval.low, 3), round(interval.high, 3), p
    (-0.693, 0.693, 1.0)
    """
    return mean_delong_difference([(in_a, out_a, in_b, out_b)], level)


def mean_delong_difference(
    runs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]], level: float = 0.95
) -> tuple[Interval, float]:
    """As `delong_difference`, for the mean over several runs of the areas of A and of B on the same items.

    The placement values of an item are averaged over the runs, because the mean of the areas is the mean of these.

    Args:
        runs: For each run the scores of `delong_difference`, of the same items in the same order; at least one run.
        level: Nominal coverage of the interval, in (0, 1).

    >>> once = delong_difference([2, 3], [0, 1], [1, 3], [0, 2])
    >>> mean_delong_difference([([2, 3], [0, 1], [1, 3], [0, 2])] * 2) == once
    True
    """
    placements = [paired_placements(*run) for run in runs]
    above, below = (np.mean([part[side] for part in placements], axis=0) for side in (0, 1))
    return placement_difference(above, below, level)


def placement_difference(above: FloatArray, below: FloatArray, level: float = 0.95) -> tuple[Interval, float]:
    """As `delong_difference`, from differences of placement values as `paired_placements` returns them.

    Args:
        above: Differences of in-distribution items, shape (m,), in [-1, 1], m >= 2.
        below: Differences of the others, shape (n,), n >= 2.
        level: Nominal coverage of the interval, in (0, 1).

    >>> placement_difference(*paired_placements([2, 3], [0, 1], [1, 3], [0, 2])) == delong_difference(
    ...     [2, 3], [0, 1], [1, 3], [0, 2]
    ... )
    True
    """
    z, parts = normal_quantile(level), (above, below)
    value = float(above.mean())
    centre = sum(float(part.sum()) / (part.size + 2) for part in parts) / 2
    error = math.sqrt(sum(_widened_variance(part) / (part.size + 2) for part in parts))
    low, high = max(min(centre - z * error, value), -1.0), min(max(centre + z * error, value), 1.0)
    p = 2.0 * float(ndtr(-abs(centre) / error))
    return Interval(low, high, level, "delong, paired, with added items"), p


def paired_placements(
    in_a: npt.ArrayLike, out_a: npt.ArrayLike, in_b: npt.ArrayLike, out_b: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Placement values of two scores of the same items, A less B; the mean of either array is the difference in AUROC.

    Args:
        in_a: Scores A of the in-distribution items, shape (m,), m >= 2.
        out_a: Scores A of the out-of-distribution items, shape (n,), n >= 2.
        in_b: Scores B of the same in-distribution items, in the same order.
        out_b: Scores B of the same out-of-distribution items, in the same order.

    Returns:
        Differences in [-1, 1] of in-distribution items, shape (m,), and of the others, shape (n,).

    Raises:
        ValueError: If A and B differ in length, a set has fewer than 2 items, or holds NaN.

    >>> paired_placements([2, 3], [0, 1], [2, 0], [0, 1])
    (array([0.  , 0.75]), array([0.25, 0.5 ]))
    """
    scores = {
        name: vector(name, values, at_least=2)
        for name, values in (("in_a", in_a), ("out_a", out_a), ("in_b", in_b), ("out_b", out_b))
    }
    for side in ("in", "out"):
        sizes = scores[f"{side}_a"].size, scores[f"{side}_b"].size
        if sizes[0] != sizes[1]:
            raise ValueError(f"{side}_a and {side}_b must be on the same items, got {sizes[0]} and {sizes[1]}")
    above_a, below_a = placement_values(scores["in_a"], scores["out_a"])
    above_b, below_b = placement_values(scores["in_b"], scores["out_b"])
    return above_a - above_b, below_a - below_b


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
    wanted, other = by_positive(in_scores, out_scores, positive)
    # counts[k]: negative items at or above the k-th largest positive one; all of them lie above minus infinity.
    above = count_at_least(other, np.sort(wanted)[::-1])
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


def _placements(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Placement values of sets of at least two items each."""
    return placement_values(vector("in_scores", in_scores, at_least=2), vector("out_scores", out_scores, at_least=2))


def _wilson(area: float, variance: float, fewest: int, level: float) -> Interval:
    """Wilson's interval of an area for as many trials as its variance stands for, within the limits of
    `auroc_interval`.
    """
    z = normal_quantile(level)
    most = fewest * (1 + fewest * min(area, 1 - area) / z**2)
    trials = most if variance == 0 else min(max(area * (1 - area) / variance, fewest), most)
    low, high = wilson_ends(area, trials, z)
    return Interval(low, high, level, "wilson, delong variance")


def _variance(above: FloatArray, below: FloatArray) -> float:
    """Variance of an AUROC, from its placement values (DeLong et al. 1988)."""
    return float(above.var(ddof=1)) / above.size + float(below.var(ddof=1)) / below.size


def _widened_variance(values: FloatArray) -> float:
    """Variance of values in [-1, 1] with half a value each at -1 and at 1 and one at 0."""
    size = values.size + 2
    return (float((values**2).sum()) + 1) / size - (float(values.sum()) / size) ** 2


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
