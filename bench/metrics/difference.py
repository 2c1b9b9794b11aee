"""Differences between two models, each with an interval and a p value.

Two questions are kept apart. Are these two sets of weights different? Then items are the sample: `accuracy_difference`,
`share_difference`, `mean_difference` and `auroc_difference`, on the same items for both. Are the two ways of training
different? Then training seeds are the sample: `seed_difference` if both used the same seeds, `unpaired_seed_difference`
if not.

All p values are two-sided. A difference is that of A less that of B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from bench.metrics.arrays import require_at_least, require_level, vector
from bench.metrics.intervals import Interval, agresti_min_ends, normal_quantile, student_t, symmetric
from bench.metrics.ood import auroc
from bench.metrics.ood_inference import mean_delong_difference
from bench.metrics.paired import (
    MAX_SIGN_FLIP_DIFFERENCES,
    disagreements,
    mcnemar,
    paired_differences,
    permutation_mean,
    require_finite,
    sign_flip,
    smallest_sign_flip_p,
)
from bench.metrics.resampling import studentised_means

__all__ = [
    "Difference",
    "accuracy_difference",
    "auroc_difference",
    "independent_difference",
    "mean_auroc_difference",
    "mean_difference",
    "seed_difference",
    "share_difference",
    "unpaired_seed_difference",
]


FEWEST_RESAMPLED = 20
"""Smallest number of items whose mean difference is tested by resampling."""


@dataclass(frozen=True)
class Difference:
    """A difference A - B between two models.

    Attributes:
        value: The difference.
        interval: Its confidence interval; None if the sample has no spread.
        p: Two-sided p value of a difference of 0; None if the sample has no spread to test against.
        test: The test that gave p, as printed beside it.
        smallest_p: The smallest p that the test can give for a sample of this size; 0 if there is no such limit.
    """

    value: float
    interval: Interval | None
    p: float | None
    test: str
    smallest_p: float = 0.0


def accuracy_difference(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference between two accuracies on the same items.

    The interval is the score interval of Tango (1998, Statistics in Medicine 17:891), which has positive width even if
    both models are right on the same items. p is that of the exact test of McNemar. The exact test is conservative, so
    that an interval that just excludes 0 can come with a p slightly above 1 - level, never the other way round.

    Args:
        correct_a: Whether classifier A was right, shape (n,), booleans or 0/1.
        correct_b: Whether classifier B was right on each of these items, shape (n,).
        level: Nominal coverage of the interval, in (0, 1).

    Raises:
        ValueError: If the lengths differ, are 0, a value is neither 0 nor 1, or level lies outside (0, 1).

    >>> found = accuracy_difference([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    >>> round(found.value, 4), found.p
    (0.8333, 0.0625)
    """
    p = mcnemar(correct_a, correct_b)
    only_a, only_b, n = disagreements(correct_a, correct_b)
    low, high = _tango(only_a, only_b, n, normal_quantile(level))
    return Difference((only_a - only_b) / n, Interval(low, high, level, "tango"), p, "McNemar, exact")


