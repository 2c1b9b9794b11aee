from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.calibration import classwise_ece, ece, ks_error
from bench.metrics.calibration_intervals import classwise_ece_interval, ece_interval, ks_interval

cases = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.floats(0, 1)), st.booleans()), min_size=1, max_size=40
).map(lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True)))


@settings(deadline=None, max_examples=40)
@given(cases, st.sampled_from([1, 5, 20]), st.sampled_from(["width", "mass"]), st.sampled_from(["right", "left"]))
def test_an_interval_holds_its_estimate_within_the_range(case, bins, binning, edges):
    confidence, correct = case
    interval = ece_interval(confidence, correct, bins=bins, binning=binning, edges=edges, draws=100)
    assert 0 <= interval.low <= ece(confidence, correct, bins, binning, edges) <= interval.high <= 1
    interval = ks_interval(confidence, correct, draws=100)
    assert 0 <= interval.low <= ks_error(confidence, correct) <= interval.high <= 1


def overconfident(n: int, gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.6, 1, n)
    return confidence, generator.uniform(size=n) < confidence - gap


@pytest.mark.parametrize("interval", [ece_interval, ks_interval])
def test_far_from_calibration_it_is_that_of_the_mean_gap(interval):
    """All gaps have one sign, so the error is the mean gap, with the standard error of a proportion."""
    confidence, correct = overconfident(2000, 0.3)
    found = interval(confidence, correct, draws=1000)
    half = 1.96 * np.std(confidence - correct) / np.sqrt(2000)
    assert found.low == pytest.approx((confidence - correct).mean() - half, abs=0.008)
    assert found.high == pytest.approx((confidence - correct).mean() + half, abs=0.008)


def test_calibrated_predictions_are_usually_not_told_from_calibration_and_others_are():
    for interval in (ece_interval, ks_interval):
        low = [interval(*overconfident(300, 0.0, seed), draws=200).low for seed in range(40)]
        assert sum(end > 0 for end in low) <= 6
        assert interval(*overconfident(300, 0.2), draws=200).low > 0.1


def test_classwise_of_two_classes_is_that_of_the_probability_of_the_first():
    generator = np.random.default_rng(0)
    p = generator.uniform(size=300)
    probs, labels = np.stack([p, 1 - p], axis=1), (generator.uniform(size=300) > p**2).astype(int)
    assert classwise_ece_interval(probs, labels, bins=5) == ece_interval(p, labels == 0, bins=5)


def test_classwise_holds_its_estimate():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(6), size=400)
    labels = generator.integers(6, size=400)
    interval = classwise_ece_interval(probs, labels, bins=10)
    assert 0 < interval.low < classwise_ece(probs, labels, bins=10) < interval.high < 0.3


def test_the_seed_decides_the_interval():
    case = overconfident(100, 0.1)
    assert ece_interval(*case, seed=3) == ece_interval(*case, seed=3)
    assert ks_interval(*case, seed=3) == ks_interval(*case, seed=3)


def test_bad_options_are_refused():
    for interval in (ece_interval, ks_interval):
        with pytest.raises(ValueError, match="level"):
            interval([0.5], [1], level=0)
        with pytest.raises(ValueError, match="draws"):
            interval([0.5], [1], draws=10)
        with pytest.raises(ValueError, match="one length"):
            interval([0.5, 0.5], [1])


@pytest.mark.parametrize("interval", [ece_interval, ks_interval])
def test_certain_predictions_that_are_all_right_may_be_wrong_in_three_of_n(interval):
    """Of 64 right ones the probability is 2.5 % if 5.6 % are wrong (Clopper and Pearson 1934)."""
    found = interval(np.full(64, 1 - 1e-9), np.ones(64), draws=2000)
    assert found.low == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 64), abs=0.018)
