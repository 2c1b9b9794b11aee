"""Proportions of a measurement that was repeated: every item was tried in several runs, or under several conditions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from bench.metrics.intervals import Interval, normal_quantile, wilson, wilson_ends

__all__ = ["conditions_proportion", "repeated_proportion", "repeated_variance"]


def repeated_variance(outcomes: npt.ArrayLike) -> tuple[float, float]:
    """Variance of the mean of n items in A runs, in two parts: the part of the items and the part of the runs.

    Let x_ia = p + item_i + run_a + rest_ia, with independent effects. The overall mean has variance
    V(item)/n + V(run)/A + V(rest)/(nA). The variance of the n item means, divided by n, estimates the first and the
    last term: the run cancels. The variance of the A run means, divided by A, estimates the second and the last.
    The total is the first estimate plus, if it is positive, the second less the mean square of the rest / (nA)
    (two-way random effects; Searle, Casella and McCulloch 1992, chapter 4). If the noise of every item is drawn
    independently, as in the attacks of this harness, V(run) is 0.

    The ratio of the item part to p(1 - p)/n lies in [1/A, 1]: 1/A if all runs of an item are independent, 1 if they
    are equal. It is estimated with two added items, one that is 1 in all runs and one that is 0 in all, because few
    events could look independent by chance; with one run it is exactly 1.

    Args:
        outcomes: Booleans or 0/1, shape (n, A), n >= 1, A >= 1.

    Returns:
        The item part and the run part, both >= 0.

    Raises:
        ValueError: If the shape is not (n, A) with n, A >= 1, or a value is neither 0 nor 1.

    >>> repeated_variance([[1], [0]])  # one run: p (1 - p) / n
    (0.125, 0.0)
    >>> repeated_variance([[1, 0], [0, 1]])  # independent runs: p (1 - p) / (n A)
    (0.0625, 0.0)
    """
    values = _outcomes(outcomes)
    n, runs = values.shape
    mean = float(values.mean())
    widened = np.concatenate([values.mean(axis=1), [0.0, 1.0]])
    middle = float(widened.mean())
    ratio = min(1.0, max(1.0 / runs, float(widened.var()) / (middle * (1 - middle))))
    by_items = ratio * mean * (1 - mean) / n
    if runs == 1 or n == 1:
        return by_items, 0.0
    of_runs = values.mean(axis=0)
    rest = values - values.mean(axis=1, keepdims=True) - of_runs + mean
    residual = float((rest**2).sum()) / ((n - 1) * (runs - 1))
    return by_items, max(0.0, float(of_runs.var(ddof=1)) / runs - residual / (n * runs))


def repeated_proportion(outcomes: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the expected proportion over items and runs.

    Wilson's score interval for p(1 - p)/V trials, where V is the variance of `repeated_variance`. The quantile is
    Student's with Satterthwaite's degrees of freedom of the run part, or the normal one if that part is 0. With one run
    it is Wilson's interval of n trials.

    Args:
        outcomes: Booleans or 0/1, shape (n, A), n >= 1, A >= 1: item i in run a.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If the shape is not (n, A) with n, A >= 1, a value is neither 0 nor 1, or level lies outside (0, 1).

    >>> repeated_proportion([[1], [0]]) == wilson(1, 2)
    True
    >>> repeated_proportion([[1, 1], [0, 1]]).kind
    'wilson over items and 2 attack seeds'
    """
    values = _outcomes(outcomes)
    n, runs = values.shape
    if runs == 1:
        return wilson(int(values.sum()), n, level)
    z = normal_quantile(level)
    p = float(values.mean())
    by_items, by_runs = repeated_variance(values)
    variance = by_items + by_runs
    if by_runs > 0:
        z = float(stdtrit((runs - 1) * (variance / by_runs) ** 2, (1 + level) / 2))
    return _wilson(p, variance, n, z, level, f"wilson over items and {runs} attack seeds")


def conditions_proportion(outcomes: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Interval of the expected proportion over items, each of which was tried under the same A conditions.

    The conditions, such as corruptions of an image, are fixed and no sample: the interval says how much the mean over
    them would vary with other items. It is Wilson's score interval for p(1 - p)/V trials, where V is the part of the
    items in `repeated_variance`, that is the variance of the item means over n, with its limits. With one condition it
    is Wilson's interval of n trials.

    Args:
        outcomes: Booleans or 0/1, shape (n, A), n >= 1, A >= 1: item i under condition a.
        level: Nominal coverage, in (0, 1).

    Raises:
        ValueError: If the shape is not (n, A) with n, A >= 1, a value is neither 0 nor 1, or level lies outside (0, 1).

    >>> conditions_proportion([[1], [0]]) == wilson(1, 2)
    True
    >>> conditions_proportion([[1, 1], [0, 1]]).kind
    'wilson over items'
    """
    values = _outcomes(outcomes)
    n, conditions = values.shape
    if conditions == 1:
        return wilson(int(values.sum()), n, level)
    p = float(values.mean())
    variance, _ = repeated_variance(values)
    return _wilson(p, variance, n, normal_quantile(level), level, "wilson over items")


def _wilson(p: float, variance: float, n: int, z: float, level: float, kind: str) -> Interval:
    """Wilson's interval of as many trials as have the variance; of n if there is none, since its size is not known."""
    trials = p * (1 - p) / variance if variance > 0 else float(n)
    low, high = wilson_ends(p, trials, z)
    return Interval(low, high, level, kind)


def _outcomes(outcomes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(outcomes, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"outcomes must have shape (n, A) with n >= 1 and A >= 1, got {values.shape}")
    if not ((values == 0) | (values == 1)).all():
        raise ValueError("outcomes must be 0 or 1")
    return values