def share_difference(
    shares_a: npt.ArrayLike, shares_b: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 9999
) -> Difference:
    """Difference between two means of shares, such as the share of training seeds with which an item is right.

    The interval is that of Agresti and Min (2005), which has positive width even if no item differs, and a sensible one
    if few do: a bootstrap of 100 items of which one differs lacks this item in a third of the resamples. p is from
    permutations of the pairs (`bench.metrics.paired.permutation_mean`). Interval and p are different statistics: near
    the limit one may exclude 0 without the other.

    Args:
        shares_a: One share per item, shape (n,), in [0, 1].
        shares_b: Shares of the other model for the same items, shape (n,).
        seed: Seed of the permutations; the result is a function of the arguments alone.
        level: Nominal coverage of the interval, in (0, 1).
        resamples: Number of permutations where more than 20 items differ, at least 99.

    Raises:
        ValueError: If the lengths differ or are 0, a share lies outside [0, 1], level lies outside (0, 1), or
            resamples < 99.

    >>> found = share_difference([1.0] + 99 * [0.5], 100 * [0.5], seed=0)
    >>> round(found.value, 4), round(found.interval.low, 3), round(found.interval.high, 3), found.p
    (0.005, -0.017, 0.026, 1.0)
    """
    z = normal_quantile(level)
    differences = paired_differences(shares_a, shares_b)
    for name, shares in (("shares_a", shares_a), ("shares_b", shares_b)):
        values = np.asarray(shares, dtype=np.float64)
        if values.min() < 0 or values.max() > 1:
            raise ValueError(f"{name} must lie in [0, 1], got {values.min():.6g} … {values.max():.6g}")
    differences[np.abs(differences) < 1e-12] = 0.0  # means over seeds in another order differ by rounding
    low, high = agresti_min_ends(differences, z)
    p = permutation_mean(differences, np.zeros(differences.size), seed, resamples)
    interval = Interval(max(low, -1.0), min(high, 1.0), level, "agresti and min")
    return Difference(float(differences.mean()), interval, p, "permutation of pairs")


def mean_difference(
    values_a: npt.ArrayLike, values_b: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 9999
) -> Difference:
    """Difference between two means of item values, such as NLL, on the same items.

    Interval and p are from one distribution, that of the absolute t statistic of the differences in resamples (Hall
    1988, Journal of the Royal Statistical Society B 50:35, the symmetric bootstrap-t). The interval therefore excludes
    0 if and only if p <= 1 - level, provided that (1 - level) (resamples + 1) is a whole number.

    Fewer than 20 items are too few to resample: two equal differences would have the smallest p. p is then that of sign
    flips, and the interval Student's.

    Args:
        values_a: One value per item, shape (n,), n >= 2, finite.
        values_b: Values of the other model for the same items, shape (n,).
        seed: Seed of the resampling; the result is a function of the arguments alone.
        level: Nominal coverage of the interval, in (0, 1).
        resamples: Number of resamples B, at least 99. p is at least 1 / (B + 1).

    Returns:
        The difference. If it is the same for all items, there is no interval; p is 1 if it is 0 and None otherwise.

    Raises:
        ValueError: If the lengths differ or are below 2, a value is not finite, level lies outside (0, 1), or
            resamples < 99.

    >>> found = mean_difference([1.0, 2.0, 4.0, 3.0], [1.5, 1.5, 3.0, 4.0], seed=0)
    >>> found.value, found.p > 0.05, found.interval.low < 0 < found.interval.high
    (0.0, True, True)
    """
    require_level(level)
    require_at_least("resamples", resamples, 99)
    differences = paired_differences(values_a, values_b, at_least=2)
    # Values that are equal in exact arithmetic may differ by rounding, as means over seeds in another order do.
    scale = max(float(np.abs(np.asarray(values, dtype=np.float64)).max()) for values in (values_a, values_b))
    if float(np.abs(differences).max()) <= 1e-12 * scale:
        differences = np.zeros_like(differences)
    value, smallest = float(differences.mean()), 1 / (resamples + 1)
    error = float(differences.std()) / math.sqrt(differences.size)
    if error <= 1e-12 * float(np.abs(differences).max()):
        return Difference(value, None, 1.0 if value == 0 else None, "bootstrap-t", smallest)
    if differences.size < FEWEST_RESAMPLED:
        p, smallest = sign_flip(differences), smallest_sign_flip_p(differences.size)
        return Difference(value, student_t(differences, level), p, "sign flip of few items", smallest)
    found = np.sort(np.abs(studentised_means(differences, seed, resamples)))
    extreme = resamples - int(np.searchsorted(found, abs(value) / error, side="left"))
    rank = min(math.ceil(level * (resamples + 1) - 1e-9), resamples)
    half = float(found[rank - 1]) * error
    return Difference(
        value, symmetric(value, half, level, "bootstrap-t"), (1 + extreme) / (1 + resamples), "bootstrap-t", smallest
    )


