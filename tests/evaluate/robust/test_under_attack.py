from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data.splits import Splits
from bench.evaluate.robust.cw import CW, CWL2, CWConfig, CWL2Config
from bench.evaluate.robust.eps_sweep import EpsSweep, EpsSweepConfig
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.under_attack import Subject, UnderAttack, next_random
from bench.family import Classifier


class Odd(Classifier):
    """Two classes of one pixel whose outputs are not what an attack expects."""

    def __init__(self, how: str) -> None:
        super().__init__(2, (1, 1, 1))
        self.how = how

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1) - 0.5

    def classify(self, features: Tensor) -> Tensor:
        logits = torch.cat([torch.zeros_like(features), 10 * features], dim=1)
        match self.how:
            case "probabilities":
                return logits.softmax(dim=1)
            case "noise":
                return logits + 1e-3 * torch.randn_like(logits)
            case "gradients":
                inner = features.detach().clone().requires_grad_()
                with torch.enable_grad():
                    (slope,) = torch.autograd.grad(inner.square().sum(), inner)
                return logits + 0 * slope
            case _:
                return logits


@pytest.mark.parametrize(
    ("how", "raised"),
    [("plain", set()), ("probabilities", {"LOGITS"}), ("noise", {"RANDOM"}), ("gradients", {"DYNAMIC"})],
)
def test_what_an_attack_has_to_know_stands_beside_its_number(
    how: str, raised: set[str], given: Callable[..., Any], pixels: Callable[..., Splits]
) -> None:
    splits = pixels([0.3, 0.45, 0.55, 0.7] * 3)
    model = Odd(how).eval()
    config = PGDConfig(eps=("8/255",), losses=("margin",))
    flags = Subject(config, given(model=model, splits=splits)).output_flags()
    assert [flag.name for flag in flags] == ["LOGITS", "RANDOM", "DYNAMIC"]
    assert {flag.name for flag in flags if flag.raised} == raised
    outcome = PGD().evaluate(config, given(model=model, splits=splits))
    (margin,) = [number for number in outcome.numbers if number.metric == "margin"]
    assert raised <= set(margin.flags)
    assert not {"LOGITS", "RANDOM", "DYNAMIC", "NOISE"} & set(outcome.details["not_measured"]["margin"])


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


@pytest.mark.parametrize(
    ("evaluation", "config", "larger"),
    [
        (PGD(), PGDConfig(eps=("11/255",), batch_size=4, restarts=2), True),
        (EpsSweep(), EpsSweepConfig(eps=("4/255", "11/255"), batch_size=4), True),
        (CWL2(), CWL2Config(steps=20, rounds=3, batch_size=4), True),
        (CW(), CWConfig(steps=7, c=2.5, batch_size=4), False),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_gpu_with_room_takes_larger_batches_with_the_same_verdicts_except_of_libraries(
    evaluation: UnderAttack,
    config: Any,
    larger: bool,
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = given(model=ramp(), splits=pixels([0.3, 0.45, 0.46, 0.54, 0.55, 0.7] * 2))
    inputs.share = 0.5
    before = evaluation.evaluate(config, inputs)
    asked: list[tuple[int, float]] = []

    def room(_model: object, images: Tensor, least: int, share: float) -> int:
        asked.append((least, share))
        return 16

    monkeypatch.setattr("bench.attacks.room.batch_size_for", room)
    after = evaluation.evaluate(config, inputs)
    assert asked == ([(4, 0.5)] if larger else [])
    assert "batch_size" not in before.details
    assert after.details.get("batch_size") == (16 if larger else None)
    assert [number.value for number in after.numbers] == pytest.approx([number.value for number in before.numbers])
    for name, array in before.items.items():
        if array.dtype == bool:
            np.testing.assert_array_equal(array, after.items[name])
