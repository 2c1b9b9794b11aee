"""Confidence intervals: of a proportion, of a mean over seeds, of a mean and of a median over items.

Every interval stays in the range of its quantity. Values that are all equal never give an interval of zero width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri, stdtrit

from bench.metrics.arrays import (
    FloatArray,
    finite_vector,
    require_at_least,
    require_level,
    require_range,
    require_whole,
    vector,
)
from bench.metrics.resampling import studentised_means


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        level: Nominal coverage, in (0, 1).
        kind: The method, as printed beside the interval, such as ``"wilson"``, ``"t"``, ``"bootstrap-t"``, ``"order
            statistics"`` or ``"jackknife over 20 groups"``; with ``", cut to [0, 1]"`` if an end was cut to the range
            of the number.
    """

    low: float
    high: float
    level: float
    kind: str


@dataclass(frozen=True)
class IfCalibrated:
    """A calibration error under perfect calibration, given the confidences (`bench.metrics.if_calibrated`).

    Attributes:
        mean: Mean over draws of the labels.
        upper: Quantile of the error at ``level``; a calibrated model exceeds it with probability 1 - level.
        level: Level of the quantile, in (0, 1).
        p_value: Share of draws with at least the observed error, the observation counted among them (Phipson and Smyth
            2010), in (0, 1]; the p value of the hypothesis that the model is calibrated. None without labels.
    """

    mean: float
    upper: float
    level: float
    p_value: float | None


