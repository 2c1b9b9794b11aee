"""What attacks make of outputs that are not finite, of images that a library refuses, and of few items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.base import Evaluation, EvaluationConfig, Outcome
from bench.evaluate.robust.adaptive import Adaptive, AdaptiveConfig
from bench.evaluate.robust.attack import NamedAttack, NamedAttackConfig
from bench.evaluate.robust.cw import CW, CWL2, CWConfig, CWL2Config
from bench.evaluate.robust.eps_sweep import EpsSweep, EpsSweepConfig
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.transfer import Transfer, TransferConfig
from bench.family import Classifier

SHORT: dict[str, Any] = {"steps": 4, "step": "eps/1"}

ALL: dict[str, tuple[Evaluation, EvaluationConfig]] = {
    "pgd": (PGD(), PGDConfig(eps=("8/255",), **SHORT)),
    "adaptive": (Adaptive(), AdaptiveConfig(eps=("8/255",), restarts=1, queries=5, **SHORT)),
    "eps-sweep": (EpsSweep(), EpsSweepConfig(eps=("4/255", "8/255"), **SHORT)),
    "transfer": (Transfer(), TransferConfig(eps=("8/255",), source="other", **SHORT)),
    "attack": (NamedAttack(), NamedAttackConfig(attack="torchattacks.APGD", eps=("8/255",), params={"steps": 4})),
    "attack, norms": (NamedAttack(), NamedAttackConfig(attack="torchattacks.CW", norm="l2", params={"steps": 4})),
    "cw": (CW(), CWConfig(steps=4)),
    "cw-l2": (CWL2(), CWL2Config(steps=4, rounds=2)),
}


class Partly(Classifier):
    """Logits (0, 10 (x - 1/2)), NaN for pixels above a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__(2, (1, 1, 1))
        self.slope, self.limit = nn.Parameter(torch.tensor(10.0)), limit

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        logits = torch.cat([torch.zeros_like(features), self.slope * (features - 0.5)], dim=1)
        return torch.where(features > self.limit, torch.nan, logits)


@pytest.mark.parametrize("case", ALL)
def test_outputs_that_are_not_finite_are_wrong_and_counted(
    case: str,
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    evaluation, config = ALL[case]
    splits = pixels([0.2, 0.3, 0.7, 0.95, 0.97])
    outcome = evaluation.evaluate(config, given(model=Partly(0.9).eval(), splits=splits, others={"other": ramp()}))
    keeps_its_word(evaluation, config, outcome)
    assert outcome.details["not_finite"] == 2
    np.testing.assert_array_equal(outcome.items["clean"], [True, True, True, False, False])
    primary = next(c for c in evaluation.columns(config) if c.primary)
    if primary.unit == "fraction":  # no budget of 8/255 reaches the decision
        (found,) = [n for n in outcome.numbers if (n.metric, n.argument) == (primary.metric, "8/255")]
        assert (found.value, found.n) == (3 / 5, 5)


@pytest.mark.parametrize("case", ALL)
def test_a_model_without_a_finite_output_has_no_number(
    case: str,
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    evaluation, config = ALL[case]
    model = Partly(-1.0).eval()
    outcome = evaluation.evaluate(config, given(model=model, splits=pixels([0.2, 0.7]), others={"other": ramp()}))
    assert outcome.numbers
    for found in outcome.numbers:
        assert (found.value, found.verdict) == (None, None)
        assert found.reason == "the outputs are not finite on any of the 2 items"
    promised = {(c.metric, c.argument, c.definition) for c in evaluation.columns(config) if c.across is None}
    assert {(n.metric, n.argument, n.definition) for n in outcome.numbers} == promised


class Brightness(Classifier):
    """Two classes by the mean of all pixels; counts the images that it is asked about."""

    def __init__(self) -> None:
        super().__init__(2, (1, 8, 16))
        self.slope, self.seen = nn.Parameter(torch.tensor(10.0)), 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1).mean(dim=1, keepdim=True) - 0.5

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(features), self.slope * features], dim=1)


def _wide(count: int = 6) -> Splits:
    images = np.random.default_rng(0).random((count, 1, 8, 16), dtype=np.float32)
    labels = (images.mean(axis=(1, 2, 3)) > 0.5).astype(np.int64)
    split = Split(images, labels, np.arange(count))
    return Splits(split, split, split)


def _number(outcome: Outcome, metric: str) -> Any:
    return next(n for n in outcome.numbers if n.metric == metric)


