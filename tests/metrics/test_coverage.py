"""Simulated coverage of the intervals of calibration metrics, for a population of 400,000 items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logit, softmax

from bench.metrics.calibration import debiased_ece
from bench.metrics.calibration_intervals import classwise_ece_interval, ece_interval, ks_interval
from bench.metrics.intervals import Interval, bootstrap_mean
from bench.metrics.proper_scores import brier_values, nll_values
from bench.metrics.reliability import bin_edges
from bench.metrics.selective import aurc_interval, risk_coverage
from bench.metrics.temperature import temperature_interval

pytestmark = pytest.mark.slow

ITEMS = 400_000
TRIALS = 500
SIZES = (100, 400, 2000)
NOISE = 0.02
"""Two standard errors of a coverage of 95 % over 500 trials."""
LEAST, MOST = 0.93 - NOISE, 0.97 + NOISE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Logits of ten classes and labels drawn from their softmax; the largest probability is calibrated."""

    logits: Floats
    labels: NDArray[np.int64]

    @property
    def confidence(self) -> Floats:
        """The largest probability of each item, increasing."""
        values: Floats = np.sort(softmax(self.logits, axis=1).max(axis=1))
        return values


@cache
def population() -> Population:
    generator = np.random.default_rng(7)
    logits = 2 * generator.normal(size=(ITEMS, 10))
    logits[:, 0] += 4 + 2 * generator.normal(size=ITEMS)
    return Population(logits, (logits + generator.gumbel(size=logits.shape)).argmax(axis=1))


def error_of(cumulated: Floats, confidence: Floats, inner: Floats) -> float:
    """The ECE of the population with these inner edges, from its cumulated gaps in the order of confidence."""
    ends = np.concatenate([[0], np.searchsorted(confidence, inner, side="right"), [confidence.size]])
    return float(np.abs(np.diff(cumulated[ends])).sum() / confidence.size)


def overconfident(confidence: Floats, error: float, inner: Floats) -> tuple[Floats, Floats]:
    """Accuracies at a temperature such that the ECE of the population is the given one, and the cumulated gaps."""
    low, high = 0.0, 1.0
    log_odds = logit(np.clip(confidence, 1e-12, 1 - 1e-12))
    for _ in range(40 if error else 0):
        middle = (low + high) / 2
        cumulated = np.concatenate([[0.0], np.cumsum(expit((1 - middle) * log_odds) - confidence)])
        low, high = (middle, high) if error_of(cumulated, confidence, inner) < error else (low, middle)
    accuracy = expit((1 - low) * log_odds) if error else confidence
    return accuracy, np.concatenate([[0.0], np.cumsum(accuracy - confidence)])


def covered(interval: Interval | None, value: float) -> bool:
    assert interval is not None
    return interval.low - 1e-12 <= value <= interval.high + 1e-12


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("error", [0.0, 0.02, 0.05, 0.15])
@pytest.mark.parametrize(("bins", "binning"), [(20, "width"), (15, "width"), (15, "mass")])
def test_ece(bins: int, binning: str, error: float, n: int) -> None:
    """Where the bias exceeds the true error, no estimate lies below it, and more than 95 % may be covered."""
    confidence = population().confidence
    inner = bin_edges(confidence, bins, binning)[1:-1]
    accuracy, cumulated = overconfident(confidence, error, inner)
    generator, hits = np.random.default_rng(11), 0
    for trial in range(TRIALS):
        items = generator.integers(ITEMS, size=n)
        own, correct = confidence[items], generator.random(n) < accuracy[items]
        true = error_of(cumulated, confidence, bin_edges(own, bins, binning)[1:-1])
        hits += covered(ece_interval(own, correct, bins=bins, binning=binning, seed=trial, draws=200), true)
    assert hits / TRIALS >= LEAST
    assert hits / TRIALS <= MOST or 0 < error * np.sqrt(n) < 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("error", [0.0, 0.02, 0.05, 0.15])
def test_debiased_ece(error: float, n: int) -> None:
    """It estimates the same number as the ECE and has its interval, extended to the value where that lies below."""
    confidence = population().confidence
    accuracy, cumulated = overconfident(confidence, error, np.linspace(0, 1, 21)[1:-1])
    true = error_of(cumulated, confidence, np.linspace(0, 1, 21)[1:-1])
    generator, hits = np.random.default_rng(12), 0
    for trial in range(TRIALS):
        items = generator.integers(ITEMS, size=n)
        own, correct = confidence[items], generator.random(n) < accuracy[items]
        found = ece_interval(own, correct, seed=trial, draws=200)
        hits += covered(replace(found, low=min(found.low, debiased_ece(own, correct))), true)
    assert hits / TRIALS >= LEAST
    assert hits / TRIALS <= MOST or error


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 0.8, 0.5, 0.25])
def test_classwise_ece(scale: float, n: int) -> None:
    """Labels follow the softmax of the scaled logits: 1 is calibrated, less is overconfident."""
    logits = population().logits
    stated, true = softmax(logits, axis=1), softmax(scale * logits, axis=1)
    error = 0.0
    for k in range(10):
        gaps = np.bincount(
            np.searchsorted(np.linspace(0, 1, 21)[1:-1], stated[:, k]), weights=true[:, k] - stated[:, k]
        )
        error += float(np.abs(gaps).sum()) / ITEMS / 10 if scale < 1 else 0.0
    generator, hits, trials = np.random.default_rng(3), 0, 300
    for trial in range(trials):
        items = generator.integers(ITEMS, size=n)
        labels = (scale * logits[items] + generator.gumbel(size=(n, 10))).argmax(axis=1)
        hits += covered(classwise_ece_interval(stated[items], labels, seed=trial, draws=200), error)
    assert hits / trials >= LEAST
    assert hits / trials <= MOST or scale < 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("error", [0.0, 0.05, 0.15])
