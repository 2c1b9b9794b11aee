from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.evaluate.base import Need
from bench.evaluate.ood import OOD, OODConfig


def forward(log_density: list[float], logits: list[list[float]] | None = None) -> dict[str, Any]:
    rows = [[0.0, 0.0]] * len(log_density) if logits is None else logits
    return {"log_density": np.array(log_density), "logits": np.array(rows, dtype=np.float32), **items(len(rows))}


def gradient(norms: list[float]) -> dict[str, Any]:
    return {"gradient_norm": np.array(norms), **items(len(norms))}


def items(count: int) -> dict[str, Any]:
    return {"ids": 100 + np.arange(count), "labels": np.arange(count) % 2}


def test_by_hand_with_a_tie(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Of six pairs the test item is above in four and equal in one."""
    config = OODConfig(sets=("svhn",), scores=("log-density",))
    outputs = {"test/forward": forward([3, 2, 1]), "ood:svhn/forward": forward([0, 2])}
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    (number,) = outcome.numbers
    assert number.value == pytest.approx(4.5 / 6)
    assert number.n == 5
    assert number.interval is not None
    # DeLong: placements (1, .75, .5) and (1, .5); variances 1/16 over 3 and 1/8 over 2.
    # On the logit scale the standard error is divided by .75 * .25, and the odds of .75 are 3.
    factor = np.exp(1.959964 * np.sqrt(1 / 48 + 1 / 16) / (0.75 * 0.25))
    assert number.interval.low == pytest.approx(3 / factor / (1 + 3 / factor), abs=1e-6)
    assert number.interval.high == pytest.approx(3 * factor / (1 + 3 * factor), abs=1e-6)


def test_each_score_reads_its_own_output(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Higher density, more certain prediction and smaller gradient mean in-distribution."""
    config = OODConfig(sets=("near", "far"))
    outputs = {
        "test/forward": forward([1, 2], [[9.0, 0], [8, 0]]),
        "test/gradient": gradient([0.1, 0.3]),
        "ood:near/forward": forward([3, 4], [[1.0, 0], [8.5, 0]]),
        "ood:near/gradient": gradient([0.2, 0.4]),
        "ood:far/forward": forward([-3, -4], [[0.0, 0], [1, 0]]),
        "ood:far/gradient": gradient([5.0, 6.0]),
    }
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    assert {(number.metric, number.argument): number.value for number in outcome.numbers} == {
        ("log-density.auroc", "near"): 0.0,
        ("log-density.auroc", "far"): 1.0,
        ("max-probability.auroc", "near"): 0.75,
        ("max-probability.auroc", "far"): 1.0,
        ("approximate-mass.auroc", "near"): 0.75,
        ("approximate-mass.auroc", "far"): 1.0,
    }


def test_certain_predictions_are_still_ranked(given: Callable[..., Any]) -> None:
    """Probabilities that all round to 1 in float32 keep their order through the log-odds."""
    config = OODConfig(sets=("other",), scores=("max-probability",))
    outputs = {
        "test/forward": forward([0, 0], [[300.0, 0], [200, 0]]),
        "ood:other/forward": forward([0, 0], [[100.0, 0], [150, 0]]),
    }
    assert OOD().evaluate(config, given(outputs)).numbers[0].value == 1.0


def test_it_asks_for_no_more_than_its_scores_read() -> None:
    assert OOD().needs(OODConfig(sets=("a",), scores=("log-density", "max-probability"))) == (
        Need("test", "forward"),
        Need("ood:a", "forward"),
    )
    assert OOD().needs(OODConfig(sets=("a", "b"), scores=("approximate-mass",))) == (
        Need("test", "gradient"),
        Need("ood:a", "gradient"),
        Need("ood:b", "gradient"),
    )
    assert set(OOD().needs(OODConfig(sets=("a",)))) == {
        Need(split, output) for split in ("test", "ood:a") for output in ("forward", "gradient")
    }


def test_the_first_score_is_the_primary_one() -> None:
    columns = OOD().columns(OODConfig(sets=("a",), scores=("max-probability", "log-density")))
    assert [(column.metric, column.primary) for column in columns] == [
        ("max-probability.auroc", True),
        ("log-density.auroc", False),
    ]
    assert "test set against a" in columns[0].definition


def test_profiles_know_where_data_sets_are_named() -> None:
    assert OOD.dataset_fields == ("sets", "groups")
    with pytest.raises(ValidationError, match="sets"):
        OODConfig(sets=())


@pytest.mark.parametrize(("inside", "outside", "alone"), [([3.0], [2, 3], "test"), ([2.0, 3], [2], "svhn")])
def test_one_item_of_a_set_has_an_area_and_no_interval(
    given: Callable[..., Any],
    keeps_its_word: Callable[..., None],
    inside: list[float],
    outside: list[float],
    alone: str,
) -> None:
    """Of two pairs one is right and one a tie; the variance over a single item is unknown."""
    config = OODConfig(sets=("svhn",), scores=("log-density",))
    outputs = {"test/forward": forward(inside), "ood:svhn/forward": forward(outside)}
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    (number,) = outcome.numbers
    assert (number.value, number.n, number.interval) == (0.75, 3, None)
    assert number.note == f"no interval: 1 {alone} item"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_item_without_a_score_is_ranked_wrongly_against_all_others(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], bad: float
) -> None:
    """Three test items far above two others make 1; without a score of one on each side two of six pairs remain."""
    config = OODConfig(sets=("svhn",))
    logits = {"test": [[9.0, 0]] * 2 + [[bad, 0]], "svhn": [[1.0, 0], [bad, bad]]}
    outputs = {
        "test/forward": forward([9, 8, bad], logits["test"]),
        "ood:svhn/forward": forward([1, bad], logits["svhn"]),
        "test/gradient": gradient([0.1, 0.1, bad]),
        "ood:svhn/gradient": gradient([3.0, bad]),
    }
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    assert len(outcome.numbers) == 3
    for number in outcome.numbers:
        assert number.value == pytest.approx(2 / 6)
        assert (number.n, number.not_finite) == (5, 2)
        assert number.note == (
            "1 of 3 test items have no finite score and 1 of 2 svhn items have no finite score, "
            "and count as ranked wrongly"
        )


