"""Statistics of measured shares: intervals, limits, and tests on the same images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.metrics.intervals import agresti_min_ends
from bench.metrics.paired import mcnemar, permutation_mean

__all__ = ["Answer", "against", "binary", "gap", "mean_gap", "p_value"]

LEVEL = 0.95
"""Level of the intervals that are compared with limits."""

Answer = Literal["above", "below", "unclear"]
"""Position of a share relative to a limit."""


def against(limit: float, estimate: float, low: float, high: float) -> Answer:
    """Whether an estimate with the interval [low, high] lies above or below a limit, or is unclear.

    An estimate of 0 or less is always below.
    """
    if estimate <= 0 or high <= limit:
        return "below"
    return "above" if low > limit else "unclear"


def gap(before: NDArray[np.bool_], after: NDArray[np.bool_], family: int = 1) -> tuple[float, float, float]:
    """Mean of before - after over all pairs of an image and an attack seed, and the ends of its interval.

    Pairs of one image count as independent: the interval covers other draws of the attack on the same images. It is
    conservative, because images differ.

    Args:
        before: (N,) or (N, A) booleans.
        after: Booleans of the other attack, same shape.
        family: Number of gaps from which the largest was picked (Bonferroni).
    """
    # Differences of counts: 2 points of 100 images are exactly 2, not 2.0000000000000018.
    mean = (int(before.sum()) - int(after.sum())) / before.size
    _, low, high = mean_gap(before.astype(np.float64).ravel(), after.astype(np.float64).ravel(), family)
    return mean, low, high


def mean_gap(before: NDArray[np.float64], after: NDArray[np.float64], family: int = 1) -> tuple[float, float, float]:
    """Mean of (M,) paired differences and the ends of its 95 % interval (`agresti_min_ends`)."""
    difference = before - after
    low, high = agresti_min_ends(difference, float(ndtri(1 - (1 - LEVEL) / (2 * family))))
    return float(difference.mean()), low, high


def p_value(before: NDArray[Any], after: NDArray[Any]) -> float:
    """p-value of equal means on the same images: exact McNemar for booleans, permutation test for means over seeds."""
    if before.ndim == 2:
        before, after = before.mean(axis=1), after.mean(axis=1)
    if binary(before) and binary(after):
        return mcnemar(before, after)
    return permutation_mean(before, after, seed=0)


def binary(values: NDArray[Any]) -> bool:
    """Whether (N,) values are all 0 or 1."""
    return values.ndim == 1 and bool(((values == 0) | (values == 1)).all())
