from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust.transfer import Transfer, TransferConfig
from bench.family import Classifier
from bench.metrics.intervals import wilson

DISTANCES = [-40, -20, -10, -9, -7, -3, 1, 7, 9, 12, 20, 60]
"""Of the test pixels from the decision of the model at 1/2, in units of 1/255."""
FAST: dict[str, Any] = {"source": "other", "eps": ("8/255",), "steps": 12, "step": "eps/3"}


@pytest.fixture
def splits(pixels: Callable[..., Splits]) -> Splits:
    return pixels([0.5 + distance / 255 for distance in DISTANCES])


def only(outcome: Outcome) -> Number:
    (number,) = outcome.numbers
    return number


class Plane(Classifier):
    """Two classes of two pixels: logits (0, 10 w (x - 1/2)) with weights w; the decision is a line."""

    def __init__(self, *weights: float) -> None:
        super().__init__(2, (1, 1, 2))
        self.weights = nn.Parameter(torch.tensor(weights))

    def features(self, images: Tensor) -> Tensor:
        return ((images.flatten(1) - 0.5) * self.weights).sum(dim=1, keepdim=True)

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(features), 10 * features], dim=1)


def on_a_line(distances: list[int]) -> Splits:
    """Test images (1/2 + d/255, 1/2), which ``Plane(1, 0)`` classifies correctly, d from its decision."""
    images = np.full((len(distances), 1, 1, 2), 0.5, dtype=np.float32)
    images[:, 0, 0, 0] += np.array(distances, dtype=np.float32) / np.float32(255)
    split = Split(images, (np.array(distances) > 0).astype(np.int64), 100 + np.arange(len(distances)))
    return Splits(split, split, split)


@pytest.mark.parametrize("eps", [5, 8, 11])
@pytest.mark.parametrize(("slope", "edge"), [(10.0, 0.5), (0.1, 0.9), (1e6, 0.3)])
def test_a_source_that_leans_the_same_way_breaks_what_is_within_eps(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
    eps: int,
    slope: float,
    edge: float,
) -> None:
    """Wherever the source decides, and however sharply: its gradient has the sign of the model's."""
    config = TransferConfig(**{**FAST, "eps": (f"{eps}/255",)})
    inputs = given(model=ramp(), splits=splits, others={"other": ramp(slope, edge=edge)})
    outcome = Transfer().evaluate(config, inputs)
    keeps_its_word(Transfer(), config, outcome)
    robust = np.abs(DISTANCES) > eps
    number = only(outcome)
    assert (number.metric, number.argument, number.value, number.n) == ("robust", f"{eps}/255", robust.mean(), 12)
    assert number.interval == wilson(int(robust.sum()), 12)
    np.testing.assert_array_equal(outcome.items["robust"], robust)
    np.testing.assert_array_equal(outcome.items["ids"], splits.test.ids)
    assert outcome.items["clean"].all()


@pytest.mark.parametrize("loss", ["margin", "ce"])
def test_a_source_that_leans_the_other_way_breaks_nothing(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits, loss: Any
) -> None:
    """Pixels are pushed away from the decision of the model; that the source is wrong everywhere is no matter."""
    config = TransferConfig(**{**FAST, "loss": loss})
    outcome = Transfer().evaluate(config, given(model=ramp(), splits=splits, others={"other": ramp(-10.0)}))
    assert only(outcome).value == 1
    np.testing.assert_array_equal(outcome.items["robust"], np.ones(12, dtype=bool))


@pytest.mark.parametrize(("weights", "share"), [((3.0, 4.0), 0.6), ((4.0, -3.0), 0.8), ((1.0, 0.0), 1.0)])
def test_in_l2_it_goes_as_far_as_the_source_points_at_the_decision(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], weights: tuple[float, float], share: float
) -> None:
    """The source moves an image by eps along its own weights: by ``share`` of eps towards the model's decision."""
    distances = [-19, -17, -15, -13, -11, -9, -2, 2, 9, 11, 13, 15, 17, 19, 21, 40]
    config = TransferConfig(source="other", norm="l2", eps=("20/255",))
    inputs = given(model=Plane(1.0, 0.0).eval(), splits=on_a_line(distances), others={"other": Plane(*weights).eval()})
    outcome = Transfer().evaluate(config, inputs)
    keeps_its_word(Transfer(), config, outcome)
    robust = np.abs(distances) > share * 20
    assert only(outcome).value == robust.mean()
    np.testing.assert_array_equal(outcome.items["robust"], robust)


