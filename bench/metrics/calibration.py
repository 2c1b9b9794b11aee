"""Calibration errors: the distance between the probabilities that a classifier states and how often it is right."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from bench.metrics.arrays import class_labels, correct_of, probabilities
from bench.metrics.proper_scores import brier, nll
from bench.metrics.reliability import Binning, Edges, ReliabilityCurve, confidences, last_of_ties, reliability
from bench.metrics.temperature import TEMPERATURE_RANGE, Temperature, fit_temperature

# The scores and the temperature were defined here once, and code outside of this repository imports them from here.
__all__ = [
    "TEMPERATURE_RANGE",
    "ReliabilityCurve",
    "Temperature",
    "brier",
    "classwise_ece",
    "debiased_ece",
    "ece",
    "fit_temperature",
    "ks_error",
    "mce",
    "nll",
    "reliability",
]


def ece(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
) -> float:
    """Expected calibration error of the top label, in [0, 1], 0 is best (Guo et al. 2017, equation 3).

    Arguments and errors are those of `reliability`. The estimate is biased upwards: a perfectly calibrated
    model scores about 0.007 with 15 bins and n = 10,000 (`bench.metrics.if_calibrated.ece_if_calibrated`).

    >>> ece([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
    0.0
    >>> ece([1.0, 1.0], [1, 0])
    0.5
    """
    return reliability(confidence, correct, bins=bins, binning=binning, edges=edges).ece


def mce(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
) -> float:
    """Maximum calibration error of the top label: the largest gap of a bin, in [0, 1] (Guo et al. 2017, equation 5).

    Arguments and errors are those of `reliability`. A bin with one item can decide it, so it is mostly noise where
    bins of equal width hold few items.

    >>> mce([0.6, 0.6, 0.9], [1, 1, 1], bins=5)
    0.4
    """
    return reliability(confidence, correct, bins=bins, binning=binning, edges=edges).mce


def debiased_ece(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
) -> float:
    """The ECE less an estimate of its upward bias, in [0, 1] (Kumar et al. 2019, ``normal_debiased_ce`` of their code).

    The accuracy of each bin is taken as normal about the observed one, with the variance a (1 - a) / count. The bias is
    the excess of the expected ECE over the observed one under that model: 2 ECE - sum_b w_b E|N(gap_b, variance_b)|.
    Their code samples the expectation and returns negative results; here it is exact, and cut to 0.

    Arguments and errors are those of `reliability`. The correction is partial: a bin with accuracy 0 or 1 has none.

    >>> debiased_ece([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
    0.0
    >>> debiased_ece([1.0, 1.0], [0, 0])
    1.0
    """
    curve = reliability(confidence, correct, bins=bins, binning=binning, edges=edges)
    filled = curve.count > 0
    count, accuracy = curve.count[filled], curve.accuracy[filled]
    gap, spread = np.abs(accuracy - curve.mean_confidence[filled]), np.sqrt(accuracy * (1 - accuracy) / count)
    # The mean of |N(gap, spread^2)|, the folded normal distribution; where the spread is 0 it is the gap.
    ratio = np.divide(gap, spread, out=np.full_like(gap, np.inf), where=spread > 0)
    expected = spread * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + gap * (2 * ndtr(ratio) - 1)
    return max(0.0, float(np.average(2 * gap - expected, weights=count)))


def classwise_ece(
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
) -> float:
    """Classwise ECE: mean over classes of the ECE of the probability of this class, in [0, 1], 0 is best (Kull et al.
    2019, section 2; the static calibration error of Nixon et al. 2019).

    Unlike the ECE of the top label it sees all probabilities. With many classes most of them are near 0, where a gap
    cannot be large: values of data sets with different numbers of classes are not comparable.

    Args:
        probs: Probabilities, shape (n, K); a probability of exactly 0 counts in the first bin.
        labels: Integers in 0 … K-1, shape (n,).
        bins: Number of bins of each class.
        binning: As in `reliability`; bins of equal mass are those of each class.
        edges: As in `reliability`.

    Raises:
        ValueError: On NaN, rows that are no probabilities, bad labels, or bad bins.

    >>> classwise_ece([[1.0, 0.0], [0.75, 0.25]], [0, 0], bins=1)
    0.125
    """
    p = probabilities("probs", probs)
    y = class_labels(labels, *p.shape)
    found = [ece(p[:, k], y == k, bins=bins, binning=binning, edges=edges) for k in range(p.shape[1])]
    return float(np.mean(found))


def ks_error(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Kolmogorov-Smirnov calibration error of the top label, in [0, 1], 0 is best (Gupta et al. 2021, section 3).

    The largest absolute value, over thresholds t, of the mean of (correct - confidence) restricted to the items with
    confidence at most t. It has no bins. Items with equal confidence are cumulated together, so that the value does not
    depend on their order.

    Args:
        confidence: Probability of the predicted class, shape (n,), in [0, 1].
        correct: Whether the prediction was right, shape (n,), booleans or 0/1.

    Raises:
        ValueError: On NaN, confidences outside [0, 1], unequal lengths, or no items.

    >>> ks_error([0.5, 0.5], [0, 1])
    0.0
    >>> ks_error([0.25, 0.75], [1, 0])  # +0.75 / 2 after the first item, 0 after both
    0.375
    """
    conf = confidences(confidence)
    hit = correct_of(conf, correct)
    order = np.argsort(conf, kind="stable")
    ordered = conf[order]
    cumulated = np.cumsum(hit[order] - ordered)
    return min(1.0, float(np.abs(cumulated[last_of_ties(ordered)]).max() / conf.size))
