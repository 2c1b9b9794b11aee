from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit, softmax

from bench.scores.logits import energy, max_logit, max_probability


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_the_score_is_the_log_odds_of_the_largest_probability(seed, classes):
    logits = np.random.default_rng(seed).normal(scale=3, size=(20, classes))
    largest = softmax(logits, axis=1).max(axis=1)
    scores = max_probability(logits)
    np.testing.assert_allclose(scores, logit(largest), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(largest))


@given(st.integers(0, 10_000), st.floats(-1e4, 1e4))
def test_a_constant_and_the_order_of_classes_change_nothing(seed, constant):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=30, size=(10, 5))
    scores = max_probability(logits)
    np.testing.assert_allclose(max_probability(logits + constant), scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(max_probability(logits[:, ::-1]), scores, rtol=1e-12, atol=1e-12)


def test_two_classes_give_the_margin_and_equal_logits_the_smallest_score():
    np.testing.assert_allclose(max_probability([[5.0, -2.0], [1.0, 1.0]]), [7.0, 0.0])
    np.testing.assert_allclose(max_probability([[3.0, 3.0, 3.0]]), [-np.log(2)])


def test_float32_logits_of_large_margins_give_no_ties():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2000, 10)).astype(np.float32)
    logits[:, 3] += np.linspace(20, 80, 2000, dtype=np.float32)
    saturated = softmax(logits, axis=1).max(axis=1)
    assert len(np.unique(saturated)) < 500
    assert len(np.unique(max_probability(logits))) == 2000


def test_logits_are_left_as_they_were():
    logits = np.array([[1.0, 2.0]])
    max_probability(logits)
    np.testing.assert_array_equal(logits, [[1.0, 2.0]])


def test_logits_far_apart_stay_finite():
    np.testing.assert_allclose(max_probability([[0.0, -5e4, -6e4]]), [5e4])


@pytest.mark.parametrize("logits", [[1.0, 2.0], [[1.0], [2.0]]])
def test_wrong_shapes_are_refused(logits):
    with pytest.raises(ValueError, match="K >= 2"):
        max_probability(logits)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="got 1 of 4"):
        max_probability([[bad, 0.0], [0.0, 1.0]])


@given(st.integers(0, 10_000), st.floats(-1e4, 1e4))
def test_a_constant_shifts_the_energy_and_the_largest_logit(seed, constant):
    logits = np.random.default_rng(seed).normal(scale=30, size=(10, 5))
    np.testing.assert_allclose(energy(logits + constant), energy(logits) + constant, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(max_logit(logits + constant), max_logit(logits) + constant, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 10_000))
def test_the_energy_lies_between_the_largest_logit_and_log_k_above(seed):
    logits = np.random.default_rng(seed).normal(scale=30, size=(10, 5))
    excess = energy(logits) - max_logit(logits)
    assert (excess >= 0).all()
    assert (excess <= np.log(5) + 1e-12).all()


def test_the_energy_of_large_squared_distances_does_not_underflow():
    """A sum of float32 exponentials is 0, and its logarithm -inf, from a squared distance of 208 on."""
    distances = np.array([[300.0, 310.0]], dtype=np.float32)
    np.testing.assert_allclose(energy(-distances / 2), [-150 + np.log1p(np.exp(-5))], rtol=1e-12)


@pytest.mark.parametrize("score", [energy, max_logit])
def test_bad_logits_are_refused_by_energy_and_largest_logit(score):
    with pytest.raises(ValueError, match="got 1 of 4"):
        score([[np.nan, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="K >= 1"):
        score([1.0, 2.0])


@pytest.mark.peer
def test_agreement_with_pytorch_ood():
    detector = pytest.importorskip("pytorch_ood.detector")
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(scale=5, size=(200, 7))
    tensor = torch.from_numpy(logits)
    np.testing.assert_allclose(-detector.EnergyBased.score(tensor).numpy(), energy(logits), rtol=1e-10)
    np.testing.assert_allclose(-detector.MaxLogit.score(tensor).numpy(), max_logit(logits), rtol=1e-12)
    # Its softmax rounds to 1 where the log-odds still differ, so that only the order without ties agrees.
    softmax = -detector.MaxSoftmax.score(tensor).numpy()
    order = np.argsort(max_probability(logits))
    assert (np.diff(softmax[order]) >= 0).all()
