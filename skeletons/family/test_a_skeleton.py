"""The contract of the family, check by check, and what is particular to it."""

from __future__ import annotations

import pytest
import torch
from a_skeleton import SPEC
from a_skeleton.model import ASkeleton, ASkeletonClassifier

from bench.conformance import Check, checks


@pytest.mark.parametrize("check", checks("a_skeleton:SPEC"), ids=str)
def test_contract(check: Check) -> None:
    check()


def test_the_sampler_raises_the_density_of_its_class() -> None:
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.SiLU())
    backbone.feature_dim = 8  # type: ignore[assignment]
    model = ASkeleton(SPEC.config()).build(backbone, 3, (1, 8, 8))
    assert isinstance(model, ASkeletonClassifier)
    labels = torch.tensor([0, 1, 2])
    start = model.sample(labels, seed=0, index=labels, steps=0)
    moved = model.sample(labels, seed=0, index=labels)
    assert bool((model.energy(moved, labels) < model.energy(start, labels)).all())