def auroc_difference(
    in_a: npt.ArrayLike, out_a: npt.ArrayLike, in_b: npt.ArrayLike, out_b: npt.ArrayLike, level: float = 0.95
) -> Difference:
    """Difference between two AUROCs on the same items.

    Interval and p are from one statistic, so that the interval excludes 0 if and only if p < 1 - level: that of DeLong
    with added items, which `bench.metrics.ood_inference.delong_difference` explains.

    Args:
        in_a: Scores A of the in-distribution items, shape (m,), m >= 2, higher = in-distribution.
        out_a: Scores A of the out-of-distribution items, shape (n,), n >= 2.
        in_b: Scores B of the same in-distribution items, in the same order.
        out_b: Scores B of the same out-of-distribution items, in the same order.
        level: Nominal coverage of the interval, in (0, 1).

    Raises:
        ValueError: If A and B differ in length, a set has fewer than 2 items, or holds NaN, or level lies outside
            (0, 1).

    >>> found = auroc_difference([2, 3], [0, 1], [2, 3], [0, 1])  # the same scores
    >>> found.value, found.p
    (0.0, 1.0)
    """
    return mean_auroc_difference([(in_a, out_a, in_b, out_b)], level)


def mean_auroc_difference(
    runs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]], level: float = 0.95
) -> Difference:
    """As `auroc_difference`, of the means of the areas over several training seeds on the same items.

    Args:
        runs: For each seed the scores of `auroc_difference`, of the same items in the same order; at least one seed.
        level: Nominal coverage of the interval, in (0, 1).

    >>> found = mean_auroc_difference([([2, 3], [0, 1], [0, 1], [2, 3]), ([2, 3], [0, 1], [2, 3], [0, 1])])
    >>> found.value  # areas 1 and 1 against 0 and 1
    0.5
    """
    interval, p = mean_delong_difference(runs, level)
    value = float(np.mean([auroc(in_a, out_a) - auroc(in_b, out_b) for in_a, out_a, in_b, out_b in runs]))
    return Difference(value, interval, p, "DeLong, paired, with added items")


def seed_difference(differences: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Mean difference over training seeds that both models used, from the difference of each seed.

    The interval is that of Student's t and assumes normal differences. p assumes symmetric differences only: it is the
    share of sign patterns that are as extreme (Fisher 1935). It cannot be smaller than 2^(1-k) for k seeds, so that p
    stays above .05 for fewer than 6 seeds even if the interval excludes 0. For more than 20 seeds, 9,999 random
    patterns are drawn with a fixed seed.

    Args:
        differences: The value of A less that of B of each seed, shape (k,), k >= 1, finite.
        level: Nominal coverage of the interval, in (0, 1).

    Returns:
        The difference; without an interval if there is one seed or all differences are equal.

    Raises:
        ValueError: If there is no difference, one is not finite, or level lies outside (0, 1).

    >>> found = seed_difference([0.01, 0.02, 0.03])
    >>> round(found.value, 4), found.p, found.smallest_p
    (0.02, 0.25, 0.25)
    """
    require_level(level)
    d = vector("differences", differences)
    interval = student_t(d, level) if d.size > 1 else None
    if d.size <= MAX_SIGN_FLIP_DIFFERENCES:
        p, smallest = sign_flip(d), smallest_sign_flip_p(d.size)
    else:
        p, smallest = permutation_mean(d, np.zeros(d.size), seed=0), 1e-4
    return Difference(float(d.mean()), interval, p, "sign flip over seeds", smallest)


def unpaired_seed_difference(values_a: npt.ArrayLike, values_b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference between two means over training seeds that have nothing in common.

    Interval and p are those of Welch (1947), with Satterthwaite's degrees of freedom. They agree: the interval excludes
    0 if and only if p < 1 - level.

    Args:
        values_a: One value per seed of A, shape (k,), k >= 2, finite.
        values_b: One value per seed of B, shape (l,), l >= 2.
        level: Nominal coverage of the interval, in (0, 1).

    Returns:
        The difference; without interval and p if neither A nor B has any spread.

    Raises:
        ValueError: If there are fewer than 2 values, one is not finite, or level lies outside (0, 1).

    >>> found = unpaired_seed_difference([0.90, 0.92, 0.94], [0.80, 0.83, 0.86])
    >>> round(found.value, 4), round(found.p, 4)
    (0.09, 0.0167)
    """
    require_level(level)
    a, b = vector("values_a", values_a, at_least=2), vector("values_b", values_b, at_least=2)
    require_finite(a, b)
    value = float(a.mean() - b.mean())
    of_a, of_b = float(a.var(ddof=1)) / a.size, float(b.var(ddof=1)) / b.size
    error = math.sqrt(of_a + of_b)
    if error <= 1e-12 * float(max(np.abs(a).max(), np.abs(b).max())):
        return Difference(value, None, None, "Welch t")
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (a.size - 1) + of_b**2 / (b.size - 1))
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    p = 2.0 * float(stdtr(freedom, -abs(value) / error))
    return Difference(value, symmetric(value, half, level, "welch t"), p, "Welch t")


