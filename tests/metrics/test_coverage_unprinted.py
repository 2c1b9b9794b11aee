"""Why some numbers are printed without an interval: what known methods cover, by simulation.

docs/intervals.md has the coverages; here the cells are asserted that speak against each method.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from bench.metrics.intervals import normal_quantile, wilson_ends
from bench.metrics.ood import average_precision
from tests.metrics.test_coverage import ITEMS, overconfident, population

Floats = NDArray[np.float64]
Z = normal_quantile(0.95)


def with_variance(positive: Floats, negative: Floats) -> tuple[float, float]:
    """The average precision of scores without ties, and its variance by the infinitesimal jackknife over both sets.

    The influence of a positive item is its own precision and its effect on the precisions at lower thresholds; that of
    a negative item is the latter alone.
    """
    wanted = np.concatenate([np.ones(positive.size), np.zeros(negative.size)])
    wanted = wanted[np.argsort(-np.concatenate([positive, negative]), kind="stable")]
    found, taken = np.cumsum(wanted), np.arange(1, wanted.size + 1)
    value = float((wanted * found / taken).sum() / positive.size)
    gained = np.cumsum((wanted * (1 / taken - found / taken**2))[::-1])[::-1]
    lost = np.cumsum((wanted * found / taken**2)[::-1])[::-1]
    influence = np.where(wanted == 1, found / taken + gained - value, -lost) / positive.size
    sets = influence[wanted == 1], influence[wanted == 0]
    return value, sum(float(one.var(ddof=1)) * one.size for one in sets)


def on_the_logit_scale(value: float, variance: float, _: int) -> tuple[float, float]:
    if value >= 1 or variance == 0:
        return value, value
    half = Z * math.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def wilson_with_limits(value: float, variance: float, fewest: int) -> tuple[float, float]:
    """As `auroc_interval` does it: never more trials than the smaller set allows near 1."""
    most = fewest * (1 + fewest * min(value, 1 - value) / Z**2)
    return wilson_ends(value, most if variance == 0 else min(max(value * (1 - value) / variance, 1), most), Z)


def test_the_variance_is_that_of_the_influence_of_weights() -> None:
    """An item that stands twice changes the value by its influence, to first order in 1/n."""
    generator = np.random.default_rng(0)
    positive, negative = generator.normal(1, 1, 300), generator.normal(0, 1, 200)
    value, variance = with_variance(positive, negative)
    assert value == pytest.approx(average_precision(positive, negative, positive="in"))
    parts = []
    for rows, other, first in ((positive, negative, True), (negative, positive, False)):
        changes = [
            average_precision(*((np.delete(rows, i), other) if first else (other, np.delete(rows, i))), positive="in")
            for i in range(rows.size)
        ]
        parts.append(np.var(changes) * (rows.size - 1) ** 2 / rows.size)
    assert variance == pytest.approx(sum(parts), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "area", "spread", "m", "n", "low", "high"),
    [
        (on_the_logit_scale, 0.99, 1 / 3, 100, 100, 60.0, 75.0),  # too seldom
        (on_the_logit_scale, 0.99, 1 / 3, 400, 400, 80.0, 90.0),
        (wilson_with_limits, 0.9, 1.0, 400, 100, 98.0, 100.0),  # too often, and up to ten times too wide
        (wilson_with_limits, 0.99, 1.0, 400, 100, 98.0, 100.0),
    ],
)
def test_average_precision(
    method: Callable[[float, float, int], tuple[float, float]],
    area: float,
    spread: float,
    m: int,
    n: int,
    low: float,
    high: float,
) -> None:
    """m positive items against n others, normal scores of a given area; the spread is that of the positive ones."""
    shift = float(norm.ppf(area)) * math.sqrt(1 + spread**2)
    generator, hits, samples = np.random.default_rng(0), 0, 1500
    many = 2_000_000 // (m + n)
    truth, _ = with_variance(generator.normal(shift, spread, m * many), generator.normal(0, 1, n * many))
    for _ in range(samples):
        value, variance = with_variance(generator.normal(shift, spread, m), generator.normal(0, 1, n))
        ends = method(value, variance, min(m, n))
        hits += ends[0] <= truth <= ends[1]
    assert low <= 100 * hits / samples <= high


@pytest.mark.slow
def test_mce() -> None:
    """A band of the largest noise of a bin, as of the KS error: bins with one item make it as wide as the range."""
    confidence = population().confidence
    inner = np.linspace(0, 1, 21)[1:-1]
    accuracy, _ = overconfident(confidence, 0.0, inner)
    generator, hits, widths, samples, n = np.random.default_rng(4), 0, 0.0, 400, 100
    for _ in range(samples):
        items = generator.integers(ITEMS, size=n)
        own, correct = confidence[items], generator.random(n) < accuracy[items]
        index = np.searchsorted(inner, own)
        count = np.bincount(index, minlength=20)
        smoothed = (np.bincount(index, weights=correct, minlength=20) + 1) / (count + 2)
        filled = count > 0
        gaps = np.bincount(index, weights=correct - own, minlength=20)[filled] / count[filled]
        drawn = generator.binomial(count[filled], smoothed[filled], size=(200, int(filled.sum()))) / count[filled]
        noise = float(np.quantile(np.abs(drawn - smoothed[filled]).max(axis=1), 0.95))
        estimate = float(np.abs(gaps).max())
        hits += estimate <= noise  # the true error is 0
        widths += (min(1.0, estimate + noise) - max(0.0, estimate - noise)) / samples
    assert hits / samples < 0.9
    assert widths > 0.9
