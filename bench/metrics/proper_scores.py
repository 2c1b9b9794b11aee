"""Proper scores of probabilities: negative log-likelihood and Brier score, and the decomposition of the latter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, class_labels, log_probabilities, probabilities, require_at_least
from bench.metrics.reliability import bin_index

__all__ = ["BrierDecomposition", "brier", "brier_decomposition", "brier_values", "nll", "nll_values"]


def nll_values(log_probs: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """Negative log-likelihood of the label of each item, in nats, in [0, inf], shape (n,).

    Arguments and errors are those of `nll`.

    >>> nll_values(np.log([[0.5, 0.5], [1.0, 1e-9]]), [0, 0]).round(6)
    array([0.693147, 0.      ])
    """
    log_p = log_probabilities("log_probs", log_probs)
    y = class_labels(labels, *log_p.shape)
    # The log-probability of a float32 softmax can exceed 0 by a rounding error; 0 - x also avoids a -0.
    return np.maximum(0.0, 0.0 - log_p[np.arange(y.size), y])


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
    return float(nll_values(log_probs, labels).mean())


def brier_values(probs: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """Squared distance of each item's probabilities to the one-hot label, summed over classes, in [0, 2], shape (n,).

    Arguments and errors are those of `brier`.

    >>> brier_values([[0.5, 0.5], [1.0, 0.0]], [0, 1])
    array([0.5, 2. ])
    """
    p = probabilities("probs", probs)
    y = class_labels(labels, *p.shape)
    return np.asarray(np.square(p - np.eye(p.shape[1])[y]).sum(axis=1), dtype=np.float64)


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
    return float(brier_values(probs, labels).mean())


@dataclass(frozen=True)
class BrierDecomposition:
    """Parts of a Brier score: score = reliability - resolution + uncertainty + within_bins.

    Attributes:
        score: The Brier score, summed over classes, in [0, 2].
        reliability: Weighted squared gaps between forecast and frequency, >= 0; 0 if calibrated in every bin.
        resolution: Weighted squared distances of the frequencies to the base rates, >= 0; larger is better.
        uncertainty: Brier score of a forecast of the base rates, in [0, 1 - 1/K]; a property of the labels alone.
        within_bins: What the forecasts in a bin differ among themselves: 0 for binned forecasts, which are all equal
            within a bin; may be negative.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


def brier_decomposition(probs: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int | None = None) -> BrierDecomposition:
    """The Brier score as reliability - resolution + uncertainty (Murphy 1973, equation 3), summed over classes.

    Each class is a binary event with its own bins. For bins of unequal forecasts two terms are added, the variance of
    the forecasts within the bins and their covariance with the outcomes (Stephenson et al. 2008, equation 6); their
    sum is ``within_bins``, so the parts always add up to the score.

    Args:
        probs: Probabilities, shape (n, K).
        labels: Integers in 0 … K-1, shape (n,).
        bins: Equal-width bins of each class's probability, (lo, hi] with 0 in the first; None: each distinct value is
            a bin of its own, for binned forecasts. Then the decomposition is exact and ``within_bins`` is 0.

    Raises:
        ValueError: On NaN, rows that are no probabilities, bad labels, or bins < 1.

    >>> brier_decomposition([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]], [0, 0, 1, 1])
    BrierDecomposition(score=0.25, reliability=0.0, resolution=0.25, uncertainty=0.5, within_bins=0.0)
    """
    if bins is not None:
        require_at_least("bins", bins, 1)
    p = probabilities("probs", probs)
    y = class_labels(labels, *p.shape)
    n, classes = p.shape
    reliability = resolution = uncertainty = 0.0
    for k in range(classes):
        forecast, happened = p[:, k], (y == k).astype(np.float64)
        if bins is None:
            _, index = np.unique(forecast, return_inverse=True)
        else:
            index = bin_index(forecast, np.linspace(0.0, 1.0, bins + 1))
        count = np.bincount(index)
        filled = count > 0
        weight = count[filled] / n
        mean_forecast = np.bincount(index, weights=forecast)[filled] / count[filled]
        frequency = np.bincount(index, weights=happened)[filled] / count[filled]
        base = float(happened.mean())
        reliability += float(weight @ np.square(mean_forecast - frequency))
        resolution += float(weight @ np.square(frequency - base))
        uncertainty += base * (1 - base)
    score = brier(p, y)
    within = 0.0 if bins is None else score - (reliability - resolution + uncertainty)
    return BrierDecomposition(score, reliability, resolution, uncertainty, within)