def carried_decimals(value: float, interval: Interval) -> int:
    """The number of decimals to print: the last digit is of the order of the standard error.

    One digit of the standard error is kept, and two if it begins with 1 or 2, as physicists round (Particle Data
    Group): 4.613 with an error of .93 is 4.6, 9.708 with .047 is 9.71, and 263.1 with 5.4 is 263.

    Args:
        value: The number.
        interval: Its interval; half of the longer side counts as the standard error.

    >>> carried_decimals(9.708, symmetric(9.708, 2 * 0.047, 0.95, "t"))
    2
    """
    error = max(interval.high - value, value - interval.low) / 2
    if not 0 < error < math.inf:
        return 0
    place = math.floor(math.log10(error))
    two_digits = round(error / 10.0**place, 9) < 3
    return max(0, two_digits - place)


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927), within [0, 1]; never of zero width.

    Args:
        successes: Number of successes, 0 … n.
        n: Number of trials, at least 1.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If n < 1, successes lies outside 0 … n, or level outside (0, 1).

    >>> interval = wilson(8, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.4902, 0.9433)
    """
    require_at_least("n", n, 1)
    require_whole("successes", successes)
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0 … n = {n}, got {successes}")
    low, high = wilson_ends(successes / n, n, normal_quantile(level))
    return Interval(low, high, level, "wilson")


def student_t(
    values: npt.ArrayLike, level: float = 0.95, *, within: tuple[float, float] = (-math.inf, math.inf)
) -> Interval | None:
    """Interval of the mean of independent normal values, such as one result per seed: mean ± t_{k-1} s / sqrt(k), cut
    to the range of the values.

    The true mean lies in the range, so a cut loses no coverage. Values that are all equal have no interval: a width of
    0 would claim certainty from, say, two seeds that agree by chance.

    Args:
        values: One value per seed, shape (k,), k >= 2, finite.
        level: Nominal coverage, in (0, 1).
        within: Range of the values, such as (0, 1) for an accuracy.

    Returns:
        The interval, or None if the values are equal up to rounding.

    Raises:
        ValueError: If there are fewer than 2 values, one is not finite, or level lies outside (0, 1).

    >>> interval = student_t([1, 2, 3])
    >>> round(interval.low, 4), round(interval.high, 4)  # 2 -+ 4.3027 / sqrt(3)
    (-0.4841, 4.4841)
    """
    require_level(level)
    require_range(within)
    array = finite_vector("values", values, at_least=2)
    if _all_equal(array):
        return None
    half = float(stdtrit(array.size - 1, (1 + level) / 2)) * float(array.std(ddof=1)) / math.sqrt(array.size)
    mean = float(array.mean())
    # A spread that float64 cannot resolve in the square or in the sum counts as none.
    return symmetric(mean, half, level, "t", within) if mean - half < mean + half else None


def symmetric(
    value: float, half: float, level: float, kind: str, within: tuple[float, float] = (-math.inf, math.inf)
) -> Interval:
    """``value ± half``, cut to a range; the kind names the range if an end was cut.

    Args:
        value: The estimate.
        half: Half of the width, >= 0.
        level: Nominal coverage, in (0, 1).
        kind: The method that gave ``half``.
        within: Range of the number. The interval always contains the estimate, even one outside the range.

    >>> symmetric(0.75, 0.5, 0.95, "t", within=(0, 1))
    Interval(low=0.25, high=1, level=0.95, kind='t, cut to [0, 1]')
    """
    return _cut(value, value - half, value + half, level, kind, within)


def bootstrap_mean(
    values: npt.ArrayLike,
    seed: int,
    level: float = 0.95,
    resamples: int = 1999,
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval | None:
    """Bootstrap-t interval of the mean of item values, such as NLL (Efron and Tibshirani 1993, section 12.5), cut to
    the range of the values.

    It follows the skewness of the values: if a few large values make most of the mean, the upper end is farther from
    it. The percentile bootstrap covers too seldom then (docs/intervals.md).

    For means only. For statistics whose bias grows under resampling (ECE, Fréchet distance) a bootstrap interval can
    miss the estimate itself.

    Args:
        values: One value per item, shape (n,), n >= 2, finite.
        seed: Seed of the resampling; the result is a function of the arguments alone.
        level: Nominal coverage, in (0, 1).
        resamples: Number of resamples, at least 100.
        within: Range of the values, such as (0, inf) for an NLL.

    Returns:
        The interval, or None if the values are equal up to rounding.

    Raises:
        ValueError: If there are fewer than 2 values, one is not finite, level lies outside (0, 1), or
            resamples < 100.

    >>> bootstrap_mean([0, 0, 1, 1], seed=0, within=(0, 1)).kind
    'bootstrap-t, cut to [0, 1]'
    >>> bootstrap_mean([1, 1, 1], seed=0) is None
    True
    """
    require_level(level)
    require_at_least("resamples", resamples, 100)
    require_range(within)
    array = finite_vector("values", values, at_least=2)
    if _all_equal(array):
        return None
    mean, error = float(array.mean()), float(array.std()) / math.sqrt(array.size)
    if error == 0:  # the spread is too small for its square
        return None
    found = studentised_means(array, seed, resamples)
    rank = max(1, int((1 - level) / 2 * (resamples + 1) + 1e-9))
    low, high = mean - float(found[-rank]) * error, mean - float(found[rank - 1]) * error
    return _cut(mean, low, high, level, "bootstrap-t", within)


def median_interval(values: npt.ArrayLike, level: float = 0.95) -> Interval | None:
    """Interval of the median of a distribution, between two order statistics (David and Nagaraja 2003, section 7.1).

    The ends are the values at ranks r and n + 1 - r, with the largest r for which the exact binomial probability
    P(r <= B < n + 1 - r), B ~ Binomial(n, 1/2), is at least the level. The coverage is therefore at least the level for
    every distribution, with ties too, and the ends may be infinite: a norm that no attack reached counts as infinite.

    Args:
        values: One value per item, shape (n,), n >= 1; infinite values are allowed.
        level: Nominal coverage, in (0, 1).

    Returns:
        The interval, or None if even the smallest and the largest value enclose the median with a probability below the
        level (at .95: fewer than 6 values).

    Raises:
        ValueError: If there is no value, one is NaN, or level lies outside (0, 1).

    >>> median_interval([1, 2, 3, 4, 5, 6, float("inf")])
    Interval(low=1.0, high=inf, level=0.95, kind='order statistics')
    """
    require_level(level)
    ordered = np.sort(vector("values", values))
    n = ordered.size
    tails = 2 * bdtr(np.arange(n // 2 + 1), n, 0.5)
    rank = int((tails <= 1 - level).sum())
    if rank == 0:
        return None
    return Interval(float(ordered[rank - 1]), float(ordered[n - rank]), level, "order statistics")


def wilson_ends(proportion: float, trials: float, z: float) -> tuple[float, float]:
    """Ends of Wilson's score interval, for a number of trials that need not be whole.

    Args:
        proportion: Share of successes, in [0, 1].
        trials: Number of trials, or of independent trials with the same variance; > 0.
        z: Quantile of the statistic, such as 1.96.

    >>> low, high = wilson_ends(0.8, 10, normal_quantile(0.95))
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    centre = (proportion + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(proportion * (1 - proportion) / trials + (z / (2 * trials)) ** 2)
    # Exactly 0 and 1 at the ends: centre - half would leave a rounding error.
    low = 0.0 if proportion == 0 else max(centre - half, 0.0)
    high = 1.0 if proportion == 1 else min(centre + half, 1.0)
    return low, high


def agresti_min_ends(differences: FloatArray, z: float) -> tuple[float, float]:
    """Ends of the interval of a difference of shares over the same items (Agresti and Min 2005, Statistics in Medicine
    24:729).

    It is the normal interval after adding half a pair to each cell of the two by two table, which adds two pairs to the
    total and one to the discordant pairs. The same formula applies to means of shares over runs.

    Args:
        differences: Difference of each item, in [-1, 1], shape (n,).
        z: Quantile of the normal distribution, such as 1.96.

    >>> low, high = agresti_min_ends(np.zeros(98), 1.96)
    >>> round(low, 4), round(high, 4)
    (-0.0196, 0.0196)
    """
    pairs = differences.size + 2
    middle = float(differences.sum()) / pairs
    spread = max((float((differences**2).sum()) + 1) / pairs - middle**2, 0.0)
    half = z * math.sqrt(spread / pairs)
    return middle - half, middle + half


def normal_quantile(level: float) -> float:
    """The quantile z of a two-sided normal interval: P(|Z| <= z) = level.

    Raises:
        ValueError: If level lies outside (0, 1).

    >>> round(normal_quantile(0.95), 4)
    1.96
    """
    require_level(level)
    return float(ndtri((1 + level) / 2))


def _cut(value: float, low: float, high: float, level: float, kind: str, within: tuple[float, float]) -> Interval:
    """An interval cut to a range; the kind names the range if an end was cut. It contains the estimate in any case."""
    least, most = within
    cut = f", cut to {_range(within)}" if low < least or high > most else ""
    low, high = max(min(low, value), min(least, value)), min(max(high, value), max(most, value))
    return Interval(low, high, level, kind + cut)


def _all_equal(array: FloatArray) -> bool:
    return bool(np.ptp(array) <= 1e-12 * np.abs(array).max())


def _range(within: tuple[float, float]) -> str:
    least, most = within
    return f"{'(' if math.isinf(least) else '['}{least:g}, {most:g}{')' if math.isinf(most) else ']'}"
