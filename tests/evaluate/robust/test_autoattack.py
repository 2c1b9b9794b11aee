"""Standard AutoAttack as one worst case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.autoattack import AutoAttack, AutoAttackConfig
from bench.family import Classifier

DISTANCES = [-40, -20, -10, -9, -7, -3, 1, 7, 9, 12, 20, 60]
"""Of the test pixels from the decision at 1/2, in units of 1/255."""
FAST: dict[str, Any] = {"steps": 10, "queries": 20}


@pytest.fixture
def splits(pixels: Callable[..., Splits]) -> Splits:
    return pixels([0.5 + distance / 255 for distance in DISTANCES])


def number(outcome: Outcome, metric: str) -> Number:
    (found,) = [number for number in outcome.numbers if number.metric == metric]
    return found


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [5, 8, 11])
def test_robust_is_who_is_further_from_the_decision_than_eps(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
    norm: str,
    eps: int,
) -> None:
    config = AutoAttackConfig(norm=norm, eps=(f"{eps}/255",), **FAST)  # type: ignore[arg-type]
    outcome = AutoAttack().evaluate(config, given(model=ramp(10.0), splits=splits))
    keeps_its_word(AutoAttack(), config, outcome)
    robust = np.abs(DISTANCES) > eps
    found = number(outcome, "robust")
    assert (found.value, found.argument, found.n) == (robust.mean(), f"{eps}/255", 12)
    np.testing.assert_array_equal(outcome.items["robust"], robust)
    shares = [number(outcome, f"winner.{name}").value for name in config.members]
    assert sum(share for share in shares if share is not None) == pytest.approx(1 - robust.mean())
    after = [number(outcome, f"after.{name}").value for name in list(config.members)[:-1]]
    assert all(one is not None and one >= robust.mean() for one in after)
    assert after == sorted(after, reverse=True)  # type: ignore[type-var]


def test_two_classes_have_no_targeted_dlr_and_say_so(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    config = AutoAttackConfig(eps=("8/255",), **FAST)
    outcome = AutoAttack().evaluate(config, given(model=ramp(10.0), splits=splits))
    missing = number(outcome, "winner.apgd-t")
    assert (missing.value, missing.reason) == (
        None,
        "torchattacks.APGDT needs at least 4 classes for the targeted DLR loss, there are 2",
    )
    assert set(outcome.details["left_out"]) >= {"apgd-t"}
    assert "COVERAGE" in number(outcome, "robust").flags


def test_a_slope_without_gradients_is_masked(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    """Every p_y rounds to 1 at the clean images: APGD on cross-entropy has nothing to follow there."""
    config = AutoAttackConfig(eps=("8/255",), **FAST)
    outcome = AutoAttack().evaluate(config, given(model=ramp(1e6), splits=splits))
    assert "GRAD0" in number(outcome, "robust").flags
    assert number(outcome, "robust").verdict == "masked"


def test_the_standard_version_and_its_name() -> None:
    config = AutoAttackConfig(eps=("8/255",))
    assert AutoAttack().label(config) == "AutoAttack"
    assert AutoAttack().label(AutoAttackConfig(eps=("8/255",), queries=20)) == "AutoAttack-100x9-20"
    assert list(config.members) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert config.definition("8/255") == (
        "autoattack-linf[8/255, APGD-CE 100, APGD-T 100 x 9 classes or K-1, FAB-T 100 x 9 classes or K-1, Square 5000 "
        "queries, each on what is left, batches of 128, torchattacks on shifted logits]"
    )
    names = [f"{column.metric}@{column.argument}" for column in AutoAttack().columns(config)]
    assert names[0] == "robust@8/255"
    with pytest.raises(ValidationError, match="eps"):
        AutoAttackConfig()  # type: ignore[call-arg]
