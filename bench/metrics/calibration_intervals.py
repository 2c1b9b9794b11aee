"""Intervals for calibration errors, by simulation.

The ECE is a sum of absolute values of noisy gaps. It is biased upwards, and a bootstrap adds the noise a second time:
at calibration, the percentile interval never contains 0. The intervals of ECEs consist of the true values that a test
does not reject. For each candidate value theta, gaps are chosen that resemble the observed ones and whose error is
theta; the estimate is simulated with these gaps; and theta belongs to the interval if the observed estimate is no
surprise ("hybrid resampling", Chuang and Lai 2000). The candidates begin at theta = 0, calibration.

At level 1 - alpha, estimates below theta and below the alpha/2 quantile are rejected. The probability of these, eps, is
0 where the bias exceeds the noise, and alpha/2 far from calibration. Of the largest estimates the fraction alpha - eps
is rejected. So the interval always contains the estimate, and it contains 0 exactly if a calibrated model reaches the
observed error with a probability of at least alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import (
    FloatArray,
    class_labels,
    correct_of,
    correctness,
    probabilities,
    random_generator,
    require_simulation,
)
from bench.metrics.calibration import classwise_ece, ece, ks_error
from bench.metrics.intervals import Interval
from bench.metrics.reliability import Binning, Edges, binned, confidences, last_of_ties

__all__ = ["KIND", "classwise_ece_interval", "ece_interval", "ks_interval"]

KIND = "test inversion"
DRAWS = 400
_POINTS = 14
"""Candidate values, beside 0; the ends of the interval are interpolated between them."""
_MOST_DRAWN = 2**22
"""Largest number of simulated counts; with many cells the sum varies little and needs few draws."""
_TOLERANCE = 1e-12
_KS_BINS, _KS_ITEMS = 10, 50
"""The most bins of equal mass for the noise of the KS error, and the items that a bin has at least."""


def ece_interval(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
) -> Interval:
    """Interval of the ECE over items, within [0, 1]; it contains the estimate.

    It is for the ECE of the population with the same bins: sum over bins b of |E[(Y - C) 1{C in b}]|, where C is the
    confidence and Y whether the prediction is right. Bins of equal mass are those of the sample.

    Args:
        confidence: Probability of the predicted class, shape (n,), in [0, 1].
        correct: Whether the prediction was right, shape (n,), booleans or 0/1.
        bins: As in `bench.metrics.calibration.ece`.
        binning: As there.
        edges: As there.
        seed: Seed of the simulation; the result is a function of the arguments alone.
        level: Nominal coverage, in (0, 1).
        draws: Number of simulated estimates for each candidate value, at least 100.

    Raises:
        ValueError: On bad confidences, labels, bins or level, or draws < 100.

    >>> interval = ece_interval(np.full(400, 0.9), np.arange(400) < 300, bins=1)  # 0.15, error 0.022
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.11, 0.2)
    """
    conf = confidences(confidence)
    index = binned(conf, bins, binning, edges)
    hit = correct_of(conf, correct)
    cells = _Cells.of(index, conf, hit, conf.size)
    found = _interval(*_simulated(cells, seed, level, draws), level)
    return _holding(found, ece(conf, hit, bins, binning, edges))


def classwise_ece_interval(
    probs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
) -> Interval:
    """Interval of the classwise ECE over items, within [0, 1]; it contains the estimate.

    As `ece_interval`, with the bins of all classes together. Counts of different classes are simulated independently,
    although one label decides them all; their dependence is weak for more than two classes. For two classes the
    interval is that of the first, whose gaps the second mirrors.

    Args:
        probs: Probabilities, shape (n, K).
        labels: Integers in 0 … K-1, shape (n,).
        bins: As in `bench.metrics.calibration.classwise_ece`.
        binning: As there.
        edges: As there.
        seed: As in `ece_interval`.
        level: As in `ece_interval`.
        draws: As in `ece_interval`.

    Raises:
        ValueError: On bad probabilities, labels, bins or level, or draws < 100.

    >>> probs, labels = np.tile([0.9, 0.1], (400, 1)), (np.arange(400) >= 300).astype(int)
    >>> interval = classwise_ece_interval(probs, labels, bins=1)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.11, 0.2)
    """
    p = probabilities("probs", probs)
    n, classes = p.shape
    y = class_labels(labels, n, classes)
    parts = []
    for k in range(1 if classes == 2 else classes):
        column = np.minimum(p[:, k], 1.0)
        index = binned(column, bins, binning, edges)
        parts.append(_Cells.of(index, column, y == k, n))
    cells = _Cells.joined(parts)
    estimate, values, simulated = _simulated(cells, seed, level, draws)
    found = _interval(estimate / len(parts), values / len(parts), simulated / len(parts), level)
    return _holding(found, classwise_ece(p, y, bins, binning, edges))


def ks_interval(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, seed: int = 0, level: float = 0.95, draws: int = DRAWS
) -> Interval:
    """Interval of the Kolmogorov-Smirnov calibration error over items, within [0, 1]; it contains the estimate.

    The estimate plus and minus the largest absolute noise of the cumulated gaps that occurs with probability ``level``.
    By the triangle inequality the error of the estimate is at most that noise, so the interval covers at least as often
    as claimed, and exactly as often at calibration. Scaled gaps as for the ECE cover 80 to 88 % where there is a gap,
    because the place of the largest one is not known.

    The noise is simulated with labels of the observed accuracies in bins of equal mass, with two more right and two
    more wrong items in each, because certain predictions that are all right need not be certain.

    Args:
        confidence: Probability of the predicted class, shape (n,), in [0, 1].
        correct: Whether the prediction was right, shape (n,), booleans or 0/1.
        seed: As in `ece_interval`.
        level: As in `ece_interval`.
        draws: Number of draws of the labels, at least 100.

    Raises:
        ValueError: On bad confidences, labels or level, or draws < 100.

    >>> interval = ks_interval(np.full(400, 0.9), np.arange(400) < 300)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.11, 0.19)
    """
    require_simulation(draws, level)
    estimate = ks_error(confidence, correct)
    unsorted = confidences(confidence)
    order = np.argsort(unsorted, kind="stable")
    conf, hit = unsorted[order], correctness("correct", correct)[order]
    n = conf.size
    index = binned(conf, min(_KS_BINS, 1 + n // _KS_ITEMS), "mass")
    accuracy = ((np.bincount(index, weights=hit) + 2) / (np.bincount(index) + 4))[index]
    last = last_of_ties(conf)
    generator = random_generator(seed)
    noise = np.empty(draws)
    rows = max(1, _MOST_DRAWN // n)
    for start in range(0, draws, rows):
        uniform = generator.random((min(rows, draws - start), n), dtype=np.float32)
        cumulated = np.cumsum((uniform < accuracy) - accuracy, axis=1)[:, last]
        noise[start : start + rows] = np.abs(cumulated).max(axis=1) / n
    # At least the share of wrong items that n right ones leave possible (Clopper and Pearson 1934).
    half = max(float(np.quantile(noise, level)), 1 - float((1 - level) / 2) ** (1 / n))
    return Interval(max(0.0, estimate - half), min(1.0, estimate + half), level, "simulated band")


@dataclass(frozen=True)
class _Cells:
    """Bins that hold items, of one class or of several, each of shape (m,).

    Attributes:
        count: Number of items.
        stated: Mean probability that the model states.
        happened: Share of items for which the event happened.
        variance: Mean of p (1 - p) over the items, where p is the stated probability.
        n: Number of items of a class.
    """

    count: npt.NDArray[np.int64]
    stated: FloatArray
    happened: FloatArray
    variance: FloatArray
    n: int

    @classmethod
    def of(cls, index: npt.NDArray[np.intp], stated: FloatArray, event: npt.NDArray[np.bool_], n: int) -> _Cells:
        """The cells of items with these bins, stated probabilities and events, each of shape (n,)."""
        count = np.bincount(index)
        filled = count > 0
        sums = [np.bincount(index, weights=w)[filled] for w in (stated, event, stated * (1 - stated))]
        kept = count[filled]
        return cls(kept, sums[0] / kept, sums[1] / kept, sums[2] / kept, n)

    @classmethod
    def joined(cls, parts: Sequence[_Cells]) -> _Cells:
        """The cells of several classes of the same items."""
        return cls(
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.stated for part in parts]),
            np.concatenate([part.happened for part in parts]),
            np.concatenate([part.variance for part in parts]),
            parts[0].n,
        )


def _simulated(cells: _Cells, seed: int, level: float, draws: int) -> tuple[float, FloatArray, FloatArray]:
    """The estimated error; candidate values, shape (m,); and estimates simulated for each, shape (m, draws)."""
    require_simulation(draws, level)
    weight = cells.count / cells.n
    observed = weight * (cells.happened - cells.stated)
    estimate = float(np.abs(observed).sum())
    # The noise of each cell's gap, with one more event and one more failure, so that it is never 0.
    smoothed = (cells.count * cells.happened + 1) / (cells.count + 2)
    noise = np.sqrt(cells.count * smoothed * (1 - smoothed)) / cells.n
    error = float(np.sqrt(np.square(noise).sum()))
    room = np.stack(
        [np.where(observed > 0, 1 - cells.stated, cells.stated), np.maximum(1 - cells.stated, cells.stated)]
    )
    top = min(estimate + 4 * error, float(room[1] @ weight))
    bottom = max(0.0, estimate - float(noise.sum()) - 4 * error)
    candidates = np.unique(np.concatenate([[0.0], np.linspace(bottom, max(top, bottom), _POINTS)]))
    gaps = _gaps(observed, room * weight, candidates)
    values = np.abs(gaps).sum(axis=1)
    accuracy = np.clip(cells.stated + gaps / weight, 0.0, 1.0)
    generator = random_generator(seed)
    draws = min(draws, max(100, _MOST_DRAWN // accuracy.size))
    shape = (*accuracy.shape, draws)
    counts = generator.binomial(cells.count[:, None], accuracy[:, :, None], size=shape)
    noise_drawn = counts - (cells.count * accuracy)[:, :, None]
    # Within a cell the stated probabilities differ, so the variance is below that of a binomial count. Differences of
    # the error up to 1 % are neglected, so that counts of items that are alike stay exact, with their ties.
    binomial = cells.stated * (1 - cells.stated)
    ratio = np.sqrt(np.divide(cells.variance, binomial, out=np.ones_like(binomial), where=binomial > 0))
    noise_drawn *= np.where(ratio < 0.99, ratio, 1.0)[:, None]
    # Other items would also fall into the cells in other numbers, which matters where there is a gap.
    items = int(cells.count.sum())
    sizes = generator.multinomial(items, cells.count / items, size=draws).T
    drawn = noise_drawn + (accuracy - cells.stated)[:, :, None] * sizes
    return estimate, values, np.abs(drawn).sum(axis=1) / cells.n


def _gaps(observed: FloatArray, room: FloatArray, values: FloatArray) -> FloatArray:
    """For each value, gaps like the observed ones whose absolute values add up to it, shape (values, cells).

    Above the observed sum, all absolute gaps are increased by the same amount, as far as there is room. A gap with no
    more room on its side goes to the other: that all of 64 certain predictions are right does not show that each such
    prediction is. Below the observed sum, the gaps
    are the mean of two ways to reduce them, because the noise of the sum depends on how many cells share it. One takes
    the same amount from all, to 0 at least, which is the nearest point of that sum (the projection onto a sphere of the
    L1 norm, Duchi et al. 2008). The other keeps the largest gaps as they are and drops the smallest, since a few cells
    with a true gap stand out of the noise of the others. The first alone covers 90 % where a third of the items has
    the whole error.

    Args:
        observed: Observed gaps, shape (cells,).
        room: Largest possible absolute gap on the side of the observed one, and on either side, shape (2, cells).
        values: Sums of absolute gaps, shape (values,), at most the sum of the room on either side.
    """
    size = np.abs(observed)
    low, high = np.full(values.size, -1.0), np.full(values.size, size.max())
    for _ in range(50):  # halves an interval of length 2 at most: exact to 2e-15
        middle = (low + high) / 2
        too_large = np.clip(size - middle[:, None], 0.0, room[1]).sum(axis=1) > values
        low, high = np.where(too_large, middle, low), np.where(too_large, high, middle)
    nearest = np.clip(size - high[:, None], 0.0, room[1])
    order = np.argsort(-size, kind="stable")
    largest = np.empty_like(nearest)
    largest[:, order] = np.clip(values[:, None] - (np.cumsum(size[order]) - size[order]), 0.0, size[order])
    reduced = np.where(values[:, None] < size.sum(), (nearest + largest) / 2, nearest)
    side = np.where(observed > 0, 1.0, -1.0) * np.where(reduced > room[0] + _TOLERANCE, -1.0, 1.0)
    return np.asarray(side * reduced, dtype=np.float64)


def _interval(estimate: float, values: FloatArray, simulated: FloatArray, level: float) -> Interval:
    """The candidates that are not rejected, by the rule in the module's docstring.

    Args:
        estimate: The observed error.
        values: Increasing candidate values, the first 0, shape (m,).
        simulated: Estimates simulated for each, shape (m, draws).
        level: Nominal coverage.
    """
    alpha = 1 - level
    below = (simulated < values[:, None] - _TOLERANCE).mean(axis=1)
    at_least = (simulated >= estimate - _TOLERANCE).mean(axis=1)
    at_most = (simulated <= estimate + _TOLERANCE).mean(axis=1)
    from_below = at_least - (alpha - np.minimum(alpha / 2, below))
    accepted = (from_below >= 0) | (values >= estimate)
    first = int(accepted.argmax()) if accepted.any() else values.size - 1
    low = values[first] if first == 0 else _crossing(values, from_below, first - 1)
    from_above = at_most - alpha / 2
    rejected = (from_above < 0) & (values > estimate)
    last = int(rejected.argmax())
    high = _crossing(values, from_above, last - 1) if rejected.any() and last else values[-1]
    return Interval(min(float(low), estimate), min(1.0, max(float(high), estimate)), level, KIND)


def _holding(interval: Interval, estimate: float) -> Interval:
    """The interval, extended to the estimate, from which it may differ by a rounding error."""
    return replace(interval, low=min(interval.low, estimate), high=max(interval.high, estimate))


def _crossing(values: FloatArray, heights: FloatArray, left: int) -> float:
    """Where the line between two neighbouring points crosses height 0; the nearer end if it does not."""
    a, b = heights[left], heights[left + 1]
    share = 1.0 if a == b else min(1.0, max(0.0, a / (a - b)))
    return float(values[left] + share * (values[left + 1] - values[left]))
