from __future__ import annotations

import numpy as np
import pytest

from bench.metrics import arrays


def test_vector_converts_to_float64_and_keeps_infinities():
    result = arrays.vector("scores", np.array([1, np.inf, -np.inf], dtype=np.float32))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [1, np.inf, -np.inf])


def test_nan_is_refused_with_its_count():
    with pytest.raises(ValueError, match="scores must not be NaN, got 2 NaN of 3 values"):
        arrays.vector("scores", [np.nan, 0.0, np.nan])
    with pytest.raises(ValueError, match="logits must not be NaN, got 1 NaN of 4 values"):
        arrays.matrix("logits", [[np.nan, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("values", [[[1.0]], 1.0, []])
def test_vector_refuses_other_shapes_and_no_values(values):
    with pytest.raises(ValueError, match="scores"):
        arrays.vector("scores", values)


@pytest.mark.parametrize("values", [[1.0], [[]], np.zeros((0, 3)), np.zeros((1, 1, 1))])
def test_matrix_refuses_other_shapes(values):
    with pytest.raises(ValueError, match=r"logits must have shape \(n, m\)"):
        arrays.matrix("logits", values)


def test_finite_matrix_refuses_infinities():
    with pytest.raises(ValueError, match="got 1 infinite of 2"):
        arrays.finite_matrix("logits", [[0.0, -np.inf]])


def test_probabilities_refuse_logits_and_rows_that_do_not_sum_to_one():
    with pytest.raises(ValueError, match="were logits passed"):
        arrays.probabilities("probs", [[3.0, -2.0]])
    # Logits that happen to lie in [0, 1] are caught by their sum.
    with pytest.raises(ValueError, match=r"must sum to probability 1, got a row with 1\.2"):
        arrays.probabilities("probs", [[0.5, 0.5], [0.5, 0.7]])


def test_log_probabilities_refuse_logits_but_keep_minus_infinity():
    with pytest.raises(ValueError, match="were logits passed"):
        arrays.log_probabilities("log_probs", [[3.0, -2.0]])
    with pytest.raises(ValueError, match="must sum to probability 1"):
        arrays.log_probabilities("log_probs", [[-3.0, -2.0]])
    np.testing.assert_array_equal(arrays.log_probabilities("log_probs", [[0.0, -np.inf]]), [[0.0, -np.inf]])


@pytest.mark.parametrize("classes", [10, 1000])
def test_a_float32_log_softmax_passes_the_check(classes):
    logits = np.random.default_rng(0).normal(scale=50, size=(100, classes)).astype(np.float32)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert arrays.log_probabilities("log_probs", log_probs).shape == (100, classes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.0], "integers"),
        ([True, False], "integers"),
        ([0, 1, 1], r"shape \(2,\)"),
        ([0, 3], "0 … 2"),
        ([-1, 0], "0 … 2"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        arrays.class_labels(labels, 2, 3)


def test_correctness_takes_booleans_or_zero_and_one():
    np.testing.assert_array_equal(arrays.correctness("correct", [1, 0]), [True, False])
    np.testing.assert_array_equal(arrays.correctness("correct", [True, False]), [True, False])
    with pytest.raises(ValueError, match="0 and 1 only"):
        arrays.correctness("correct", [0, 2])
