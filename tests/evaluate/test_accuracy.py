from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.evaluate.accuracy import Accuracy, AccuracyConfig
from bench.evaluate.base import Need
from bench.spec import FAMILIES


def test_by_hand(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    logits = np.array([[2.0, 1, 0], [0, -1, -2], [-9, -8, -8.5], [0, 0, 1]], dtype=np.float32)
    test = {"logits": logits, "labels": np.array([0, 1, 1, 2]), "ids": np.array([7, 3, 8, 1])}
    outcome = Accuracy().evaluate(AccuracyConfig(), given({"test/forward": test}))
    keeps_its_word(Accuracy(), AccuracyConfig(), outcome)
    (number,) = outcome.numbers
    assert (number.value, number.n) == (0.75, 4)
    np.testing.assert_array_equal(outcome.items["correct"], [True, False, True, True])
    np.testing.assert_array_equal(outcome.items["ids"], [7, 3, 8, 1])
    # Wilson's score interval of 3 in 4 at 95 %.
    assert number.interval is not None
    assert (number.interval.low, number.interval.high) == pytest.approx((0.300642, 0.954413), abs=1e-6)
    assert number.interval.kind == "wilson"


@pytest.mark.parametrize(("labels", "value"), [([0, 0], 1.0), ([1, 1], 0.0)])
def test_extremes_have_an_interval(given: Callable[..., Any], labels: list[int], value: float) -> None:
    test = {"logits": np.array([[1.0, 0], [2, 0]]), "labels": np.array(labels), "ids": np.arange(2)}
    (number,) = Accuracy().evaluate(AccuracyConfig(), given({"test/forward": test})).numbers
    assert number.value == value
    assert number.interval is not None
    assert 0 <= number.interval.low < number.interval.high <= 1


def test_it_reads_shared_predictions_alone() -> None:
    assert Accuracy().needs(AccuracyConfig()) == (Need("test", "forward"),)
    assert not Accuracy().reads_model
    assert Accuracy().passes(AccuracyConfig(), 100, FAMILIES.get("jem")) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_items_without_finite_logits_are_wrong(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], bad: float
) -> None:
    """An argmax puts a row of NaN into class 0, the class of all these items."""
    logits = np.array([[2.0, 1], [bad, bad], [2.0, bad], [bad, 2.0]], dtype=np.float32)
    test = {"logits": logits, "labels": np.zeros(4, dtype=np.int64), "ids": np.arange(4)}
    outcome = Accuracy().evaluate(AccuracyConfig(), given({"test/forward": test}))
    keeps_its_word(Accuracy(), AccuracyConfig(), outcome)
    (number,) = outcome.numbers
    assert (number.value, number.n, number.not_finite) == (0.25, 4, 3)
    assert number.note == "3 of 4 test items have no finite logits and count as wrong"
    np.testing.assert_array_equal(outcome.items["correct"], [True, False, False, False])


def test_a_model_without_any_finite_logit_has_no_accuracy_but_a_reason(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    test = {"logits": np.full((9, 3), np.nan), "labels": np.arange(9) % 3, "ids": np.arange(9)}
    outcome = Accuracy().evaluate(AccuracyConfig(), given({"test/forward": test}))
    keeps_its_word(Accuracy(), AccuracyConfig(), outcome)
    (number,) = outcome.numbers
    assert (number.value, number.interval, number.not_finite) == (None, None, 9)
    assert number.reason == "9 of 9 test items have no finite logits"
