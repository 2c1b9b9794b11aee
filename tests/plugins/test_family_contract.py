"""What families and classifiers of others return is held against the contract, before a number comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.family import Batch, Classifier, Family, Iteration, Step, StreamSpec
from bench.plugins.family_contract import (
    FamilyContractError,
    checked_model,
    checked_state,
    checked_step,
    checked_streams,
)
from bench.predict.outputs import predict
from bench.spec import TrainingConfig
from bench.train.loop import Trainer

K, SHAPE = 3, (1, 2, 2)
Change = Callable[[Tensor], Any]


class Net(Classifier):
    """A linear classifier of which one output may be changed."""

    def __init__(self, **changes: Change) -> None:
        super().__init__(K, SHAPE)
        self.head = nn.Linear(4, K)
        self.changes = changes

    def _changed(self, name: str, value: Any) -> Any:
        return self.changes[name](value) if name in self.changes else value

    def features(self, images: Tensor) -> Any:
        return self._changed("features", images.flatten(1))

    def classify(self, features: Tensor) -> Any:
        weight, bias = self.head.weight.to(features.dtype), self.head.bias.to(features.dtype)
        return self._changed("classify", nn.functional.linear(features, weight, bias))

    def evidence(self, features: Tensor, logits: Tensor) -> Any:
        return self._changed("evidence", super().evidence(features, logits))

    def readouts(self) -> Any:
        return self._changed("readouts", super().readouts())


class Made(Family[TrainingConfig]):
    """A family of which one hook may be another."""

    def __init__(self, step: Change = Step, after: Callable[[Any], object] = lambda model: model) -> None:
        super().__init__(TrainingConfig(epochs=1, batch_size=4, warmup=0, decay_epochs=()))
        self._step, self._after = step, after

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> Net:
        return Net()

    def training_step(self, model: Net, batches: Mapping[str, Batch], state: Any, iteration: Iteration) -> Step:
        batch = batches["train"]
        step: Step = self._step(nn.functional.cross_entropy(model(batch.images), batch.labels))
        return step

    def after_training(self, model: Net, clean: Any) -> None:
        self._after(model)


def split(n: int) -> Split:
    images = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
    return Split(images, np.arange(n) % K, np.arange(n))


def train(family: Made, model: Net) -> Trainer:
    trainer = Trainer(family, model, Splits(split(8), split(6), split(1)), augmentation="none", seed=1)
    trainer.run()
    return trainer


WRONG_ROWS: dict[str, Change] = {
    "one row": lambda rows: rows[:1],
    "a row short": lambda rows: rows[:-1],
    "a column more": lambda rows: torch.cat([rows, rows[:, :1]], dim=1),
    "a column less": lambda rows: rows[:, :-1],
    "a dimension more": lambda rows: rows[:, :, None],
    "integers": lambda rows: (rows * 10).long(),
    "truth": lambda rows: rows > 0,
    "complex": lambda rows: rows.to(torch.complex64),
    "an array": lambda rows: rows.detach().numpy(),
    "a list": list,
    "nothing": lambda _: None,
    "another device": lambda rows: rows.to("meta"),
    "sparse": lambda rows: rows.detach().to_sparse(),
}


@pytest.mark.parametrize("wrong", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_logits_that_are_not_n_times_k_fail_validation_and_prediction(wrong: Change) -> None:
    """Some of them broadcast against the labels: a validation accuracy of 175 % came of it."""

    class InEvaluation(Net):
        def classify(self, features: Tensor) -> Any:
            logits = super().classify(features)
            return logits if self.training else wrong(logits)

    with pytest.raises(FamilyContractError, match=r"logits returned .* for 6 images, expected .* \(6, 3\)"):
        train(Made(), InEvaluation())
    with pytest.raises(FamilyContractError, match=r"classify returned .* for 5 images, expected .* \(5, 3\)"):
        predict("forward", Net(classify=wrong).eval(), split(5), lambda _: None)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda density: density[:, None],
        lambda density: density.sum(),
        lambda density: density[:1],
        lambda density: density.long(),
        lambda _: None,
    ],
)
def test_a_density_is_one_number_an_image(wrong: Change) -> None:
    """A column (N, 1) broadcasts against (N,) in every score that comes later."""
    model = Net(evidence=wrong).eval()
    for output, name in (("forward", "evidence"), ("gradient", "log_density")):
        with pytest.raises(FamilyContractError, match=rf"{name} returned .* for 5 images, expected .* \(5,\)"):
            predict(output, model, split(5), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": lambda rows: rows[:, :, None]}, r"features returned .* \(5, 4, 1\) .* expected .* \(5, d\)"),
        ({"readouts": lambda _: None}, "readouts returned NoneType"),
        ({"readouts": lambda _: {"native": lambda rows: rows[:, :2]}}, r"readouts\(\)\['native'\] returned"),
    ],
)
def test_features_and_readouts_are_rows(changes: dict[str, Change], message: str) -> None:
    with pytest.raises(FamilyContractError, match=message):
        predict("forward", Net(**changes).eval(), split(5), lambda _: None)


def test_what_keeps_the_contract_is_as_it_was() -> None:
    trainer = train(Made(lambda loss: Step(loss, {"twice": 2 * loss, "half": 0.5, "count": torch.tensor(3)})), Net())
    (entry,) = trainer.history
    assert entry["twice"] == pytest.approx(2 * entry["loss"])
    assert (entry["half"], entry["count"]) == (0.5, 3.0)
    assert all(not total.requires_grad for total in trainer.sums.values())
    model = Net().eval()
    found = predict("forward", model, split(5), lambda _: None)
    assert found["logits"].shape == (5, K)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        half = predict("forward", Net(classify=lambda rows, to=dtype: rows.to(to)).eval(), split(5), lambda _: None)
        assert half["logits"].shape == (5, K)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda loss: loss, r"returned a tensor of float32 of shape \(\), expected a bench.family.Step"),
        (lambda _: None, "returned None"),
        (lambda loss: Step(loss.item()), "the loss is float"),  # type: ignore[arg-type]
        (lambda loss: Step(loss.detach()), "the loss has no gradient"),
        (lambda loss: Step(loss.expand(3)), r"the loss is a tensor of float32 of shape \(3,\)"),
        (lambda loss: Step(loss.to(torch.complex64)), "the loss is a tensor of complex64"),
        (lambda loss: Step(loss, None), "the logs are None"),  # type: ignore[arg-type]
        (lambda loss: Step(loss, {"a": "x"}), "the log 'a' is str"),  # type: ignore[dict-item]
        (lambda loss: Step(loss, {"a": torch.ones(2)}), r"the log 'a' is a tensor of float32 of shape \(2,\)"),
        (lambda loss: Step(loss, {3: loss}), "a log is called 3"),  # type: ignore[dict-item]
        # The guard would watch this in place of the loss; the history would hold it in place of the measured one.
        (lambda loss: Step(loss, {"loss": torch.tensor(0.5)}), "a log is called 'loss'"),
        (lambda loss: Step(loss, {"validation_accuracy": loss}), "a log is called 'validation_accuracy'"),
    ],
)
def test_a_step_that_is_none_is_named(step: Change, message: str) -> None:
    with pytest.raises(FamilyContractError, match=f"Made.training_step.*{message}"):
        train(Made(step), Net())


def test_a_log_that_needs_a_gradient_does_not_keep_the_graph() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    step = checked_step(Step(loss, {"a": loss}), "F")
    assert step.loss.requires_grad
    assert not step.logs["a"].requires_grad


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (lambda model: delattr(model, "head"), "head.weight is missing"),
        (lambda model: model.register_buffer("more", torch.ones(2)), "more is unknown"),
        (lambda model: setattr(model, "head", nn.Linear(4, K + 1)), r"head.weight has shape \(4, 4\)"),
    ],
)
def test_what_follows_training_leaves_a_model_that_can_be_loaded(after: Callable[[Any], object], message: str) -> None:
    """Else training is done, and whoever reads its weights fails."""
    with pytest.raises(FamilyContractError, match=f"after_training left another model.*{message}"):
        train(Made(after=after), Net())


def test_models_streams_and_states_of_another_kind_are_named() -> None:
    net = Net()
    assert checked_model(net, K, SHAPE, "F") is net
    for built, message in ((None, "returned None"), (nn.Linear(2, 2), "returned Linear")):
        with pytest.raises(FamilyContractError, match=f"F.build {message}, expected a bench.family.Classifier"):
            checked_model(built, K, SHAPE, "F")
    with pytest.raises(FamilyContractError, match="num_classes is 3, expected 5"):
        checked_model(net, 5, SHAPE, "F")
    with pytest.raises(FamilyContractError, match=r"image_shape is \(1, 2, 2\), expected \(3, 2, 2\)"):
        checked_model(net, K, (3, 2, 2), "F")
    streams = {"train": StreamSpec()}
    assert checked_streams(streams, "F") is streams
    for wrong in ({}, None, {"train": 3}, {1: StreamSpec()}):
        with pytest.raises(FamilyContractError, match=r"F\.streams"):
            checked_streams(wrong, "F")
    assert checked_state(None, "F") is None
    assert checked_state(net, "F") is net
    for wrong in ({"a": torch.zeros(1)}, 7):
        with pytest.raises(FamilyContractError, match=r"F\.start returned"):
            checked_state(wrong, "F")