def test_ks(error: float, n: int) -> None:
    """The band covers as claimed at calibration, and more where one place has the largest gap by far."""
    confidence = population().confidence
    accuracy, cumulated = overconfident(confidence, error, np.linspace(0, 1, 21)[1:-1])
    true = float(np.abs(cumulated).max() / ITEMS)
    generator, hits = np.random.default_rng(11), 0
    for trial in range(TRIALS):
        items = generator.integers(ITEMS, size=n)
        correct = generator.random(n) < accuracy[items]
        hits += covered(ks_interval(confidence[items], correct, seed=trial, draws=200), true)
    assert hits / TRIALS >= LEAST
    assert error or hits / TRIALS <= MOST


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 12.0])
@pytest.mark.parametrize("values_of", [nll_values, brier_values])
def test_means_of_calibrated_and_of_overconfident_models(values_of: object, scale: float, n: int) -> None:
    everything = population()
    log_probs = log_softmax(scale * everything.logits, axis=1)
    values = nll_values(log_probs, everything.labels)
    if values_of is brier_values:
        values = brier_values(np.exp(log_probs), everything.labels)
    generator = np.random.default_rng(11)
    drawn = [values[generator.integers(ITEMS, size=n)] for _ in range(TRIALS)]
    found = [covered(bootstrap_mean(one, seed=i, resamples=500), values.mean()) for i, one in enumerate(drawn)]
    assert LEAST <= np.mean(found) <= MOST


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_temperature(scale: float, n: int) -> None:
    everything = population()
    generator, hits = np.random.default_rng(11), 0
    for trial in range(TRIALS):
        items = generator.integers(ITEMS, size=n)
        logits = scale * everything.logits[items]
        hits += covered(temperature_interval(logits, everything.labels[items], seed=trial, resamples=500), scale)
    assert LEAST <= hits / TRIALS <= MOST


@pytest.mark.parametrize("n", SIZES)
def test_aurc(n: int) -> None:
    everything = population()
    confidence = softmax(everything.logits, axis=1).max(axis=1)
    correct = everything.logits.argmax(axis=1) == everything.labels
    true = risk_coverage(confidence, correct).aurc
    generator, hits = np.random.default_rng(11), 0
    for trial in range(TRIALS):
        items = generator.integers(ITEMS, size=n)
        hits += covered(aurc_interval(confidence[items], correct[items], seed=trial, resamples=300), true)
    assert LEAST <= hits / TRIALS <= MOST


def test_the_percentile_bootstrap_of_an_ece_would_fail() -> None:
    """Resampling adds the noise a second time: at calibration the percentile interval always misses 0."""
    confidence = population().confidence
    generator, hits = np.random.default_rng(11), 0
    for _ in range(50):
        items = generator.integers(ITEMS, size=400)
        own, correct = confidence[items], generator.random(400) < confidence[items]
        index = np.searchsorted(np.linspace(0, 1, 21)[1:-1], own)
        gaps = np.zeros((400, 20))
        gaps[np.arange(400), index] = correct - own
        weights = generator.multinomial(400, np.full(400, 1 / 400), size=200)
        low, high = np.quantile(np.abs(weights @ gaps).sum(axis=1) / 400, [0.025, 0.975])
        hits += low <= 0 <= high
    assert hits == 0


def test_the_percentile_bootstrap_of_a_mean_covers_less_than_the_bootstrap_t() -> None:
    everything = population()
    values = nll_values(log_softmax(12 * everything.logits, axis=1), everything.labels)
    generator = np.random.default_rng(11)
    drawn = [values[generator.integers(ITEMS, size=100)] for _ in range(TRIALS)]
    of_t = np.mean([covered(bootstrap_mean(one, seed=i, resamples=500), values.mean()) for i, one in enumerate(drawn)])
    hits = 0
    for one in drawn:
        means = one[generator.integers(100, size=(500, 100))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        hits += low <= values.mean() <= high
    assert hits / TRIALS < of_t
