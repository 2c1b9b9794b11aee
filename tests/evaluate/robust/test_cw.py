from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.cw import CW, CWConfig
from bench.family import Classifier
from bench.spec import FAMILIES

DISTANCES = [0.05, -0.1, 0.2, -0.3]


def number(outcome: Outcome, metric: str) -> Number:
    (found,) = [number for number in outcome.numbers if number.metric == metric]
    return found


def test_norms_are_bounded_below_by_the_distance_to_the_decision(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    """One pixel at distance d from 1/2: no smaller norm than d can succeed, and C&W ends just beyond it."""
    config = CWConfig(steps=200, c=10.0)
    splits = pixels([0.5 + distance for distance in DISTANCES])
    outcome = CW().evaluate(config, given(model=ramp(20.0), splits=splits))
    keeps_its_word(CW(), config, outcome)
    norms = outcome.items["l2"].astype(np.float64)
    distances = np.abs(DISTANCES)
    assert (norms >= distances - 1e-6).all()
    np.testing.assert_allclose(norms, distances, atol=0.02)
    mean, median, success = (number(outcome, metric) for metric in ("l2", "median", "success"))
    assert mean.value == pytest.approx(norms.mean())
    assert median.value == pytest.approx((norms[1] + norms[2]) / 2)
    assert success.value == 1.0
    assert (mean.n, median.n, success.n) == (4, 4, 4)
    assert (mean.verdict, mean.flags) == ("no warning", {})
    assert outcome.items["success"].all()
    np.testing.assert_array_equal(outcome.items["ids"], splits.test.ids)


def test_failures_are_infinite_in_the_median_and_left_out_of_the_mean(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    """A few small steps reach the decision from 0.005 and 0.01, but not from 0.4."""
    config = CWConfig(steps=6, c=10.0)
    splits = pixels([0.505, 0.49, 0.9, 0.1, 0.95], labels=[1, 0, 1, 0, 0])
    outcome = CW().evaluate(config, given(model=ramp(20.0), splits=splits))
    keeps_its_word(CW(), config, outcome)
    np.testing.assert_array_equal(outcome.items["success"], [True, True, False, False, False])
    np.testing.assert_array_equal(outcome.items["clean"], [True, True, True, True, False])
    np.testing.assert_array_equal(np.isinf(outcome.items["l2"]), [False, False, True, True, True])
    mean, median, success = (number(outcome, metric) for metric in ("l2", "median", "success"))
    assert mean.value == pytest.approx(outcome.items["l2"][:2].astype(np.float64).mean())
    assert (mean.n, success.n) == (2, 4)
    assert success.value == 0.5
    assert median.value is None
    assert median.reason == "fewer than half were broken"
    assert mean.verdict == "inconclusive"
    assert mean.flags == {"MINNORM": "2 of 4 attacked items were not broken"}


def test_where_nothing_succeeds_the_reason_stands_in_place_of_a_number(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    config = CWConfig(steps=1)
    outcome = CW().evaluate(config, given(model=ramp(), splits=pixels([0.99, 0.01])))
    keeps_its_word(CW(), config, outcome)
    assert number(outcome, "l2").reason == "no attack succeeded"
    assert number(outcome, "success").value == 0

    outcome = CW().evaluate(config, given(model=ramp(), splits=pixels([0.99, 0.01], labels=[0, 1])))
    keeps_its_word(CW(), config, outcome)
    norms = [number for number in outcome.numbers if number.metric != "robust"]
    assert {number.reason for number in norms} == {"no item is classified correctly"}
    robust = [number for number in outcome.numbers if number.metric == "robust"]
    assert {(number.value, number.n) for number in robust} == {(0.0, 2)}


def test_it_breaks_classifiers_whose_logits_are_never_positive(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    """The attack library does nothing at all against GMMC's logits unless they are shifted (protocol 4.7)."""

    class Negative(type(ramp())):  # type: ignore[misc]
        def classify(self, features: Any) -> Any:
            return super().classify(features) - 1000

    model = Negative(20.0).eval()
    outcome = CW().evaluate(CWConfig(steps=100, c=10.0), given(model=model, splits=pixels([0.45, 0.55])))
    assert number(outcome, "success").value == 1.0


def test_no_more_than_the_first_items_are_attacked(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    splits = pixels([0.6, 0.4, 0.7, 0.3])
    outcome = CW().evaluate(CWConfig(steps=2, items=3), given(model=ramp(), splits=splits))
    np.testing.assert_array_equal(outcome.items["ids"], splits.test.ids[:3])
    assert number(outcome, "success").n == 3


def test_definitions_come_from_the_parameters() -> None:
    config = CWConfig(steps=7, c=2.5, kappa=1.0, lr=0.1, batch_size=20)
    for column in CW().columns(config):
        assert "cw-l2[7, c=2.5, kappa=1, lr=0.1" in column.definition
        assert "batches of 20" in column.definition
        assert column.group == "C&W-7"
    assert len({column.definition for column in CW().columns(config)}) == 4 + len(config.curve)


def test_cost_in_passes() -> None:
    assert CW().passes(CWConfig(steps=100, items=50), 1000, FAMILIES.get("softmax")) == 50 * 302