def test_a_composed_attack_does_without_the_member_that_images_do_not_admit(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    config = AdaptiveConfig(eps=("0.001",), norm="l2", restarts=1, queries=5, **SHORT)
    outcome = Adaptive().evaluate(config, given(model=Brightness().eval(), splits=_wide()))
    keeps_its_word(Adaptive(), config, outcome)
    square, robust, white = (_number(outcome, name) for name in ("winner.square", "robust", "white-box"))
    assert square.value is None
    assert "needs images that hold its first window of 11x11" in square.reason
    assert square.reason.endswith("got 8x16")
    assert outcome.details["left_out"] == {"square": square.reason}
    assert "square" not in outcome.items
    # The worst case is one of fewer attacks than its definition names, and says so.
    assert robust.value == white.value
    assert (robust.verdict, set(robust.flags)) == ("inconclusive", {"COVERAGE"})
    assert "BLACKBOX" in outcome.details["not_measured"]["white-box"]


def test_a_library_that_fails_takes_its_own_part_away_and_no_other(
    given: Callable[..., Any], pixels: Callable[..., Splits], ramp: Callable[..., Classifier], monkeypatch: Any
) -> None:
    import torchattacks

    def fail(*_: object, **__: object) -> None:
        raise IndexError("index 7 is out of bounds\nin some line")

    monkeypatch.setattr(torchattacks.Square, "forward", fail)
    config = AdaptiveConfig(eps=("8/255",), restarts=1, queries=5, attack_seeds=2, **SHORT)
    outcome = Adaptive().evaluate(config, given(model=ramp(), splits=pixels([0.2, 0.49, 0.9])))
    assert _number(outcome, "winner.square").reason == "IndexError in torchattacks.Square: index 7 is out of bounds"
    robust = _number(outcome, "robust")
    assert (robust.value, robust.verdict) == (2 / 3, "inconclusive")
    assert "COVERAGE" in robust.flags


def test_errors_of_the_machine_end_the_job(
    given: Callable[..., Any], pixels: Callable[..., Splits], ramp: Callable[..., Classifier], monkeypatch: Any
) -> None:
    import torchattacks

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torchattacks.Square, "forward", fail)
    config = AdaptiveConfig(eps=("8/255",), restarts=1, queries=5, **SHORT)
    with pytest.raises(torch.OutOfMemoryError):
        Adaptive().evaluate(config, given(model=ramp(), splits=pixels([0.2, 0.9])))


def test_what_is_impossible_is_known_before_anything_runs() -> None:
    square = NamedAttackConfig(attack="torchattacks.Square", norm="l2", eps=("0.5",))
    assert "got 8x16" in str(NamedAttack().impossible(square, (1, 8, 16), 10))
    assert NamedAttack().impossible(square, (1, 8, 8), 10) is None
    dlr = NamedAttackConfig(attack="torchattacks.APGD", eps=("8/255",), params={"loss": "dlr"})
    assert "needs at least 3 classes, there are 2" in str(NamedAttack().impossible(dlr, (1, 8, 8), 2))
    assert "3 classes" in str(
        Transfer().impossible(TransferConfig(eps=("8/255",), source="other", loss="dlr"), (1, 8, 8), 2)
    )
    adaptive = AdaptiveConfig(eps=("8/255",), losses=("dlr",))
    assert "none of the losses dlr" in str(Adaptive().impossible(adaptive, (1, 8, 8), 2))
    assert Adaptive().impossible(adaptive, (1, 8, 8), 3) is None


def test_a_loss_that_needs_more_classes_leaves_the_others(
    given: Callable[..., Any],
    pixels: Callable[..., Splits],
    ramp: Callable[..., Classifier],
    keeps_its_word: Callable[..., None],
) -> None:
    config = PGDConfig(eps=("8/255",), losses=("dlr", "margin"), **SHORT)
    outcome = PGD().evaluate(config, given(model=ramp(), splits=pixels([0.2, 0.49, 0.9])))
    keeps_its_word(PGD(), config, outcome)
    assert _number(outcome, "dlr").reason == "dlr needs at least 3 classes, the data have 2"
    assert _number(outcome, "margin").value == 2 / 3


def test_few_items_cost_what_few_items_cost(given: Callable[..., Any]) -> None:
    """No batch is filled up beyond the number of items: 8 of 128 once cost sixteen times as much."""
    model = Brightness().eval()
    config = PGDConfig(eps=("8/255",), losses=("margin",), noise=0, batch_size=128, **SHORT)
    PGD().evaluate(config, given(model=model, splits=_wide(8)))
    # Clean pass, layout probe, five iterates, two judgements; 20 of the three passes that look at the outputs.
    assert model.seen <= 8 + 2 + 5 * 8 + 2 * 8 + 20


def test_the_shape_of_batches_does_not_depend_on_what_is_left(given: Callable[..., Any]) -> None:
    """Random points for the few items that a loss left are judged in batches of the shape of the clean pass."""
    from bench import attacks

    splits = _wide(8)
    shapes: list[int] = []

    class Watched(Brightness):
        def features(self, images: Tensor) -> Tensor:
            shapes.append(len(images))
            return super().features(images)

    model = Watched().eval()
    clean = attacks.CleanPass(model, 128)
    images, labels = splits.test.images, splits.test.labels
    attacks.run("noise", model, images, labels, norm="linf", eps=0.01, seed=0, batch_size=128, clean=clean, draws=1)
    attacks.run(
        "noise", model, images[:2], labels[:2], norm="linf", eps=0.01, seed=0, batch_size=128, clean=clean, draws=1
    )
    assert set(shapes) == {8}
