"""Standard AutoAttack as one worst case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.attacks.threat import parse_eps
from bench.data.splits import Split, Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.autoattack import AutoAttack, AutoAttackConfig
from bench.family import Classifier

DISTANCES = [-40, -20, -10, -9, -7, -3, 1, 7, 9, 12, 20, 60]
"""Of the test pixels from the decision at 1/2, in units of 1/255."""
FAST: dict[str, Any] = {"steps": 10, "queries": 20}


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
    norm: str,
    eps: int,
) -> None:
    config = AutoAttackConfig(norm=norm, eps=(f"{eps}/255",), **FAST)  # type: ignore[arg-type]
    outcome = AutoAttack().evaluate(config, given(model=ramp(10.0), splits=splits))
    keeps_its_word(AutoAttack(), config, outcome)
    robust = np.abs(DISTANCES) > eps
    found = number(outcome, "robust")
    assert (found.value, found.argument, found.n) == (robust.mean(), f"{eps}/255", 12)
    np.testing.assert_array_equal(outcome.items["robust"], robust)
    shares = [number(outcome, f"winner.{name}").value for name in config.members]
    assert sum(share for share in shares if share is not None) == pytest.approx(1 - robust.mean())
    after = [number(outcome, f"after.{name}").value for name in list(config.members)[:-1]]
    assert all(one is not None and one >= robust.mean() for one in after)
    assert after == sorted(after, reverse=True)  # type: ignore[type-var]


def test_two_classes_have_no_targeted_dlr_and_say_so(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    config = AutoAttackConfig(eps=("8/255",), **FAST)
    outcome = AutoAttack().evaluate(config, given(model=ramp(10.0), splits=splits))
    missing = number(outcome, "winner.apgd-t")
    assert (missing.value, missing.reason) == (
        None,
        "torchattacks.APGDT needs at least 4 classes for the targeted DLR loss, there are 2",
    )
    assert set(outcome.details["left_out"]) >= {"apgd-t"}
    assert "COVERAGE" in number(outcome, "robust").flags


def test_a_slope_without_gradients_is_masked(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    """Every p_y rounds to 1 at the clean images: APGD on cross-entropy has nothing to follow there."""
    config = AutoAttackConfig(eps=("8/255",), **FAST)
    outcome = AutoAttack().evaluate(config, given(model=ramp(1e6), splits=splits))
    assert "GRAD0" in number(outcome, "robust").flags
    assert number(outcome, "robust").verdict == "masked"


class Linear(Classifier):
    """z = W x + b on images of 64 pixels, with five classes."""

    def __init__(self) -> None:
        super().__init__(5, (1, 8, 8))
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 64, generator=generator))

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1) - 0.5

    def classify(self, features: Tensor) -> Tensor:
        return features @ self.weight.T


@pytest.mark.parametrize(("norm", "eps", "dual"), [("linf", "2/255", 1), ("l2", "0.05", 2)])
def test_all_four_members_find_the_worst_case_of_a_linear_model(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], norm: str, eps: str, dual: int
) -> None:
    """The distance of an image is its smallest margin over the dual norm of the difference of two rows of W."""
    model = Linear().eval()
    images = np.random.default_rng(1).uniform(0.3, 0.7, (60, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(images)).numpy()
    labels = logits.argmax(1)
    rows = model.weight.detach().numpy()
    distances = np.array(
        [
            min((z[y] - z[k]) / np.linalg.norm(rows[y] - rows[k], dual) for k in range(5) if k != y)
            for z, y in zip(logits, labels, strict=True)
        ]
    )
    budget = parse_eps(eps)
    clear = np.abs(distances / budget - 1) > 0.05
    images, labels, distances = images[clear], labels[clear], distances[clear]
    split = Split(images, labels.astype(np.int64), np.arange(len(images)))
    config = AutoAttackConfig(norm=norm, eps=(eps,), **{**FAST, "steps": 30})  # type: ignore[arg-type]
    outcome = AutoAttack().evaluate(config, given(model=model, splits=Splits(split, split, split), num_classes=5))
    keeps_its_word(AutoAttack(), config, outcome)
    expected = distances > budget
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_array_equal(outcome.items["robust"], expected)
    assert list(outcome.details["members"]) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert (number(outcome, "robust").verdict, number(outcome, "robust").flags) == ("no warning", {})
    assert number(outcome, "zero-gradient").value == 0


def test_what_only_square_finds_marks_the_gradients(
    given: Callable[..., Any], hidden: Classifier, pixels: Callable[..., Splits]
) -> None:
    """No loss has a gradient, so the steps stay where they are, and a search at random crosses the edge."""
    splits = pixels([0.5 - 4 / 255] * 40 + [0.1] * 10, [0] * 50)
    outcome = AutoAttack().evaluate(AutoAttackConfig(eps=("8/255",), **FAST), given(model=hidden, splits=splits))
    after, robust = number(outcome, "after.fab-t"), number(outcome, "robust")
    assert after.value is not None
    assert robust.value is not None
    assert after.value > robust.value
    assert set(robust.flags) >= {"GRAD0", "BLACKBOX"}
    assert number(outcome, "winner.square").value == pytest.approx(after.value - robust.value)
    assert number(outcome, "zero-gradient").value == 1


def test_a_model_that_is_always_wrong_has_nothing_to_attack(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    wrong = pixels([0.2, 0.8], [1, 0])
    outcome = AutoAttack().evaluate(AutoAttackConfig(eps=("8/255",), **FAST), given(model=ramp(), splits=wrong))
    assert number(outcome, "robust").value == 0
    assert number(outcome, "zero-gradient").reason == "no item is classified correctly"


def test_the_standard_version_and_its_name() -> None:
    config = AutoAttackConfig(eps=("8/255",))
    assert AutoAttack().label(config) == "AutoAttack (torchattacks)"
    assert AutoAttack().label(AutoAttackConfig(eps=("8/255",), queries=20)) == "AutoAttack-100x9-20 (torchattacks)"
    assert list(config.members) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert config.definition("8/255") == (
        "autoattack-linf[8/255, APGD-CE 100, APGD-T 100 x 9 classes or K-1, FAB-T 100 x 9 classes or K-1, Square 5000 "
        "queries, each on what is left, batches of 128, torchattacks on shifted logits]"
    )
    names = [f"{column.metric}@{column.argument}" for column in AutoAttack().columns(config)]
    assert names[0] == "robust@8/255"
    with pytest.raises(ValidationError, match="eps"):
        AutoAttackConfig()  # type: ignore[call-arg]


class Network(Classifier):
    """Ten classes of 64 pixels behind one hidden layer, with random weights."""

    def __init__(self) -> None:
        super().__init__(10, (1, 8, 8))
        torch.manual_seed(0)
        self.hidden, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

    def features(self, images: Tensor) -> Tensor:
        return torch.tanh(4 * self.hidden(images.flatten(1) - 0.5))

    def classify(self, features: Tensor) -> Tensor:
        return 4 * self.head(features)


@pytest.mark.peer
@pytest.mark.parametrize(("norm", "named", "eps"), [("linf", "Linf", "3/255"), ("l2", "L2", "0.1")])
def test_the_authors_code_leaves_the_same_images(given: Callable[..., Any], norm: str, named: str, eps: str) -> None:
    """``pip install git+https://github.com/fra31/auto-attack``; it is in no package index."""
    authors = pytest.importorskip("autoattack")
    model = Network().eval()
    images = np.random.default_rng(2).uniform(0.2, 0.8, (48, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        labels = model(torch.from_numpy(images)).argmax(1)
    split = Split(images, labels.numpy(), np.arange(len(images)))
    config = AutoAttackConfig(norm=norm, eps=(eps,))  # type: ignore[arg-type]
    ours = AutoAttack().evaluate(config, given(model=model, splits=Splits(split, split, split), num_classes=10))
    theirs = authors.AutoAttack(model, norm=named, eps=parse_eps(eps), device="cpu", verbose=False, seed=0)
    found = theirs.run_standard_evaluation(torch.from_numpy(images), labels, bs=128)
    with torch.no_grad():
        left = (model(found).argmax(1) == labels).numpy()
    assert 0.2 < left.mean() < 0.8
    np.testing.assert_array_equal(ours.items["robust"], left)
