from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.cw import CW, CWL2, CWConfig, CWL2Config
from bench.family import Classifier
from bench.spec import FAMILIES

DISTANCES = [0.05, -0.1, 0.2, -0.3]
SPREAD = np.array([-0.4, -0.2, -0.1, 0.05, 0.15, 0.3])


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


@pytest.mark.parametrize("targets", ["none", "next-random"])
@pytest.mark.parametrize("slope", [10.0, 1e6])
def test_cw_l2_finds_the_distances_to_the_decision(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
    targets: Any,
    slope: float,
) -> None:
    """One pixel; with two classes the only target is the other one."""
    config = CWL2Config(targets=targets)
    inputs = given(model=ramp(slope), splits=pixels(list(0.5 + SPREAD)))
    outcome = CWL2().evaluate(config, inputs)
    keeps_its_word(CWL2(), config, outcome)
    exact = np.abs(SPREAD)
    norms = outcome.items["l2"]
    assert (norms >= exact * (1 - 1e-5)).all()
    np.testing.assert_allclose(norms, exact, rtol=0.05)
    assert number(outcome, "l2").value == norms.mean()
    assert number(outcome, "median").value == np.median(norms)
    assert number(outcome, "success").value == 1
    assert [n.verdict for n in outcome.numbers] == ["no warning", "no warning", None, *["no warning"] * 5]


def test_failures_of_cw_l2_are_infinite_and_said(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    """One round with a tiny c breaks nothing but the item next to the decision."""
    config = CWL2Config(rounds=1, c0=0.01)
    outcome = CWL2().evaluate(
        config, given(model=ramp(1.0), splits=pixels([0.5001, 0.9, 0.1, 0.2], labels=[1, 1, 0, 1]))
    )
    keeps_its_word(CWL2(), config, outcome)
    np.testing.assert_array_equal(outcome.items["clean"], [True, True, True, False])
    np.testing.assert_array_equal(np.isfinite(outcome.items["l2"]), [True, False, False, False])
    assert (number(outcome, "l2").n, number(outcome, "l2").verdict) == (1, "inconclusive")
    assert number(outcome, "l2").flags == {"MINNORM": "2 of 3 attacked items were not broken"}
    assert (number(outcome, "median").value, number(outcome, "median").reason) == (None, "fewer than half were broken")
    assert number(outcome, "success").value == pytest.approx(1 / 3)


def test_without_a_correct_item_cw_l2_has_no_norm(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    config = CWL2Config(steps=2)
    outcome = CWL2().evaluate(config, given(model=ramp(), splits=pixels([0.1, 0.9], labels=[1, 0])))
    keeps_its_word(CWL2(), config, outcome)
    assert {n.reason for n in outcome.numbers if n.metric != "robust"} == {"no item is classified correctly"}


def test_definitions_of_cw_l2_come_from_the_parameters() -> None:
    column = CWL2().columns(CWL2Config(steps=1000, targets="next-random"))[0]
    assert column.definition == (
        "mean L2 over successes, pixels in [0, 1]: cw-l2[1000 x 9 rounds, c0=0.01, kappa=0, lr=0.01, targets (y + r) "
        "mod K with r uniform in 1..K-1 by seed and id, patience 50, x = 1/2 + tanh(w)/1.9, smallest success of "
        "each image]"
    )
    assert "patience" not in CWL2().columns(CWL2Config())[0].definition
    assert CWL2().label(CWL2Config(steps=1000, targets="next-random")) == "C&W-1000x9 targeted"


def test_mistakes_in_cw_l2_are_named() -> None:
    with pytest.raises(ValidationError, match="patience must be at least 50"):
        CWL2Config(patience=10)
    with pytest.raises(ValidationError, match="targets"):
        CWL2Config.model_validate({"targets": "least-likely"})


def test_cost_of_cw_l2_in_passes() -> None:
    assert CWL2().passes(CWL2Config(steps=10, rounds=3, items=5), 100, None) == 5 * (2 * 10 * 3 + 3)  # type: ignore[arg-type]