def independent_difference(
    value_a: float, interval_a: Interval | None, value_b: float, interval_b: Interval | None
) -> Difference:
    """Difference between two estimates from independent samples, from their intervals alone.

    The interval is that of Zou and Donner (2008, Statistics in Medicine 27:1693), the method of variance estimates
    recovery (MOVER). It asks of the intervals only that they cover, and may be asymmetric. If both estimates are of the
    same items, whose difficulty they share, it is wider than a paired one. It gives no p value.

    Args:
        value_a: Estimate A.
        interval_a: Interval of A, or None.
        value_b: Estimate B.
        interval_b: Interval of B, of the same level, or None.

    Returns:
        The difference; without an interval unless both estimates have one.

    Raises:
        ValueError: If the levels differ.

    >>> a, b = Interval(0.7, 0.9, 0.95, "wilson"), Interval(0.4, 0.6, 0.95, "wilson")
    >>> found = independent_difference(0.8, a, 0.5, b)
    >>> round(found.value, 4), round(found.interval.low, 4), round(found.interval.high, 4), found.p
    (0.3, 0.1586, 0.4414, None)
    """
    value = value_a - value_b
    if interval_a is None or interval_b is None:
        return Difference(value, None, None, _MOVER)
    if interval_a.level != interval_b.level:
        raise ValueError(f"the intervals have different levels, {interval_a.level:g} and {interval_b.level:g}")
    low = value - math.hypot(value_a - interval_a.low, interval_b.high - value_b)
    high = value + math.hypot(interval_a.high - value_a, value_b - interval_b.low)
    return Difference(value, Interval(low, high, interval_a.level, _MOVER), None, _MOVER)


_MOVER = "MOVER of both intervals, as if independent"


def _tango(only_a: int, only_b: int, n: int, z: float) -> tuple[float, float]:
    """Ends of Tango's interval: the differences at which the score statistic is z and -z."""

    def statistic(difference: float) -> float:
        """The score statistic at a hypothetical difference in (-1, 1); it decreases."""
        # The restricted estimate of P(only B is right) is the larger root of 2 n q^2 + linear q + constant.
        linear = -only_a - only_b + (2 * n - only_a + only_b) * difference
        constant = -only_b * difference * (1 - difference)
        q = (math.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * q + difference * (1 - difference))
        excess = only_a - only_b - n * difference
        return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)

    value = (only_a - only_b) / n
    low = -1.0 if value == -1 else _root(lambda x: statistic(x) - z, -1.0, value)
    high = 1.0 if value == 1 else _root(lambda x: statistic(x) + z, value, 1.0)
    return low, high


def _root(decreasing: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that decreases from low to high crosses 0, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if decreasing(middle) > 0 else (low, middle)
    return (low + high) / 2
