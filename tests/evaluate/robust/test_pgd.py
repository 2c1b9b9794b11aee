from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.family import Classifier
from bench.spec import FAMILIES

# Distances of the test pixels from the decision at 1/2, in units of 1/255.
DISTANCES = [-40, -20, -10, -9, -7, -3, 1, 7, 9, 12, 20, 60]


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
    norm: Any,
    eps: int,
) -> None:
    """One pixel, so both norms are the same distance; slope 10 leaves every gradient alive."""
    config = PGDConfig(eps=(f"{eps}/255",), norm=norm, step="eps/10")
    outcome = PGD().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(PGD(), config, outcome)
    robust = np.abs(DISTANCES) > eps
    for metric in ("ce", "margin", "worst-case"):
        found = number(outcome, metric)
        assert found.value == robust.mean(), metric
        assert found.argument == f"{eps}/255"
        assert (found.n, found.verdict, found.flags) == (12, "no warning", {})
        np.testing.assert_array_equal(outcome.items[metric], robust)
    assert number(outcome, "zero-gradient").value == 0
    assert outcome.items["clean"].all()
    np.testing.assert_array_equal(outcome.items["ids"], splits.test.ids)


def test_errors_on_clean_images_count_against_accuracy(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    wrong_labels = pixels([0.1, 0.9, 0.2, 0.8], labels=[0, 0, 0, 1])
    outcome = PGD().evaluate(PGDConfig(eps=("8/255",)), given(model=ramp(), splits=wrong_labels))
    assert number(outcome, "ce").value == 0.75
    np.testing.assert_array_equal(outcome.items["clean"], [True, False, True, True])
    assert number(outcome, "zero-gradient").n == 3


def test_a_masked_loss_is_called_masked_and_the_worst_case_is_not(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    """With slope 1e6 every p_y rounds to 1 in float32: cross-entropy has no gradient, the margin loss has."""
    config = PGDConfig(eps=("8/255",), step="eps/10")
    # Further from 1/2 than eps, or nearer but far enough that no random start crosses it by chance alone.
    splits = pixels([0.5 + sign * distance / 255 for distance in (7.5, 7.8, 60) for sign in (1, -1)] * 4)
    outcome = PGD().evaluate(config, given(model=ramp(1e6), splits=splits))
    keeps_its_word(PGD(), config, outcome)
    ce, margin, worst = (number(outcome, metric) for metric in ("ce", "margin", "worst-case"))
    assert number(outcome, "zero-gradient").value == 1.0
    assert ce.value is not None
    assert ce.value > 0.8
    assert margin.value == worst.value == pytest.approx(1 / 3)
    assert ce.verdict == "masked"
    # Of the pixels nearer than eps a corner of the ball crosses the decision with every second draw.
    assert set(ce.flags) == {"GRAD0", "LOSSGAP", "NOISE"}
    assert (margin.verdict, worst.verdict) == ("no warning", "no warning")


def test_a_loss_with_gradients_confirms_one_without(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    """Every gradient of cross-entropy vanishes, but its number is that of the margin: nothing is too high."""
    splits = pixels([0.5 + distance / 255 for distance in (-60, -50, -40, 40, 50, 60)])
    config = PGDConfig(eps=("8/255",), steps=10, step="eps/5")
    outcome = PGD().evaluate(config, given(model=ramp(1e6), splits=splits))
    ce, margin = number(outcome, "ce"), number(outcome, "margin")
    assert (ce.value, margin.value) == (1.0, 1.0)
    assert (ce.verdict, margin.verdict) == ("confirmed", "no warning")
    assert "margin, whose gradients do not vanish, leaves exactly the same images" in str(ce.flags["GRAD0"])


def test_one_loss_alone_is_inconclusive(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits, keeps_its_word: Callable[..., None]
) -> None:
    config = PGDConfig(eps=("8/255",), losses=("ce",))
    outcome = PGD().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(PGD(), config, outcome)
    assert number(outcome, "ce").verdict == "inconclusive"
    assert number(outcome, "worst-case").value == number(outcome, "ce").value
    assert {"LOSSGAP", "BLACKBOX", "ITER"} <= set(outcome.details["not_measured"]["ce"])
    assert "GRAD0" not in outcome.details["not_measured"]["ce"]


def test_no_more_than_the_first_items_are_attacked(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    outcome = PGD().evaluate(PGDConfig(eps=("8/255",), items=5), given(model=ramp(), splits=splits))
    assert number(outcome, "ce").n == 5
    assert number(outcome, "ce").value == 4 / 5
    np.testing.assert_array_equal(outcome.items["ids"], splits.test.ids[:5])


def test_the_batch_size_changes_no_verdict(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    first, second = (
        PGD().evaluate(PGDConfig(eps=("11/255",), batch_size=size, restarts=2), given(model=ramp(), splits=splits))
        for size in (128, 5)
    )
    for metric in ("ce", "margin"):
        np.testing.assert_array_equal(first.items[metric], second.items[metric])


def test_without_a_correct_item_there_is_nothing_to_attack(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    config = PGDConfig(eps=("8/255",))
    outcome = PGD().evaluate(config, given(model=ramp(), splits=pixels([0.1, 0.9], labels=[1, 0])))
    keeps_its_word(PGD(), config, outcome)
    assert number(outcome, "ce").value == 0
    assert number(outcome, "zero-gradient").reason == "no item is classified correctly"


@pytest.mark.parametrize("losses", [("ce", "distance"), ("distance", "ce"), ("distance",), ("distance-targeted",)])
def test_losses_that_need_centers_are_not_applicable_without_them(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
    losses: tuple[str, ...],
) -> None:
    """What stands in a column is what its definition says: no number of another loss takes a missing one's place."""
    config = PGDConfig(eps=("8/255",), losses=losses)
    outcome = PGD().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(PGD(), config, outcome)
    missing = number(outcome, next(loss for loss in losses if loss != "ce"))
    assert (missing.value, missing.reason) == (None, "the family has no class centers")
    if losses[0] != "ce":
        zero = number(outcome, "zero-gradient")
        assert (zero.value, zero.reason) == (None, "the family has no class centers")
    if "ce" not in losses:
        worst = number(outcome, "worst-case")
        assert (worst.value, worst.reason) == (None, "the family has no class centers")


def test_other_temperatures_and_losses_have_columns_of_their_own(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits, keeps_its_word: Callable[..., None]
) -> None:
    config = PGDConfig(eps=("8/255",), losses=("ce", "ce@100", "margin-targeted"), steps=10, step="eps/4")
    outcome = PGD().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(PGD(), config, outcome)
    assert {n.metric for n in outcome.numbers} == {"ce", "ce-t100", "margin-targeted", "worst-case", "zero-gradient"}
    assert number(outcome, "ce-t100").value == (np.abs(DISTANCES) > 8).mean()


def test_definitions_come_from_the_parameters() -> None:
    config = PGDConfig(eps=("8/255", "16/255"), steps=7, step="2/255", restarts=3, iterate="any", norm="l2")
    columns = {(column.metric, column.argument): column for column in PGD().columns(config)}
    text = "pgd-l2[7, 16/255, step=2/255, ce, any iterate, 3 restarts]"
    assert columns["ce", "16/255"].definition == text
    assert columns["zero-gradient", "16/255"].definition.endswith(text)
    assert columns["margin", "8/255"].definition == text.replace("16/255", "8/255").replace("ce,", "margin,")
    assert "all rivals" in PGD().columns(PGDConfig(eps=("8/255",), losses=("margin-targeted",)))[0].definition
    assert PGD().label(config) == "PGD-7"


def test_the_worst_case_is_defined_by_all_its_losses() -> None:
    config = PGDConfig(eps=("8/255",), steps=7, losses=("ce", "margin-targeted", "distance-targeted"))
    (worst,) = [column for column in PGD().columns(config) if column.metric == "worst-case"]
    assert worst.definition == (
        "worst case per item over ce, margin-targeted (all rivals), distance-targeted (all rivals, where there are "
        "class centers): pgd-linf[7, 8/255, step=eps/30, each of these losses, final iterate, 1 restart]"
    )


def test_every_budget_is_a_job_of_its_own() -> None:
    config = PGDConfig(eps=("8/255", "16/255"), steps=3)
    parts = PGD().parts(config)
    assert [part.argument for part in parts] == ["8/255", "16/255"]
    assert [part.config for part in parts] == [PGDConfig(eps=(eps,), steps=3) for eps in ("8/255", "16/255")]


def test_budgets_are_written_in_one_way() -> None:
    assert PGDConfig(eps=("0.03137254901960784",)).eps == PGDConfig(eps=("8/255",)).eps == ("8/255",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": ("8/255", "8/255")}, "a budget is listed twice"),
        ({"eps": ()}, "eps"),
        ({"eps": ("nonsense",)}, "eps"),
        ({"eps": ("8",)}, 'at most 1, got "8"; did you mean "8/255"'),
        ({"eps": ("8/255",), "losses": ("cw",)}, "unknown loss 'cw'"),
        ({"eps": ("8/255",), "losses": ("ce", "ce")}, "a loss is listed twice"),
        ({"eps": ("8/255",), "step": "eps"}, "step"),
        ({"eps": ("8/255",), "steps": 0}, "steps"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PGDConfig.model_validate(values)


def test_cost_in_passes() -> None:
    """Two passes a step and restart, and two of the judge, for every loss; then ten random points; for every budget."""
    config = PGDConfig(eps=("8/255", "16/255"), steps=40, items=100)
    assert PGD().passes(config, 1000, FAMILIES.get("softmax")) == 100 * 2 * (2 * 82 + 10)
    assert PGD().passes(config, 30, FAMILIES.get("softmax")) == 30 * 2 * (2 * 82 + 10)
