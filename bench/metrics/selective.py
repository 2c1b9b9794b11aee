"""Selective prediction: the error of a classifier that abstains where its confidence is low."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, correct_of, correctness, require_at_least, vector
from bench.metrics.intervals import Interval, normal_quantile
from bench.metrics.resampling import bootstrap_draws

__all__ = ["RiskCoverage", "aurc_interval", "aurc_resamples", "risk_coverage"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The risk-coverage curve of a confidence, one point per distinct confidence.

    Attributes:
        threshold: The distinct confidences, falling, shape (m,). A point is about the items with at least this one.
        coverage: Share of items that are predicted, in (0, 1], rising to 1, shape (m,).
        risk: Share of errors among the predicted items, in [0, 1], shape (m,).
        aurc: Area under the risk-coverage curve, in [0, 1], 0 is best: the mean over k = 1 … n of the expected risk of
            the k most confident items.
        excess: ``aurc`` less that of a confidence which ranks all errors last (E-AURC), >= 0.
    """

    threshold: FloatArray
    coverage: FloatArray
    risk: FloatArray
    aurc: float
    excess: float


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """The risk-coverage curve and its area (Geifman and El-Yaniv 2017; excess: Geifman et al. 2019, section 3).

    Items with equal confidence are accepted together. Within such a group the expected number of errors rises linearly
    with the number of items taken, which is the mean over all orders of the ties; the result therefore does not depend
    on the order of the items. For distinct confidences the area is that of the original definition.

    Args:
        confidence: Higher = more certain, shape (n,); probabilities or any other score, infinities included.
        correct: Whether the prediction was right, shape (n,), booleans or 0/1.

    Raises:
        ValueError: On NaN, no items, or unequal lengths.

    >>> curve = risk_coverage([0.9, 0.8, 0.7], [1, 0, 1])
    >>> curve.coverage.round(3), curve.risk.round(3), round(curve.aurc, 6)  # (0 + 1/2 + 1/3) / 3
    (array([0.333, 0.667, 1.   ]), array([0.   , 0.5  , 0.333]), 0.277778)
    >>> risk_coverage([0.5, 0.5], [1, 0]).aurc  # the error comes first or last: (3/4 + 1/4) / 2
    0.5
    """
    score = vector("confidence", confidence)
    wrong = ~correct_of(score, correct)
    n = score.size
    distinct, group = np.unique(-score, return_inverse=True)
    sizes = np.bincount(group)
    errors = np.bincount(group, weights=wrong)
    taken, failed = np.cumsum(sizes), np.cumsum(errors)
    area = _area(errors.astype(np.float64), sizes)
    most = int(wrong.sum())
    best = float((np.maximum(np.arange(1, n + 1) - (n - most), 0) / np.arange(1, n + 1)).mean())
    return RiskCoverage(-distinct, taken / n, failed / taken, area, max(0.0, area - best))


def aurc_resamples(confidence: npt.ArrayLike, correct: npt.ArrayLike, draws: int, seed: int) -> FloatArray:
    """The AURC of resamples of the items with replacement, shape (draws,), for a bootstrap.

    Args:
        confidence: As in `risk_coverage`.
        correct: As in `risk_coverage`.
        draws: Number of resamples.
        seed: Seed of the resampling.

    >>> aurc_resamples([0.9, 0.8], [1, 1], draws=2, seed=0)
    array([0., 0.])
    """
    score, wrong = vector("confidence", confidence), ~correctness("correct", correct)
    _, group = np.unique(-score, return_inverse=True)
    found = np.empty(draws)
    groups = int(group.max()) + 1
    for draw, items in enumerate(bootstrap_draws(score.size, draws, seed)):
        sizes = np.bincount(group[items], minlength=groups)
        errors = np.bincount(group[items], weights=wrong[items], minlength=groups)
        found[draw] = _area(errors.astype(np.float64), sizes)
    return found


def _area(errors: FloatArray, sizes: npt.NDArray[np.int64]) -> float:
    """The area, from errors and items by group in the order of acceptance, each of shape (m,).

    After i of the s items of a group, whose e errors are in random order, E + e i / s errors are expected among T + i
    items, where E and T are those of the groups before. The sum of that risk over i is e + (E - T e / s) times the sum
    of 1 / (T + i), a difference of harmonic numbers.
    """
    n = int(sizes.sum())
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])
    after = np.cumsum(sizes)
    before, errors_before = after - sizes, np.cumsum(errors) - errors
    rate = np.divide(errors, sizes, out=np.zeros(errors.size), where=sizes > 0)
    inside = errors + (errors_before - before * rate) * (harmonic[after] - harmonic[before])
    return min(1.0, max(0.0, float(inside.sum()) / n))


def aurc_interval(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 1000
) -> Interval | None:
    """Interval of the AURC over items: bootstrap standard error on the scale of the square root, cut to [0, 1].

    Args:
        confidence: As in `risk_coverage`, with n >= 2.
        correct: As in `risk_coverage`.
        seed: Seed of the resampling; the result is a function of the arguments alone.
        level: Nominal coverage, in (0, 1).
        resamples: Number of resamples, at least 100.

    Returns:
        The interval; None for a single item, or if all resamples agree because all items are right or all are wrong.

    Raises:
        ValueError: On bad arrays, a level outside (0, 1), or resamples < 100.

    >>> interval = aurc_interval(np.arange(100), np.arange(100) % 10 > 0, seed=0)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.03, 0.16)
    """
    z = normal_quantile(level)
    require_at_least("resamples", resamples, 100)
    area = risk_coverage(confidence, correct).aurc
    found = aurc_resamples(confidence, correct, resamples, seed)
    if np.ptp(found) <= 1e-12:
        return None
    # The variance grows about as the area, as that of a count does, so that of its root is about constant.
    half = z * float(found.std()) / (2 * math.sqrt(area)) if area else 0.0
    low, high = max(0.0, math.sqrt(area) - half) ** 2, min(1.0, math.sqrt(area) + half) ** 2
    return Interval(low, high, level, "bootstrap error, square-root scale")
