from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench.data.splits import Splits
from bench.evaluate.robust.eps_sweep import EpsSweep, EpsSweepConfig
from bench.family import Classifier

FAST: dict[str, Any] = {"steps": 8, "step": "eps/2", "losses": ("ce@T", "margin")}


class Steps(Classifier):
    """No gradient anywhere: the class is 1 right of 1/2."""

    def __init__(self) -> None:
        super().__init__(2, (1, 1, 1))

    def features(self, images: Tensor) -> Tensor:
        return (images.flatten(1) > 0.5).float()

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(features), 4 * features - 2], dim=1)


def test_the_curve_falls_to_zero_where_gradients_are_alive(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    distances = np.array([1.5, 3, 7, 9, -20, 50, -100, 120])
    config = EpsSweepConfig(**FAST)
    outcome = EpsSweep().evaluate(config, given(model=ramp(), splits=pixels(list(0.5 + distances / 255))))
    keeps_its_word(EpsSweep(), config, outcome)
    assert [n.argument for n in outcome.numbers] == [f"{2**power}/255" for power in range(8)]
    for power, found in enumerate(outcome.numbers):
        assert found.value == (np.abs(distances) > 2**power).mean()
        assert (found.verdict, found.flags) == ("no warning", {})
    made = {"GRAD0", "LOSSGAP", "FLAT", "UNBOUNDED", "LOGITS", "RANDOM", "DYNAMIC"}
    assert set(outcome.details["checks"]) == made
    assert not {"GRAD0", "LOSSGAP"} & set(outcome.details["not_measured"])


def test_a_curve_that_does_not_reach_zero_is_flagged(
    given: Callable[..., Any], pixels: Callable[..., Splits], keeps_its_word: Callable[..., None]
) -> None:
    """From 0.05 no ball of 64/255 reaches the other class, and at 128/255 only starts that jump there do."""
    splits = pixels([0.05] * 12 + [0.5 - 1.5 / 255] * 20)
    config = EpsSweepConfig(**FAST, eps=("4/255", "8/255", "16/255", "32/255", "128/255"))
    outcome = EpsSweep().evaluate(config, given(model=Steps(), splits=splits))
    keeps_its_word(EpsSweep(), config, outcome)
    last = outcome.numbers[-1]
    assert last.value is not None
    assert last.value > 0.02
    assert all("UNBOUNDED" in n.flags for n in outcome.numbers)
    assert last.verdict in ("masked", "inconclusive")
    masks = [outcome.items[f"robust@{eps}"] for eps in config.eps]
    assert all(not (large & ~small).any() for small, large in pairwise(masks))


def test_a_sweep_whose_gradients_vanish_does_not_go_without_a_warning(
    given: Callable[..., Any], pixels: Callable[..., Splits]
) -> None:
    """Every budget has the checks of its own attack: without gradients what is left is masked, and 0 is exact."""
    config = EpsSweepConfig(**FAST, eps=("1/255", "2/255"))
    outcome = EpsSweep().evaluate(config, given(model=Steps(), splits=pixels([0.5 - 1.8 / 255] * 30)))
    for found, robust in zip(
        outcome.numbers, (outcome.items["robust@1/255"], outcome.items["robust@2/255"]), strict=True
    ):
        assert (found.verdict == "masked") == bool(robust.any())
        assert ("GRAD0" in found.flags) == bool(robust.any())
    assert outcome.numbers[0].verdict == "masked"
    assert "input gradient exactly zero on 100.0%" in outcome.details["checks"]["GRAD0"]


def test_smaller_sweeps_say_nothing_of_unbounded_attacks(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    config = EpsSweepConfig(**FAST, eps=("1/255", "2/255"))
    outcome = EpsSweep().evaluate(config, given(model=ramp(), splits=pixels([0.1, 0.9])))
    assert set(outcome.details["checks"]) == {"GRAD0", "LOSSGAP", "FLAT", "LOGITS", "RANDOM", "DYNAMIC"}
    assert "UNBOUNDED" in outcome.details["not_measured"]


def test_the_definition_says_chained() -> None:
    column = EpsSweep().columns(EpsSweepConfig(**FAST, eps=("1/255", "2/255")))[1]
    assert column.definition.startswith("accuracy at 2/255 of a chained eps sweep 1/255, 2/255: an image broken at one")
    assert "adaptive-pgd-linf[8, eps, step=eps/2 halved" in column.definition


def test_budgets_must_increase() -> None:
    with pytest.raises(ValidationError, match="budgets must increase"):
        EpsSweepConfig(eps=("2/255", "1/255"))


def test_budgets_are_in_units_of_the_pixel_range() -> None:
    with pytest.raises(ValidationError, match='did you mean "2/255"'):
        EpsSweepConfig(eps=("1/255", "2"))
    assert EpsSweepConfig(eps=("1/2", "2"), norm="l2").eps == ("0.5", "2")
