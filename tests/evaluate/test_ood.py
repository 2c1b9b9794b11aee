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
    return {"log_density": np.array(log_density), "logits": np.array(rows, dtype=np.float32)}


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
    half = 1.959964 * np.sqrt(1 / 48 + 1 / 16)
    assert number.interval.low == pytest.approx(0.75 - half, abs=1e-6)
    assert number.interval.high == 1.0


def test_each_score_reads_its_own_output(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Higher density, more certain prediction and smaller gradient mean in-distribution."""
    config = OODConfig(sets=("near", "far"))
    outputs = {
        "test/forward": forward([1, 2], [[9.0, 0], [8, 0]]),
        "test/gradient": {"gradient_norm": np.array([0.1, 0.3])},
        "ood:near/forward": forward([3, 4], [[1.0, 0], [8.5, 0]]),
        "ood:near/gradient": {"gradient_norm": np.array([0.2, 0.4])},
        "ood:far/forward": forward([-3, -4], [[0.0, 0], [1, 0]]),
        "ood:far/gradient": {"gradient_norm": np.array([5.0, 6.0])},
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
    assert OOD.dataset_fields == ("sets",)
    with pytest.raises(ValidationError, match="sets"):
        OODConfig(sets=())
