from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.calibration import classwise_ece, ece, ks_error
from bench.metrics.if_calibrated import classwise_ece_if_calibrated, ece_if_calibrated, ks_if_calibrated


def test_one_bin_has_the_mean_and_quantile_of_a_folded_normal():
    """n items of confidence c: the error is |K / n - c| with K binomial."""
    found = ece_if_calibrated(np.full(2500, 0.8), bins=1, draws=20_000)
    sd = math.sqrt(0.8 * 0.2 / 2500)
    assert found.mean == pytest.approx(math.sqrt(2 / math.pi) * sd, rel=0.02)
    assert found.upper == pytest.approx(1.96 * sd, rel=0.04)
    assert found.p_value is None


def test_the_bias_falls_as_one_over_root_n():
    few, many = (
        ece_if_calibrated(1 - np.random.default_rng(0).beta(0.6, 3, n), bins=15, binning="mass").mean
        for n in (500, 10_000)
    )
    assert few / many == pytest.approx(math.sqrt(20), rel=0.1)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("edges", ["right", "left"])
def test_the_simulation_is_that_of_labels_drawn_one_by_one(binning, edges):
    generator = np.random.default_rng(0)
    confidence = generator.choice([0.5, 0.6, 0.75, 0.9, 1.0], size=60)
    by_hand = [ece(confidence, generator.uniform(size=60) < confidence, 10, binning, edges) for _ in range(4000)]
    found = ece_if_calibrated(confidence, bins=10, binning=binning, edges=edges, draws=4000)
    assert found.mean == pytest.approx(np.mean(by_hand), rel=0.03)
    assert found.upper == pytest.approx(np.quantile(by_hand, 0.95), rel=0.06)


def test_classwise_and_ks_are_those_of_labels_drawn_one_by_one():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(3), size=50)
    labels = [(probs.cumsum(axis=1) < generator.uniform(size=(50, 1))).sum(axis=1) for _ in range(1500)]
    by_hand = [classwise_ece(probs, y, bins=5) for y in labels]
    assert classwise_ece_if_calibrated(probs, bins=5, draws=1500).mean == pytest.approx(np.mean(by_hand), rel=0.03)
    confidence = np.sort(generator.choice([0.5, 0.6, 0.75, 1.0], size=50))
    by_hand = [ks_error(confidence, generator.uniform(size=50) < confidence) for _ in range(1500)]
    assert ks_if_calibrated(confidence, draws=1500).mean == pytest.approx(np.mean(by_hand), rel=0.08)


@pytest.mark.parametrize("true_gap", [0.0, 0.2])
def test_p_values_are_uniform_under_calibration_and_small_without(true_gap):
    generator = np.random.default_rng(1)
    found = []
    for seed in range(200):
        confidence = generator.uniform(0.5, 1, 150)
        correct = generator.uniform(size=150) < confidence - true_gap
        found.append(ece_if_calibrated(confidence, correct, bins=10, seed=seed, draws=200).p_value)
    below = np.mean(np.array(found) < 0.05)
    assert below > 0.9 if true_gap else below < 0.1
    assert abs(np.mean(found) - 0.5) < 0.07 or true_gap


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from(["width", "mass"]), st.integers(0, 5))
def test_any_confidences_give_numbers_in_range_and_the_seed_decides_them(confidence, binning, seed):
    found = ece_if_calibrated(confidence, np.zeros(len(confidence)), binning=binning, seed=seed, draws=100)
    assert 0 <= found.mean <= found.upper + 0.5
    assert 0 <= found.upper <= 1
    assert 0 < found.p_value <= 1
    assert found == ece_if_calibrated(confidence, np.zeros(len(confidence)), binning=binning, seed=seed, draws=100)


def test_blocks_of_draws_do_not_change_the_result(monkeypatch):
    confidence = np.linspace(0.3, 1, 70)
    whole = ece_if_calibrated(confidence, draws=150), ks_if_calibrated(confidence, draws=150)
    monkeypatch.setattr("bench.metrics.if_calibrated._BLOCK", 700)
    assert (ece_if_calibrated(confidence, draws=150), ks_if_calibrated(confidence, draws=150)) == whole


def test_certain_confidences_have_no_error():
    found = ece_if_calibrated([1.0, 1.0, 0.0], [True, True, False])
    assert (found.mean, found.upper, found.p_value) == (0, 0, 1)


def test_bad_options_are_refused():
    for function in (ece_if_calibrated, ks_if_calibrated):
        with pytest.raises(ValueError, match="draws"):
            function([0.5], draws=10)
        with pytest.raises(ValueError, match="level"):
            function([0.5], level=0)
    with pytest.raises(ValueError, match="draws"):
        classwise_ece_if_calibrated([[0.5, 0.5]], draws=10)
