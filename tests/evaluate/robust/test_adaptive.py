from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.adaptive import Adaptive, AdaptiveConfig
from bench.family import Classifier

DISTANCES = [-40, -20, -10, -9, -7, -3, 1, 7, 9, 12, 20, 60]
"""Of the test pixels from the decision at 1/2, in units of 1/255."""
FAST: dict[str, Any] = {"eps": ("8/255",), "steps": 8, "step": "eps/2", "restarts": 1, "queries": 5}


@pytest.fixture
def splits(pixels: Callable[..., Splits]) -> Splits:
    return pixels([0.5 + distance / 255 for distance in DISTANCES])


def number(outcome: Outcome, metric: str) -> Number:
    (found,) = [number for number in outcome.numbers if number.metric == metric]
    return found


@pytest.mark.parametrize("slope", [10.0, 1e6])
@pytest.mark.parametrize("eps", [5, 8, 11])
def test_robust_is_who_is_further_from_the_decision_than_eps(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
    eps: int,
    slope: float,
) -> None:
    """Also with a slope at which every p_y rounds to 1 and plain cross-entropy has no gradient."""
    config = AdaptiveConfig(**{**FAST, "eps": (f"{eps}/255",)})
    outcome = Adaptive().evaluate(config, given(model=ramp(slope), splits=splits))
    keeps_its_word(Adaptive(), config, outcome)
    robust = np.abs(DISTANCES) > eps
    for metric in ("robust", "white-box"):
        found = number(outcome, metric)
        assert (found.value, found.argument, found.n) == (robust.mean(), f"{eps}/255", 12)
        assert (found.verdict, found.flags) == ("no warning", {})
        np.testing.assert_array_equal(outcome.items[metric], robust)
    assert outcome.details["losses"]["ce@T"]["T"] == pytest.approx(slope * 9.5 / 255 / 5.5, rel=0.01)
    won = sum(n.value for n in outcome.numbers if n.metric.startswith("winner.") and n.value is not None)
    assert won == pytest.approx(1 - robust.mean())
    assert number(outcome, "winner.square").value == 0