def test_logits_that_are_not_finite_give_no_density_either(given: Callable[..., Any]) -> None:
    """A logit of +inf makes log p(x) = +inf, which would rank the item as the most in-distribution of all."""
    config = OODConfig(sets=("svhn",), scores=("log-density", "max-probability"))
    outputs = {
        "test/forward": forward([np.inf, 5], [[np.inf, 0], [5.0, 0]]),
        "ood:svhn/forward": forward([-np.inf, 1], [[-np.inf, -np.inf], [1.0, 0]]),
    }
    outcome = OOD().evaluate(config, given(outputs))
    assert [number.value for number in outcome.numbers] == [0.25, 0.25]
    assert [number.not_finite for number in outcome.numbers] == [2, 2]


def test_a_density_of_zero_is_the_lowest_score(given: Callable[..., Any]) -> None:
    config = OODConfig(sets=("svhn",), scores=("log-density",))
    outputs = {"test/forward": forward([3, 2]), "ood:svhn/forward": forward([-np.inf, -np.inf])}
    (number,) = OOD().evaluate(config, given(outputs)).numbers
    assert (number.value, number.not_finite, number.note) == (1.0, 0, None)


@pytest.mark.parametrize("which", ["test", "svhn"])
def test_a_set_without_any_score_gives_a_reason(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], which: str
) -> None:
    config = OODConfig(sets=("svhn",), scores=("log-density", "max-probability"))
    some, none = forward([1, 2, 3]), forward([np.nan] * 4, [[np.nan, 0.0]] * 4)
    outputs = {"test/forward": none, "ood:svhn/forward": some}
    if which == "svhn":
        outputs = {"test/forward": some, "ood:svhn/forward": none}
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    assert {n.value for n in outcome.numbers} == {None}
    assert {n.reason for n in outcome.numbers} == {f"4 of 4 {which} items have no finite score"}