def test_errors_on_clean_images_count_against_accuracy(
    given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    splits = pixels([0.1, 0.9, 0.2, 0.8], labels=[0, 0, 0, 1])
    outcome = Transfer().evaluate(TransferConfig(**FAST), given(model=ramp(), splits=splits, others={"other": ramp()}))
    assert only(outcome).value == 0.75
    np.testing.assert_array_equal(outcome.items["clean"], [True, False, True, True])


def test_without_a_correct_item_there_is_nothing_to_attack(
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    keeps_its_word: Callable[..., None],
) -> None:
    config = TransferConfig(**FAST)
    splits = pixels([0.1, 0.9], labels=[1, 0])
    outcome = Transfer().evaluate(config, given(model=ramp(), splits=splits, others={"other": ramp()}))
    keeps_its_word(Transfer(), config, outcome)
    assert (only(outcome).value, only(outcome).n) == (0, 2)


@pytest.mark.parametrize("slope", [10.0, -10.0])
def test_whatever_it_finds_it_is_inconclusive(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits, slope: float
) -> None:
    inputs = given(model=ramp(), splits=splits, others={"other": ramp(slope)})
    outcome = Transfer().evaluate(TransferConfig(**FAST), inputs)
    number = only(outcome)
    assert number.verdict == "inconclusive"
    assert list(number.flags) == ["TRANSFER"]
    assert outcome.details["source"] == "digest of other"
    assert outcome.details["attack"] in number.definition
    own, other = inputs.task.train.key, inputs.task.others["other"].key
    assert inputs.digests == {own: "digest of the model", other: "digest of other"}


def test_it_breaks_a_model_without_gradients(
    given: Callable[..., Any], ramp: Callable[..., Classifier], hidden: Classifier, pixels: Callable[..., Splits]
) -> None:
    """The edge of the hidden model is at 1/2 + 3/255: labels 0 reach it from 4/255 left of 1/2, not from 6/255."""
    splits = pixels([0.5 - 4 / 255] * 5 + [0.5 - 6 / 255] * 3)
    outcome = Transfer().evaluate(TransferConfig(**FAST), given(model=hidden, splits=splits, others={"other": ramp()}))
    assert only(outcome).value == 3 / 8


def test_no_more_than_the_first_items_are_attacked(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    config = TransferConfig(**FAST, items=5)
    outcome = Transfer().evaluate(config, given(model=ramp(), splits=splits, others={"other": ramp()}))
    assert (only(outcome).value, only(outcome).n) == (4 / 5, 5)
    np.testing.assert_array_equal(outcome.items["ids"], splits.test.ids[:5])


def test_the_batch_size_changes_no_verdict(
    given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits
) -> None:
    first, second = (
        Transfer().evaluate(
            TransferConfig(**FAST, batch_size=size, restarts=2),
            given(model=ramp(), splits=splits, others={"other": ramp(-1.0)}),
        )
        for size in (128, 5)
    )
    for name in ("robust", "margin_after", "linf"):
        np.testing.assert_array_equal(first.items[name], second.items[name])


def test_definitions_come_from_the_parameters() -> None:
    config = TransferConfig(
        source="softmax", norm="l2", eps=("8/255", "16/255"), steps=7, step="eps/2", restarts=3, loss="dlr"
    )
    columns = {column.argument: column for column in Transfer().columns(config)}
    assert columns["16/255"].definition == (
        "accuracy on adversarial images of softmax: transfer-l2[7, 16/255, step=eps/2 halved at 50% and 75%, dlr, "
        "final iterate of the surrogate, 3 restarts]"
    )
    assert [part.argument for part in Transfer().parts(config)] == ["8/255", "16/255"]
    assert Transfer().label(config) == "transfer from softmax"
    assert Transfer().others(config) == ("softmax",)
    assert Transfer().of_itself(config) == "softmax is the source of the adversarial images"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": ("8/255", "8/255")}, "a budget is listed twice"),
        ({"eps": ()}, "eps"),
        ({"eps": ("16",)}, 'did you mean "16/255"'),
        ({"loss": "distance"}, "loss"),
        ({"steps": 10, "step": "eps/10"}, "10 steps of eps/10, halved at 50% and 75%, reach 0.7 eps"),
        ({"source": None}, "source"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TransferConfig(**{**FAST, **values})


def test_cost_in_passes() -> None:
    """Two passes a step and restart on the source, its clean pass, and two of the judge; for every budget."""
    config = TransferConfig(source="other", eps=("8/255", "16/255"), steps=40, restarts=2, items=100)
    assert Transfer().passes(config, 1000, None) == 100 * 2 * (2 * 40 * 2 + 3)  # type: ignore[arg-type]
    assert Transfer().passes(config, 30, None) == 30 * 2 * (2 * 40 * 2 + 3)  # type: ignore[arg-type]