def test_losses_that_a_family_cannot_have_say_so(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    outcome = Adaptive().evaluate(AdaptiveConfig(**FAST), given(model=ramp(), splits=splits))
    for metric in ("winner.dlr", "winner.distance-targeted"):  # two classes, no centers
        assert (number(outcome, metric).value, number(outcome, metric).n) == (None, 0)
        assert number(outcome, metric).reason == "the model does not admit this loss"
    assert outcome.details["winners"] == ["ce@T", "margin", "margin-targeted"]


def test_what_a_blind_search_finds_marks_the_gradients(
    given: Callable[..., Any], hidden: Classifier, pixels: Callable[..., Splits], keeps_its_word: Callable[..., None]
) -> None:
    """Labels 0 left of the edge; within 8/255 of it a search crosses it, and a start at random only sometimes."""
    splits = pixels([0.5 - 4 / 255] * 40 + [0.1] * 10)
    config = AdaptiveConfig(**{**FAST, "losses": ("ce", "margin"), "queries": 20})
    outcome = Adaptive().evaluate(config, given(model=hidden, splits=splits))
    keeps_its_word(Adaptive(), config, outcome)
    white_box, robust = number(outcome, "white-box"), number(outcome, "robust")
    assert robust.value == pytest.approx(0.2)
    assert white_box.value is not None
    assert white_box.value > 0.5
    assert number(outcome, "winner.square").value == pytest.approx(white_box.value - 0.2)
    assert white_box.verdict == "masked"
    assert {"BLACKBOX", "GRAD0"} <= set(white_box.flags)
    assert "BLACKBOX" not in robust.flags
    # One restart cannot tell whether it has converged; Square is compared with the gradients, not with itself.
    assert {"BLACKBOX", "ITER"} <= set(outcome.details["not_measured"]["robust"])
    assert "BLACKBOX" not in outcome.details["not_measured"]["white-box"]
    without = AdaptiveConfig(**{**FAST, "losses": ("ce", "margin"), "square": False})
    blind = Adaptive().evaluate(without, given(model=hidden, splits=splits))
    keeps_its_word(Adaptive(), without, blind)
    assert number(blind, "robust").value == white_box.value


BLIND: dict[str, Any] = {**FAST, "losses": ("ce", "margin"), "queries": 20}


def test_images_of_another_model_break_one_that_hides_its_gradients(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    hidden: Classifier,
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    """4/255 left of 1/2, labels 0: 7/255 from the edge. Without gradients only a start in the last 1/16 of the ball
    crosses it; the other model, whose edge is elsewhere, pushes every pixel 8/255 to the right.
    """
    splits = pixels([0.5 - 4 / 255] * 40 + [0.1] * 10)
    config = AdaptiveConfig(**{**BLIND, "transfer": ("plain",)})
    outcome = Adaptive().evaluate(config, given(model=hidden, splits=splits, others={"plain": ramp(3.0, edge=0.7)}))
    keeps_its_word(Adaptive(), config, outcome)
    robust, white_box = number(outcome, "robust"), number(outcome, "white-box")
    assert robust.value == 0.2
    assert white_box.value is not None
    assert white_box.value > 0.5
    assert number(outcome, "winner.from-plain").value == pytest.approx(white_box.value - 0.2)
    assert number(outcome, "winner.square").value == 0  # nothing within reach was left to it
    won = [n.value for n in outcome.numbers if n.metric.startswith("winner.") and n.value is not None]
    assert sum(won) == pytest.approx(1 - robust.value)
    left = outcome.items["white-box"].astype(bool)
    np.testing.assert_array_equal(outcome.items["from-plain"], left & ~outcome.items["robust"].astype(bool))
    assert (white_box.verdict, robust.verdict) == ("masked", "masked")  # no gradient: true of both
    assert "BLACKBOX" in white_box.flags
    assert "transfer from plain and Square" in str(white_box.flags["BLACKBOX"])
    assert "BLACKBOX" not in robust.flags
    np.testing.assert_array_equal(outcome.items["search_forwards"].astype(float) > 0, left)
    assert set(outcome.details["searches"]) == {"from-plain", "square"}
    assert outcome.details["searches"]["from-plain"] in robust.definition


def test_transfer_alone_is_enough_to_mark_the_gradients(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    hidden: Classifier,
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    """Without Square; the first of two sources wins what both would have, and one that pushes backwards nothing."""
    splits = pixels([0.5 - 4 / 255] * 40 + [0.1] * 10)
    others = {"backwards": ramp(-10.0), "plain": ramp(10.0), "too-late": ramp(5.0)}
    config = AdaptiveConfig(**{**BLIND, "transfer": tuple(others), "square": False})
    outcome = Adaptive().evaluate(config, given(model=hidden, splits=splits, others=others))
    keeps_its_word(Adaptive(), config, outcome)
    white_box = number(outcome, "white-box")
    assert white_box.value is not None
    assert number(outcome, "robust").value == 0.2
    # A start far to the right survives steps to the left no longer than they last: the final iterate is the corner.
    assert number(outcome, "winner.from-backwards").value == 0
    assert number(outcome, "winner.from-plain").value == pytest.approx(white_box.value - 0.2)
    assert number(outcome, "winner.from-too-late").value == 0
    assert "BLACKBOX" in white_box.flags
    assert "winner.square" not in {n.metric for n in outcome.numbers}


def test_the_model_itself_is_no_source(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits, keeps_its_word: Callable[..., None]
) -> None:
    """The planner leaves it out of the others; its column says why it is empty, and no check is made of it."""
    config = AdaptiveConfig(**{**FAST, "transfer": ("itself", "other"), "square": False})
    outcome = Adaptive().evaluate(config, given(model=ramp(), splits=splits, others={"other": ramp(3.0)}))
    keeps_its_word(Adaptive(), config, outcome)
    own, other = number(outcome, "winner.from-itself"), number(outcome, "winner.from-other")
    assert (own.value, own.n, own.reason) == (None, 0, "it is this model")
    assert (other.value, other.n) == (0, 12)
    assert "from-itself" not in outcome.items
    assert "from-other" in outcome.items
    alone = AdaptiveConfig(**{**FAST, "transfer": ("itself",), "square": False})
    outcome = Adaptive().evaluate(alone, given(model=ramp(), splits=splits))
    keeps_its_word(Adaptive(), alone, outcome)
    assert number(outcome, "robust").value == number(outcome, "white-box").value
    assert "BLACKBOX" in outcome.details["not_measured"]["white-box"]


def test_another_model_that_finds_nothing_more_changes_no_number(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    with_other = AdaptiveConfig(**{**FAST, "transfer": ("other",)})
    without = AdaptiveConfig(**FAST)
    one = Adaptive().evaluate(with_other, given(model=ramp(), splits=splits, others={"other": ramp(3.0)}))
    two = Adaptive().evaluate(without, given(model=ramp(), splits=splits))
    values = {n.metric: (n.value, n.n, n.interval, n.verdict) for n in one.numbers}
    assert values.pop("winner.from-other")[0] == 0
    assert values == {n.metric: (n.value, n.n, n.interval, n.verdict) for n in two.numbers}


def test_without_another_model_nothing_is_defined_by_one() -> None:
    """The sentences from before there was transfer."""
    config = AdaptiveConfig(**FAST)
    columns = {column.metric: column for column in Adaptive().columns(config)}
    assert columns["robust"].definition == (
        "worst case per item over all losses, then torchattacks.Square with 5 queries (schedule not rescaled, batches "
        f"of 128) on what they left: {columns['white-box'].definition}"
    )
    assert columns["winner.square"].definition == (
        f"share of all items that Square broke first: {columns['robust'].definition}"
    )
    assert Adaptive().others(config) == ()
    losses_alone = AdaptiveConfig(**{**FAST, "square": False})
    columns = {column.metric: column for column in Adaptive().columns(losses_alone)}
    assert columns["robust"].definition == (f"worst case per item over all losses: {columns['white-box'].definition}")


def test_the_definition_names_other_models_in_their_order() -> None:
    config = AdaptiveConfig(**{**FAST, "transfer": ("b", "a")})
    columns = {column.metric: column for column in Adaptive().columns(config)}
    attack = (
        "transfer-linf[8, 8/255, step=eps/2 halved at 50% and 75%, margin, final iterate of the surrogate, 1 restart]"
    )
    text = columns["robust"].definition
    assert f"worst case per item over all losses, then {attack} from b, a (other models only), then torch" in text
    assert "transfer" not in columns["white-box"].definition
    assert columns["winner.from-b"].label == "won by transfer from b"
    shares = [metric for metric in columns if metric.startswith("winner.")]
    assert shares[-3:] == ["winner.from-b", "winner.from-a", "winner.square"]
    assert Adaptive().others(config) == ("b", "a")


def test_sole_wins_are_known_where_every_loss_attacks_every_item(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
) -> None:
    config = AdaptiveConfig(**{**FAST, "losses": ("ce", "margin"), "complete": True})
    alive = Adaptive().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(Adaptive(), config, alive)
    assert (number(alive, "alone.ce").value, number(alive, "alone.margin").value) == (0, 0)
    sharp = Adaptive().evaluate(config, given(model=ramp(1e6), splits=splits))
    assert number(sharp, "alone.ce").value == 0
    margin_only = number(sharp, "alone.margin").value
    assert margin_only is not None
    assert margin_only > 0
    assert margin_only == number(sharp, "winner.margin").value


def test_restarts_that_still_find_something_are_inconclusive(
    given: Callable[..., Any], hidden: Classifier, pixels: Callable[..., Splits]
) -> None:
    splits = pixels([0.5 - 4 / 255] * 60)
    config = AdaptiveConfig(**{**FAST, "losses": ("margin",), "restarts": 4, "square": False})
    found = number(Adaptive().evaluate(config, given(model=hidden, splits=splits)), "robust")
    assert "ITER" in found.flags
    assert "4 restarts leave" in found.flags["ITER"]
    assert "less than 2 restarts" in found.flags["ITER"]


def test_without_a_correct_item_there_is_nothing_to_attack(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    config = AdaptiveConfig(**{**FAST, "complete": True})
    outcome = Adaptive().evaluate(config, given(model=ramp(), splits=pixels([0.1, 0.9], labels=[1, 0])))
    keeps_its_word(Adaptive(), config, outcome)
    assert number(outcome, "robust").value == 0
    assert number(outcome, "winner.margin").value == 0


def test_every_budget_is_a_job_of_its_own_and_defined_by_it() -> None:
    config = AdaptiveConfig(**{**FAST, "eps": ("8/255", "16/255")})
    assert [part.argument for part in Adaptive().parts(config)] == ["8/255", "16/255"]
    columns = {(column.metric, column.argument): column for column in Adaptive().columns(config)}
    text = columns["white-box", "16/255"].definition
    assert text.startswith("adaptive-pgd-linf[8, 16/255, step=eps/2 halved at 50% and 75%, losses ce@T (T: median")
    assert columns["robust", "16/255"].definition.endswith(text)
    assert "torchattacks.Square with 5 queries" in columns["robust", "16/255"].definition
    assert columns["winner.ce-t", "8/255"].label == "won by ce@T"
    assert Adaptive().label(config) == "adaptive-8x1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"losses": ("cw",)}, "unknown loss 'cw'"),
        ({"losses": ("ce", "ce")}, "a loss is listed twice"),
        ({"eps": ("8/255", "8/255")}, "a budget is listed twice"),
        ({"eps": ("16",)}, 'did you mean "16/255"'),
        ({"steps": 10, "step": "eps/10"}, "10 steps of eps/10, halved at 50% and 75%, reach 0.7 eps"),
        ({"steps": 10, "step": "1/255"}, "10 steps of 1/255"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdaptiveConfig(**{**FAST, **values})


def test_cost_in_passes() -> None:
    """Two passes a step for ce and margin, and two for each of 3 rivals, logits and features being of one pass."""
    config = AdaptiveConfig(eps=("8/255",), losses=("ce", "margin"), steps=40, restarts=2, square=False)
    assert Adaptive().passes(config, 10, None) == 10 * (2 * 2 * 40 * 2 + 2)  # type: ignore[arg-type]
    config = AdaptiveConfig(eps=("8/255",), losses=("distance-targeted",), steps=40, restarts=1, rivals=3, queries=7)
    assert Adaptive().passes(config, 10, None) == 10 * (2 * 3 * 40 + 7 + 2)  # type: ignore[arg-type]
    more = config.model_copy(update={"transfer": ("a", "b")})
    assert Adaptive().passes(more, 10, None) == 10 * (2 * 3 * 40 + 7 + 2 + 2 * 2 * 40)  # type: ignore[arg-type]
