from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit, softmax

from bench.scores.probability import max_probability


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
