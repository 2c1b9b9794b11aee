"""Measured shares and what may be said of them: intervals, limits, and tests on the same images."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.metrics.paired import mcnemar_exact, permutation_mean

__all__ = ["Answer", "against", "binary", "gap", "mean_gap", "p_value"]

LEVEL = 0.95
"""Of the intervals that shares have beside a limit."""

Answer = Literal["above", "below", "unclear"]
"""Where a share lies beside a limit."""


def against(limit: float, estimate: float, low: float, high: float) -> Answer:
    """Where an estimate lies with its interval; one of 0 or less is never above."""
    if estimate <= 0 or high <= limit:
        return "below"
    return "above" if low > limit else "unclear"


def gap(before: NDArray[np.bool_], after: NDArray[np.bool_], family: int = 1) -> tuple[float, float, float]:
    """Mean of before - after over all pairs of one image under one attack seed, and the ends of its interval.

    Pairs of one image count as independent: the interval is that of these images under other draws of the attack. It
    is on the safe side, because images differ.

    Args:
        before: (N,) or (N, A) booleans.
        after: The same of the other attack.
        family: How many gaps the largest was picked from (Bonferroni).
    """
    # Differences of counts: 2 points of 100 images are exactly 2, not 2.0000000000000018.
    mean = (int(before.sum()) - int(after.sum())) / before.size
    _, low, high = mean_gap(before.astype(np.float64).ravel(), after.astype(np.float64).ravel(), family)
    return mean, low, high


def mean_gap(before: NDArray[np.float64], after: NDArray[np.float64], family: int = 1) -> tuple[float, float, float]:
    """Mean of (M,) paired differences and the ends of its 95 % interval (Agresti and Min 2005, Statistics in Medicine
    24:729): the normal one after half a pair was added to each cell of the two by two table, which adds two pairs to
    the whole and one to those that differ. Shares of attack seeds instead of booleans have the same formula.
    """
    difference = before - after
    pairs = len(difference) + 2
    middle = float(difference.sum()) / pairs
    spread = max((float((difference**2).sum()) + 1) / pairs - middle**2, 0.0)
    half = float(ndtri(1 - (1 - LEVEL) / (2 * family))) * math.sqrt(spread / pairs)
    return float(difference.mean()), middle - half, middle + half


def p_value(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Of equal means on the same images: exact McNemar for booleans, permutation of the pairs for means over seeds."""
    if before.ndim == 2:
        before, after = before.mean(axis=1), after.mean(axis=1)
    if binary(before) and binary(after):
        return mcnemar_exact(before, after)
    return permutation_mean(before, after, seed=0)


def binary(values: NDArray[Any]) -> bool:
    """Whether (N,) values are all 0 or 1."""
    return values.ndim == 1 and bool(((values == 0) | (values == 1)).all())
