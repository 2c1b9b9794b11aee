"""Temperature scaling: the fit of a softmax temperature on held-out data, and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, class_labels, finite_matrix, require_at_least, require_level
from bench.metrics.intervals import Interval
from bench.metrics.resampling import bootstrap_draws

__all__ = ["TEMPERATURE_RANGE", "Temperature", "fit_temperature", "temperature_interval"]

TEMPERATURE_RANGE = (1e-4, 1e4)
"""The range that `fit_temperature` searches. Classifiers need about 0.1 to 100."""


@dataclass(frozen=True)
class Temperature:
    """A fitted softmax temperature.

    Attributes:
        value: T > 0; the calibrated probabilities are softmax(logits / T).
        nll_before: Mean NLL in nats at T = 1, on the items of the fit.
        nll_after: Mean NLL in nats at T = `value`, on the same items.
        n: Number of items of the fit.
        at_bound: True if the NLL has no minimum inside `TEMPERATURE_RANGE`. Then `value` is not a fitted temperature
            but the nearer end of the range (or 1 where every T fits): the logits separate the labels (T -> 0), or they
            are no better than a constant (T -> infinity).
        right: Items of the fit whose largest logit (the first among equals) is that of the label.
    """

    value: float
    nll_before: float
    nll_after: float
    n: int
    at_bound: bool
    right: int = 0

    @property
    def no_minimum(self) -> str | None:
        """Why there is no fitted temperature, as a table prints it; None if there is one."""
        if not self.at_bound:
            return None
        items = f"{self.right:,} of {self.n:,} validation items right"
        if self.value == TEMPERATURE_RANGE[0] and self.right < self.n:
            return f"no minimum at T > {TEMPERATURE_RANGE[0]:g}: {items}"
        if self.value == TEMPERATURE_RANGE[0]:
            return f"no interior minimum: {items}"
        if self.value == TEMPERATURE_RANGE[1]:
            return f"no interior minimum: {items}, logits no better than a constant"
        return f"no interior minimum: {items}, logits are constant"


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Temperature:
    """Fits the softmax temperature that minimises the mean NLL of held-out data (Guo et al. 2017, section 4.2).

    The NLL is convex in 1/T, so its derivative has at most one root; the root is bracketed in log T over
    `TEMPERATURE_RANGE` and found by Brent's method. The common descent on T itself stops far from optima such as
    T = 0.025 or 30 and can end at T < 0. There is no fitted temperature if the minimum lies at a bound, or if every T
    fits because the logits are constant in every row (then ``value`` is 1); see `Temperature`.

    Args:
        logits: Shape (n, K), finite.
        labels: Integers in 0 … K-1, shape (n,).

    Raises:
        ValueError: If a logit is NaN or infinite, or the labels are of a wrong type, length or range.

    >>> fitted = fit_temperature([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> round(fitted.value, 6)  # 2 / log 3: then three of four have probability 3/4
    1.820478
    """
    z = finite_matrix("logits", logits)
    y = class_labels(labels, *z.shape)
    # Relative to the label's logit, so that no term p_y * z_y cancels in the derivative, the sum of p * margin.
    margin = z - z[np.arange(y.size), y][:, None]
    largest = margin.max(axis=1)
    shifted = margin - largest[:, None]

    def mean_nll(temperature: float) -> float:
        return float((largest / temperature + np.log(np.exp(shifted / temperature).sum(axis=1))).mean())

    def slope(log_temperature: float) -> float:
        """Derivative of the mean NLL with respect to 1/T: E_p[z] - z_y, averaged. It falls with T."""
        weight = np.exp(shifted / math.exp(log_temperature))
        return float(((weight * margin).sum(axis=1) / weight.sum(axis=1)).mean())

    coldest, hottest = (math.log(bound) for bound in TEMPERATURE_RANGE)
    if not shifted.any():
        value, at_bound = 1.0, True
    elif slope(coldest) <= 0:
        value, at_bound = TEMPERATURE_RANGE[0], True
    elif slope(hottest) >= 0:
        value, at_bound = TEMPERATURE_RANGE[1], True
    else:
        from scipy.optimize import brentq  # here: its import is slow, and few callers need it

        value, at_bound = math.exp(brentq(slope, coldest, hottest, xtol=1e-13)), False
    right = int((z.argmax(axis=1) == y).sum())
    return Temperature(value, mean_nll(1.0), mean_nll(value), n=y.size, at_bound=at_bound, right=right)


def temperature_interval(
    logits: npt.ArrayLike, labels: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 2000
) -> Interval | None:
    """Interval of the fitted temperature over items: bootstrap t of the slope (Hu and Kalbfleisch 2000).

    The fitted T is the root of the mean over items of the slope of the NLL in 1/T. At the true T that mean is 0 but for
    noise, so the interval holds the T whose mean slope, divided by its standard error, lies between the quantiles of
    the resampled ones. They are found from the slopes of all items on a grid of temperatures, without a further fit. A
    percentile bootstrap of the fitted T covers 90 % instead of 95 % for 100 items.

    The slope may stay between the quantiles up to an end of `TEMPERATURE_RANGE`, for example where few items are wrong,
    so that the items do not bound T on this side. Then the interval ends there.

    Args:
        logits: Shape (n, K), finite.
        labels: Integers in 0 … K-1, shape (n,).
        seed: Seed of the resampling; the result is a function of the arguments alone.
        level: Nominal coverage, in (0, 1).
        resamples: Number of resamples, at least 100.

    Returns:
        The interval, the same on the scales of T, log T and 1/T; None if there is no fitted temperature
        (`Temperature.at_bound`).

    Raises:
        ValueError: On bad logits or labels, a level outside (0, 1), or resamples < 100.

    >>> logits, labels = np.tile([2.0, 0.0], (400, 1)), np.arange(400) % 4 == 0
    >>> interval = temperature_interval(logits, labels.astype(int), seed=0)
    >>> round(interval.low, 1), round(interval.high, 1)  # fitted: 1.82
    (1.5, 2.3)
    """
    require_level(level)
    require_at_least("resamples", resamples, 100)
    z = finite_matrix("logits", logits)
    y = class_labels(labels, *z.shape)
    fitted = fit_temperature(z, y)
    if fitted.at_bound:
        return None
    slope = _item_slopes(z, y, fitted.value)
    studentised = np.empty(resamples)
    for draw, items in enumerate(bootstrap_draws(y.size, resamples, seed)):
        drawn = slope[items]
        # With one more item of the observed variance, so that it is not 0 for a resample of equal slopes.
        variance = (y.size * drawn.var() + slope.var()) / (y.size + 1)
        studentised[draw] = drawn.mean() / math.sqrt(variance)
    low, high = np.quantile(studentised, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        _where_slope_is(float(high), z, y, fitted.value, TEMPERATURE_RANGE[0]),
        _where_slope_is(float(low), z, y, fitted.value, TEMPERATURE_RANGE[1]),
        level,
        "bootstrap t of the slope",
    )


def _where_slope_is(
    height: float, logits: FloatArray, labels: npt.NDArray[np.int64], fitted: float, bound: float
) -> float:
    """The temperature between the fitted one and a bound at which the studentised mean slope first reaches a height."""
    steps = np.geomspace(0.01, abs(math.log(bound / fitted)), 40) * math.copysign(1.0, bound - fitted)
    at, reached = 0.0, 0.0
    for step in steps:
        slope = _item_slopes(logits, labels, fitted * math.exp(step))
        spread = float(slope.std())
        now = float(slope.mean()) / spread if spread else math.copysign(math.inf, height)
        if abs(now) >= abs(height) and now * height > 0:
            share = (height - reached) / (now - reached) if math.isfinite(now) else 1.0
            return float(fitted * math.exp(at + share * (step - at)))
        at, reached = step, now
    return bound


def _item_slopes(logits: FloatArray, labels: npt.NDArray[np.int64], temperature: float) -> FloatArray:
    """Derivative of each item's NLL with respect to 1/T, E_p[z] - z_y, shape (n,). It falls with T."""
    margin = logits - logits[np.arange(labels.size), labels][:, None]
    weight = np.exp((margin - margin.max(axis=1, keepdims=True)) / temperature)
    return np.asarray((weight * margin).sum(axis=1) / weight.sum(axis=1), dtype=np.float64)
