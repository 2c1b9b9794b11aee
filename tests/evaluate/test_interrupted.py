"""Evaluations of attacks that are killed again and again end with the outcome of one that never was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bench.data.splits import Splits
from bench.evaluate.base import Evaluation, EvaluationConfig, Outcome
from bench.evaluate.robust.adaptive import Adaptive, AdaptiveConfig
from bench.evaluate.robust.cw import CW, CWL2, CWConfig, CWL2Config
from bench.evaluate.robust.eps_sweep import EpsSweep, EpsSweepConfig
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.transfer import Transfer, TransferConfig
from bench.family import Classifier
from bench.store import JOURNAL

BUDGET: dict[str, Any] = {"steps": 8, "step": "eps/2", "batch_size": 3, "adversarials": True}

CASES: dict[str, tuple[Evaluation, EvaluationConfig]] = {
    "pgd": (PGD(), PGDConfig(eps=("8/255",), losses=("ce", "margin"), **BUDGET)),
    "adaptive": (
        Adaptive(),
        AdaptiveConfig(
            eps=("8/255",), losses=("ce@T", "margin"), restarts=2, queries=10, transfer=("other",), **BUDGET
        ),
    ),
    "transfer": (Transfer(), TransferConfig(source="other", eps=("8/255",), restarts=2, **BUDGET)),
    "eps-sweep": (
        EpsSweep(),
        EpsSweepConfig(eps=("4/255", "8/255"), losses=("margin",), restarts=1, steps=8, step="eps/2", batch_size=3),
    ),
    "cw": (CW(), CWConfig(steps=10, c=10.0, batch_size=3, adversarials=True)),
    "cw-l2": (CWL2(), CWL2Config(steps=10, rounds=3, c0=1.0, batch_size=3, adversarials=True)),
}


class Life:
    """Forward passes of any model until the process is killed."""

    def __init__(self, length: float = float("inf")) -> None:
        self.length, self.passes = length, 0

    def step(self) -> None:
        self.passes += 1
        if self.passes > self.length:
            raise KeyboardInterrupt


def mortal(model: Classifier, life: Life) -> Classifier:
    """The same model, whose every pass costs life."""
    features = model.features

    def counted(images: Tensor) -> Tensor:
        life.step()
        return features(images)

    model.features = counted  # type: ignore[method-assign]
    return model


def same(one: Outcome, other: Outcome) -> bool:
    """Equal in every bit."""
    if one.items.keys() != other.items.keys():
        return False
    arrays = all(
        one.items[name].dtype == other.items[name].dtype and one.items[name].tobytes() == other.items[name].tobytes()
        for name in one.items
    )
    return arrays and (one.numbers, one.files, one.details) == (other.numbers, other.files, other.details)


@pytest.mark.parametrize("name", CASES)
def test_killed_again_and_again(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    tmp_path: Path,
    name: str,
) -> None:
    evaluation, config = CASES[name]
    splits = pixels([0.5 + d / 255 for d in (-40, -20, -9, -7, -5, -3, 1, 3, 7, 9, 12, 60)])

    def evaluate(life: Life, folder: Path | None) -> Outcome:
        model, other = (mortal(ramp(slope), life) for slope in (10.0, -3.0))
        inputs = given(model=model, splits=splits, others={"other": other})
        if folder is not None:
            inputs.folder, inputs.save_every = folder, 0.0
        outcome: Outcome = evaluation.evaluate(config, inputs)
        return outcome

    whole = Life()
    expected = evaluate(whole, None)
    kills, last = 0, None
    while last is None:  # half of it a life: it ends only if what a life found is kept
        try:
            last = evaluate(Life(whole.passes // 2), tmp_path)
        except KeyboardInterrupt:
            kills += 1
            assert kills < 20, "no progress survives a kill"
    assert same(last, expected)
    assert kills >= 1
    assert any((tmp_path / JOURNAL).iterdir())
