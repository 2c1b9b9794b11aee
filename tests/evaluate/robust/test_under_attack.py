from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data.splits import Splits
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.under_attack import Subject, next_random
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
