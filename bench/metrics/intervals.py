"""Confidence intervals: of a proportion, of an AUROC, of a mean over seeds, of a mean over items.

Every interval stays in the range of its quantity. Values that are all equal never give an interval of zero width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from bench.metrics.arrays import FloatArray, vector
from bench.metrics.ood import placement_values


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        level: Nominal coverage, in (0, 1).
        kind: The method, as printed beside the interval: ``"wilson"``, ``"delong, logit scale"``, ``"wilson of disjoint
            pairs"``, ``"t"``, ``"bootstrap percentile"``, ``"jackknife over 20 groups"``; with ``", cut to [0, 1]"``
            if an end was cut to the range of the number.
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
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0 … n = {n}, got {successes}")
    low, high = _wilson(successes / n, n, level)
    return Interval(low, high, level, "wilson")


def delong(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the AUROC over items, within (0, 1): normal on the logit scale, with the variance of DeLong et al.
    (1988) transformed by the delta method (Pepe 2003, section 5.2.4).

    An interval on the scale of the area can leave [0, 1], and covers too seldom if it is cut: 83 % instead of 95 % for
    two sets of 40 items and an area of .99 (94 % on the logit scale), 81 % for 397 items and .9995 (91 %).

    If that variance is 0 (the sets are perfectly separated, or all scores are equal), it does not measure the
    uncertainty. The interval is then Wilson's for min(m, n) trials: the AUROC is a proportion of that many disjoint,
    hence independent, pairs of one in- and one out-item.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), m >= 2, higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,), n >= 2.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If a set has fewer than 2 items, is not one-dimensional, or holds NaN, or level is out of
            range.

    >>> delong([3, 4], [1, 2]).kind  # perfectly separated
    'wilson of disjoint pairs'
    >>> interval = delong([1, 3, 4], [0, 2])
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.152, 0.993)
    """
    z = _normal_quantile(level)
    inside = vector("in_scores", in_scores, at_least=2)
    outside = vector("out_scores", out_scores, at_least=2)
    above, below = placement_values(inside, outside)
    area = float(above.mean())
    standard_error = math.sqrt(above.var(ddof=1) / above.size + below.var(ddof=1) / below.size)
    if standard_error < 1e-12:
        low, high = _wilson(area, min(above.size, below.size), level)
        return Interval(low, high, level, "wilson of disjoint pairs")
    centre, half = math.log(area / (1 - area)), z * standard_error / (area * (1 - area))
    return Interval(_logistic(centre - half), _logistic(centre + half), level, "delong, logit scale")


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
    _require_level(level)
    array = _finite("values", values)
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
    low, high = max(value - half, min(within[0], value)), min(value + half, max(within[1], value))
    cut = f", cut to {_range(within)}" if (low, high) != (value - half, value + half) else ""
    return Interval(low, high, level, kind + cut)


def bootstrap_mean(values: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 2000) -> Interval | None:
    """Percentile bootstrap interval of the mean of item values, such as NLL (Efron and Tibshirani 1993, chapter 13).

    For means only. For statistics whose bias grows under resampling (ECE, Fréchet distance) the percentile interval can
    miss the estimate itself. A resampled mean lies between the smallest and the largest value, so the interval stays
    in the range of the values.

    Args:
        values: One value per item, shape (n,), n >= 2, finite.
        seed: Seed of the resampling; the result is a function of the arguments alone.
        level: Nominal coverage, in (0, 1).
        resamples: Number of resamples, at least 100.

    Returns:
        The interval, or None if the values are equal up to rounding.

    Raises:
        ValueError: If there are fewer than 2 values, one is not finite, level lies outside (0, 1), or
            resamples < 100.

    >>> interval = bootstrap_mean([0, 0, 1, 1], seed=0)
    >>> interval.low, interval.high
    (0.0, 1.0)
    >>> bootstrap_mean([1, 1, 1], seed=0) is None
    True
    """
    _require_level(level)
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}")
    array = _finite("values", values)
    if _all_equal(array):
        return None
    generator = np.random.default_rng(seed)
    # One resample at a time: n may be 50,000, and an (n, resamples) index would not fit.
    means = [array[generator.integers(array.size, size=array.size)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, "bootstrap percentile")


def _wilson(proportion: float, n: int, level: float) -> tuple[float, float]:
    z = _normal_quantile(level)
    centre = (proportion + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + (z / (2 * n)) ** 2)
    # Exactly 0 and 1 at the ends: centre - half would leave a rounding error.
    low = 0.0 if proportion == 0 else max(centre - half, 0.0)
    high = 1.0 if proportion == 1 else min(centre + half, 1.0)
    return low, high


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _all_equal(array: FloatArray) -> bool:
    return bool(np.ptp(array) <= 1e-12 * np.abs(array).max())


def _range(within: tuple[float, float]) -> str:
    least, most = within
    return f"{'(' if math.isinf(least) else '['}{least:g}, {most:g}{')' if math.isinf(most) else ']'}"


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), such as 0.95, got {level}")


def _normal_quantile(level: float) -> float:
    _require_level(level)
    return float(ndtri((1 + level) / 2))


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    array = vector(name, values, at_least=2)
    if np.isinf(array).any():
        raise ValueError(f"{name} must be finite, got {int(np.isinf(array).sum())} infinite of {array.size} values")
    return array
