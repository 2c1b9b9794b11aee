from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.cw_l2 import CWL2, CWL2Config, next_random
from bench.family import Classifier

DISTANCES = np.array([-0.4, -0.2, -0.1, 0.05, 0.15, 0.3])


def number(outcome: Outcome, metric: str) -> Number:
    (found,) = [number for number in outcome.numbers if number.metric == metric]
    return found


@pytest.mark.parametrize("targets", ["none", "next-random"])
@pytest.mark.parametrize("slope", [10.0, 1e6])
def test_norms_are_distances_to_the_decision(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
    targets: Any,
    slope: float,
) -> None:
    """One pixel; with two classes the only target is the other one."""
    config = CWL2Config(targets=targets)
    inputs = given(model=ramp(slope), splits=pixels(list(0.5 + DISTANCES)))
    outcome = CWL2().evaluate(config, inputs)
    keeps_its_word(CWL2(), config, outcome)
    exact = np.abs(DISTANCES)
    norms = outcome.items["l2"]
    assert (norms >= exact * (1 - 1e-5)).all()
    np.testing.assert_allclose(norms, exact, rtol=0.05)
    assert number(outcome, "l2").value == norms.mean()
    assert number(outcome, "median").value == np.median(norms)
    assert number(outcome, "success").value == 1
    assert [n.verdict for n in outcome.numbers] == ["no warning", "no warning", None, *["no warning"] * 5]


def test_failures_are_infinite_and_said(
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


def test_without_a_correct_item_there_is_no_norm(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    config = CWL2Config(steps=2)
    outcome = CWL2().evaluate(config, given(model=ramp(), splits=pixels([0.1, 0.9], labels=[1, 0])))
    keeps_its_word(CWL2(), config, outcome)
    assert {n.reason for n in outcome.numbers if n.metric != "robust"} == {"no item is classified correctly"}


def test_targets_are_uniform_over_the_other_classes_and_belong_to_the_item() -> None:
    labels, ids = np.arange(9000) % 10, np.arange(9000)
    targets = next_random(labels, ids, 10, seed=3)
    shift = (targets - labels) % 10
    counts = np.bincount(shift, minlength=10)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 5 * np.sqrt(1000)
    order = np.random.default_rng(0).permutation(9000)[:100]
    np.testing.assert_array_equal(next_random(labels[order], ids[order], 10, seed=3), targets[order])
    assert (next_random(labels, ids, 10, seed=4) != targets).any()
    assert (next_random(labels, ids, 2, seed=3) == (labels + 1) % 2).all()


def test_definitions_come_from_the_parameters() -> None:
    column = CWL2().columns(CWL2Config(steps=1000, targets="next-random"))[0]
    assert column.definition == (
        "mean L2 over successes, pixels in [0, 1]: cw-l2[1000 x 9 rounds, c0=0.01, kappa=0, lr=0.01, targets (y + r) "
        "mod K with r uniform in 1..K-1 by seed and id, patience 50, x = 1/2 + tanh(w)/1.9, smallest success of "
        "each image]"
    )
    assert "patience" not in CWL2().columns(CWL2Config())[0].definition
    assert CWL2().label(CWL2Config(steps=1000, targets="next-random")) == "C&W-1000x9 targeted"


def test_mistakes_are_named() -> None:
    with pytest.raises(ValidationError, match="patience must be at least 50"):
        CWL2Config(patience=10)
    with pytest.raises(ValidationError, match="targets"):
        CWL2Config.model_validate({"targets": "least-likely"})


def test_cost_in_passes() -> None:
    assert CWL2().passes(CWL2Config(steps=10, rounds=3, items=5), 100, None) == 5 * (2 * 10 * 3 + 3)  # type: ignore[arg-type]
