"""Intervals of quantiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from bench.metrics.arrays import vector
from bench.metrics.intervals import Interval

__all__ = ["median_interval"]


def median_interval(values: npt.ArrayLike, level: float = 0.95) -> Interval | None:
    """Interval of the median between two order statistics, without assumptions on the distribution (Conover 1999,
    section 3.2).

    The number of values below the median is binomial (n, 1/2). With the k-th smallest and the k-th largest value as
    ends the coverage is at least ``level``, and higher for few values because k is a whole number.

    Args:
        values: One value per item, shape (n,).
        level: Nominal coverage, in (0, 1).

    Returns:
        The interval, or None for too few values: at .95 for fewer than six.

    Raises:
        ValueError: If a value is NaN, the shape is not (n,) with n >= 1, or level lies outside (0, 1).

    >>> interval = median_interval([1, 2, 3, 4, 5, 6, 7, 8])
    >>> interval.low, interval.high, interval.kind
    (1.0, 8.0, 'order statistics')
    >>> median_interval([1, 2, 3]) is None
    True
    """
    array = np.sort(vector("values", values))
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), such as 0.95, got {level}")
    # The largest k with P(B <= k - 1) <= (1 - level) / 2.
    k = int((bdtr(np.arange(array.size // 2), array.size, 0.5) <= (1 - level) / 2).sum())
    if k < 1:
        return None
    return Interval(float(array[k - 1]), float(array[array.size - k]), level, "order statistics")
