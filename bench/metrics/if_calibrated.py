"""What a perfectly calibrated model with the same confidences would score.

A calibration error of n items is positive even if the model is calibrated, and more so for fewer items, more bins or
more classes. The functions here simulate it: the confidences stay, and labels are drawn from them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, class_labels, probabilities, random_generator, require_simulation
from bench.metrics.calibration import classwise_ece, ece, ks_error
from bench.metrics.intervals import IfCalibrated
from bench.metrics.reliability import Binning, Edges, binned, confidences, last_of_ties

__all__ = ["classwise_ece_if_calibrated", "ece_if_calibrated", "ks_if_calibrated"]

DRAWS = 1000
_BLOCK = 2**22
"""Random numbers drawn at a time; all of 1,000 draws of 50,000 items would take 200 MB."""


def ece_if_calibrated(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike | None = None,
    *,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> IfCalibrated:
    """The ECE that a calibrated model with these confidences would have (consistency resampling, Bröcker and Smith
    2007; Vaicenavicius et al. 2019, section 5).

    Each draw makes item i right with probability confidence_i, independently. The bins depend on the confidences
    alone, so they are those of the model.

    Args:
        confidence: Probability of the predicted class, shape (n,), in [0, 1].
        correct: Whether the prediction was right, shape (n,), for the p value; None: no p value.
        bins: As in `bench.metrics.calibration.ece`.
        binning: As in `bench.metrics.calibration.ece`.
        edges: As in `bench.metrics.calibration.ece`.
        seed: Seed of the labels; the result is a function of the arguments alone.
        draws: Number of draws of the labels, at least 100.
        level: Level of the upper quantile, in (0, 1).

    Raises:
        ValueError: On bad confidences, labels, bins or level, or draws < 100.

    >>> found = ece_if_calibrated(np.full(100, 0.9), np.arange(100) < 80, bins=1)
    >>> round(found.mean, 2), round(found.upper, 2), found.p_value < 0.01  # mean sqrt(2 / pi) * 0.3 / 10
    (0.02, 0.06, True)
    """
    require_simulation(draws, level)
    conf = confidences(confidence)
    index = binned(conf, bins, binning, edges)
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    errors = np.concatenate(
        [
            np.abs(np.add.reduceat(right, starts, axis=1, dtype=np.int64) - np.add.reduceat(conf[order], starts))
            for right in _drawn(conf[order], seed, draws)
        ]
    )
    observed = None if correct is None else ece(conf, correct, bins, binning, edges)
    return _summary(errors.sum(axis=1) / conf.size, observed, level)


def ks_if_calibrated(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> IfCalibrated:
    """The Kolmogorov-Smirnov calibration error that a calibrated model with these confidences would have.

    Arguments and errors are those of `ece_if_calibrated`.

    >>> round(ks_if_calibrated(np.full(100, 0.9)).mean, 2)  # of one tie: sqrt(2 / pi) * 0.3 / 10
    0.02
    """
    require_simulation(draws, level)
    conf = np.sort(confidences(confidence))
    last = last_of_ties(conf)
    expected = np.cumsum(conf)[last]
    found = [
        np.abs(np.cumsum(right, axis=1, dtype=np.int64)[:, last] - expected).max(axis=1)
        for right in _drawn(conf, seed, draws)
    ]
    observed = None if correct is None else ks_error(confidence, correct)
    return _summary(np.concatenate(found) / conf.size, observed, level)


def classwise_ece_if_calibrated(
    probs: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
    seed: int = 0,
    draws: int = 300,
    level: float = 0.95,
) -> IfCalibrated:
    """The classwise ECE that a calibrated model with these probabilities would have; each draw takes the label of item
    i from row i.

    Args:
        probs: Probabilities, shape (n, K).
        labels: Integers in 0 … K-1, shape (n,), for the p value; None: no p value.
        bins: As in `bench.metrics.calibration.classwise_ece`.
        binning: As there.
        edges: As there.
        seed: Seed of the labels.
        draws: Number of draws of the labels, at least 100.
        level: Level of the upper quantile, in (0, 1).

    Raises:
        ValueError: On bad probabilities, labels, bins or level, or draws < 100.

    >>> probs = np.tile([0.9, 0.1], (100, 1))
    >>> round(classwise_ece_if_calibrated(probs, bins=1).mean, 2)
    0.02
    """
    require_simulation(draws, level)
    p = probabilities("probs", probs)
    n, classes = p.shape
    columns = [np.minimum(p[:, k], 1.0) for k in range(classes)]
    cell = np.stack([k * bins + binned(column, bins, binning, edges) for k, column in enumerate(columns)], axis=1)
    stated = np.bincount(cell.ravel(), weights=p.ravel(), minlength=classes * bins)
    inner = np.cumsum(p, axis=1)[:, :-1]
    generator = random_generator(seed)
    found = np.empty(draws)
    for draw in range(draws):
        label = (generator.random((n, 1)) >= inner).sum(axis=1)
        happened = np.bincount(cell[np.arange(n), label], minlength=classes * bins)
        found[draw] = np.abs(happened - stated).sum() / (n * classes)
    observed = None if labels is None else classwise_ece(p, class_labels(labels, n, classes), bins, binning, edges)
    return _summary(found, observed, level)


def _drawn(confidence: FloatArray, seed: int, draws: int) -> list[npt.NDArray[np.bool_]]:
    """Blocks of draws of whether each item is right, each of shape (some, n).

    Random numbers of 24 bits are enough: the probability of an item is off by at most 6e-8.
    """
    generator = random_generator(seed)
    rows = max(1, _BLOCK // confidence.size)
    sizes = [min(rows, draws - start) for start in range(0, draws, rows)]
    return [generator.random((size, confidence.size), dtype=np.float32) < confidence for size in sizes]


def _summary(found: FloatArray, observed: float | None, level: float) -> IfCalibrated:
    # Errors that are equal in exact arithmetic count as ties, although they were rounded in different orders.
    p = None if observed is None else float((1 + (found >= observed - 1e-12).sum()) / (1 + found.size))
    return IfCalibrated(float(found.mean()), float(np.quantile(found, level)), level, p)
