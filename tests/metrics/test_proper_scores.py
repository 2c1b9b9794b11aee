from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.proper_scores import brier, brier_decomposition, brier_values, nll, nll_values


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_uniform_predictions(classes):
    labels = np.arange(classes)
    uniform = np.full((classes, classes), 1 / classes)
    assert nll(np.log(uniform), labels) == pytest.approx(math.log(classes))
    assert brier(uniform, labels) == pytest.approx(1 - 1 / classes)


def test_certain_predictions():
    certain = np.eye(3)
    with np.errstate(divide="ignore"):
        log_certain = np.log(certain)
    assert nll(log_certain, [0, 1, 2]) == 0.0
    assert nll(log_certain, [0, 1, 1]) == math.inf
    assert brier(certain, [0, 1, 2]) == 0.0
    assert brier(certain, [1, 2, 0]) == 2.0


@pytest.mark.peer
def test_nll_and_brier_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(4), size=300)
    labels = generator.integers(4, size=300)
    assert nll(np.log(probs), labels) == pytest.approx(metrics.log_loss(labels, probs), rel=1e-12)
    one_vs_rest = sum(metrics.brier_score_loss(labels == k, probs[:, k]) for k in range(4))
    assert brier(probs, labels) == pytest.approx(one_vs_rest, rel=1e-12)


def test_brier_is_reliability_minus_resolution_plus_uncertainty():
    generator = np.random.default_rng(0)
    forecast = generator.choice([0.1, 0.35, 0.8], size=400)
    outcome = (generator.uniform(size=400) < 0.6).astype(int)
    base = outcome.mean()
    decomposition = base * (1 - base)
    for value in np.unique(forecast):
        group = outcome[forecast == value]
        decomposition += group.size / 400 * ((value - group.mean()) ** 2 - (group.mean() - base) ** 2)
    # Summed over two classes, the score is twice that of the one probability.
    assert brier(np.stack([1 - forecast, forecast], axis=1), outcome) == pytest.approx(2 * decomposition, abs=1e-12)


def test_nll_and_brier_refuse_bad_input():
    with pytest.raises(ValueError, match="logits"):
        nll([[2.0, 1.0]], [0])
    with pytest.raises(ValueError, match="0 … 1"):
        nll(np.log([[0.5, 0.5]]), [2])
    with pytest.raises(ValueError, match="logits"):
        brier([[2.0, -1.0]], [0])


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_the_brier_score_of_binned_forecasts_decomposes_exactly(seed, classes):
    generator = np.random.default_rng(seed)
    forecasts = generator.dirichlet(np.ones(classes), size=4)
    probs = forecasts[generator.integers(4, size=60)]
    labels = generator.integers(classes, size=60)
    parts = brier_decomposition(probs, labels)
    assert parts.within_bins == 0
    assert parts.score == brier(probs, labels)
    assert parts.score == pytest.approx(parts.reliability - parts.resolution + parts.uncertainty, abs=1e-12)
    base = np.bincount(labels, minlength=classes) / 60
    assert parts.uncertainty == pytest.approx(brier(np.tile(base, (60, 1)), labels))
    assert min(parts.reliability, parts.resolution) >= 0


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_parts_add_up_for_any_forecasts_and_bins(seed, bins):
    generator = np.random.default_rng(seed)
    probs = generator.dirichlet(np.ones(3), size=80)
    labels = generator.integers(3, size=80)
    parts = brier_decomposition(probs, labels, bins=bins)
    together = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert together == pytest.approx(brier(probs, labels), abs=1e-12)


def test_a_forecast_of_the_base_rates_is_reliable_without_resolution():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    parts = brier_decomposition(np.tile([0.5, 0.3, 0.2], (10, 1)), labels)
    assert (parts.reliability, parts.resolution) == (pytest.approx(0, abs=1e-15), pytest.approx(0, abs=1e-15))
    assert parts.uncertainty == pytest.approx(0.62)


def test_values_of_items_have_the_scores_as_means():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(3), size=50)
    labels = generator.integers(3, size=50)
    assert nll_values(np.log(probs), labels).mean() == pytest.approx(nll(np.log(probs), labels))
    assert brier_values(probs, labels).mean() == pytest.approx(brier(probs, labels))
    assert str(nll_values([[0.0, -50.0]], [0])[0]) == "0.0"


def test_bins_of_a_decomposition_are_positive():
    with pytest.raises(ValueError, match="at least 1"):
        brier_decomposition([[0.5, 0.5]], [0], bins=0)
