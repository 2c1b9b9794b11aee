"""Calibration of a classifier's probabilities: reliability, ECE, NLL, Brier score, temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import (
    FloatArray,
    class_labels,
    correctness,
    finite_matrix,
    log_probabilities,
    probabilities,
    vector,
)

Edges = Literal["right", "left"]

CONFIDENCE_TOLERANCE = 1e-6
"""A confidence may exceed 1 by this much (the exp of a float32 log-probability) and then counts as 1."""

TEMPERATURE_RANGE = (1e-4, 1e4)
"""The range that `fit_temperature` searches. Classifiers need about 0.1 to 100."""


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence and accuracy in equal-width bins of the confidence: the data of a reliability diagram.

    Attributes:
        edges: Bin edges from 0 to 1, shape (bins + 1,).
        count: Items per bin, int64, shape (bins,).
        mean_confidence: Mean confidence per bin (not the bin's centre), shape (bins,); NaN in an empty bin.
        accuracy: Share of correct items per bin, shape (bins,); NaN in an empty bin.
    """

    edges: FloatArray
    count: npt.NDArray[np.int64]
    mean_confidence: FloatArray
    accuracy: FloatArray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of |accuracy - mean confidence| over bins by count, in [0, 1]."""
        filled = self.count > 0
        gaps = np.abs(self.accuracy[filled] - self.mean_confidence[filled])
        return float(np.average(gaps, weights=self.count[filled]))


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


def reliability(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 20, edges: Edges = "right"
) -> ReliabilityCurve:
    """Groups predictions by confidence, in equal-width bins (Guo et al. 2017, section 2).

    The edges are ``np.linspace(0, 1, bins + 1)``, as in other implementations; some lie one rounding error above their
    decimal (0.30000000000000004).

    Args:
        confidence: Probability of the predicted class, shape (n,), in [0, 1].
        correct: Whether the prediction was right, shape (n,), booleans or 0/1.
        bins: Number of bins.
        edges: The edge that belongs to a bin. ``"right"``: (lo, hi], and 0 belongs to the first bin. ``"left"``:
            [lo, hi), and 1 belongs to the last bin; for comparison with other tools.

    Raises:
        ValueError: On NaN, confidences outside [0, 1], unequal lengths, no items, bins < 1, or an unknown
            `edges`.

    >>> curve = reliability([0.2, 0.75, 1.0], [0, 1, 1], bins=2)
    >>> curve.count, curve.mean_confidence, curve.accuracy
    (array([1, 2]), array([0.2  , 0.875]), array([0., 1.]))
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if edges not in ("right", "left"):
        raise ValueError(f'edges must be "right" or "left", got {edges!r}')
    conf = vector("confidence", confidence)
    hit = correctness("correct", correct)
    if conf.shape != hit.shape:
        raise ValueError(f"confidence and correct must have one length, got {conf.size} and {hit.size}")
    if conf.min() < 0 or conf.max() > 1 + CONFIDENCE_TOLERANCE:
        raise ValueError(f"confidence must lie in [0, 1], got {conf.min():.9g} … {conf.max():.9g}")
    conf = np.minimum(conf, 1.0)

    boundaries = np.linspace(0.0, 1.0, bins + 1)
    # Only the inner edges are searched, so that 0 and 1 always fall into the first and the last bin.
    side: Literal["left", "right"] = "left" if edges == "right" else "right"
    index = np.searchsorted(boundaries[1:-1], conf, side=side)
    count = np.bincount(index, minlength=bins).astype(np.int64)
    # The mean of an empty bin is 0/0 = NaN on purpose.
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=conf, minlength=bins) / count
        accuracy = np.bincount(index, weights=hit.astype(np.float64), minlength=bins) / count
    return ReliabilityCurve(boundaries, count, mean_confidence, accuracy)


def ece(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 20, edges: Edges = "right") -> float:
    """Expected calibration error of the top label, in [0, 1], 0 is best (Guo et al. 2017, equation 3).

    Arguments and errors are those of `reliability`. The estimate is biased upwards: a perfectly calibrated
    model scores about 0.007 with 15 bins and n = 10,000.

    >>> ece([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
    0.0
    >>> ece([1.0, 1.0], [1, 0])
    0.5
    """
    return reliability(confidence, correct, bins=bins, edges=edges).ece


def nll(log_probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean negative log-likelihood of the labels, in nats, in [0, inf]; 0 is best, log K is a uniform prediction.

    Args:
        log_probs: Log-probabilities (not logits), shape (n, K). If a label has probability 0, the result is inf.
        labels: Integers in 0 … K-1, shape (n,).

    Raises:
        ValueError: On NaN, rows whose probabilities do not sum to one, or labels of a wrong type, length or
            range.

    >>> round(nll(np.log([[0.5, 0.5]]), [0]), 6)  # log 2
    0.693147
    """
    log_p = log_probabilities("log_probs", log_probs)
    y = class_labels(labels, *log_p.shape)
    return float(-log_p[np.arange(y.size), y].mean())


def brier(probs: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Brier score: mean over items of the squared distance to the one-hot label, summed over classes (Brier 1950).

    In [0, 2]; 0 is best, 1 - 1/K is a uniform prediction. Not halved for two classes.

    Args:
        probs: Probabilities, shape (n, K).
        labels: Integers in 0 … K-1, shape (n,).

    Raises:
        ValueError: On NaN, values outside [0, 1], rows that do not sum to one, or bad labels.

    >>> brier([[0.5, 0.5]], [0]), brier([[1.0, 0.0]], [1])
    (0.5, 2.0)
    """
    p = probabilities("probs", probs)
    y = class_labels(labels, *p.shape)
    return float(np.square(p - np.eye(p.shape[1])[y]).sum(axis=1).mean())


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
