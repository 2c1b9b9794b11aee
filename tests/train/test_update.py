"""Optimisers, schedules, clipping, averages, and families that change the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.family import Step, Update
from bench.optimizer import OptimizerConfig, learning_rate
from bench.spec import TrainingConfig
from bench.train.loop import Trainer
from bench.train.snapshot import capture, put_back
from bench.train.update import Average, optimizer_of

ALL = {
    "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "schedule": "cosine",
    "final_lr": 1e-5,
    "clip": 1.0,
    "average": 0.9,
}


class Quadratic(nn.Module):
    """The loss is half the weighted square of its parameters."""

    def __init__(self, start: list[float], scale: list[float]) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(start[:1], dtype=torch.float64))
        self.rest = nn.Parameter(torch.tensor(start[1:], dtype=torch.float64))
        self.scale = torch.tensor(scale, dtype=torch.float64)

    @property
    def values(self) -> Tensor:
        return torch.cat([self.first, self.rest])

    def loss(self) -> Tensor:
        return (self.scale * self.values**2).sum() / 2


def updated(model: Quadratic, config: OptimizerConfig, *, steps: int = 4, lr: float = 0.1, **options: Any) -> Tensor:
    optimizer = optimizer_of(config, model, lr)
    for _ in range(steps):
        update = Update(Step(model.loss()), model, optimizer, **options)
        update.backward()
        update.apply()
    return model.values.detach()


def test_sgd_with_momentum_and_weight_decay_is_its_formula() -> None:
    """v = 0.9 v + (g + decay w);  w = w - lr (g + decay w + 0.9 v) for Nesterov's form (Sutskever et al. 2013)."""
    config = OptimizerConfig(kind="sgd", momentum=0.9, nesterov=True, weight_decay=0.01)
    found = updated(Quadratic([1.0, -2.0], [3.0, 0.5]), config)
    for start, scale, value in zip([1.0, -2.0], [3.0, 0.5], found.tolist(), strict=True):
        w, v = start, 0.0
        for _ in range(4):
            g = scale * w + 0.01 * w
            v = 0.9 * v + g
            w -= 0.1 * (g + 0.9 * v)
        assert value == pytest.approx(w, rel=1e-12)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_and_adamw_are_their_formulas(kind: str) -> None:
    config = OptimizerConfig.model_validate({"kind": kind, "betas": (0.8, 0.99), "weight_decay": 0.01})
    found = updated(Quadratic([1.0, -2.0], [3.0, 0.5]), config)
    for start, scale, value in zip([1.0, -2.0], [3.0, 0.5], found.tolist(), strict=True):
        w, m, v = start, 0.0, 0.0
        for t in range(1, 5):
            g = scale * w
            if kind == "adam":
                g += 0.01 * w
            else:
                w -= 0.1 * 0.01 * w
            m, v = 0.8 * m + 0.2 * g, 0.99 * v + 0.01 * g * g
            w -= 0.1 * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-8)
        assert value == pytest.approx(w, rel=1e-9)


def test_a_long_gradient_is_scaled_and_a_short_one_is_not() -> None:
    for clip, factor in ((1.0, 0.2), (50.0, 1.0)):  # the gradient (3, 4) has norm 5
        found = updated(Quadratic([3.0, 4.0], [1.0, 1.0]), OptimizerConfig(kind="sgd"), steps=1, clip=clip)
        assert found.tolist() == pytest.approx([3 - 0.1 * 3 * factor, 4 - 0.1 * 4 * factor], rel=1e-6)


def test_the_average_is_its_sum_and_buffers_are_copied() -> None:
    model = nn.BatchNorm1d(1).double()
    average = Average(model, 0.9)
    expected = 1.0
    for step in range(5):
        with torch.no_grad():
            model.weight.fill_(step)
            model.running_mean.fill_(step)  # type: ignore[union-attr]
        average.update(model)
        expected = 0.9 * expected + 0.1 * step
    assert float(average.weights["weight"]) == pytest.approx(expected)
    assert float(average.weights["running_mean"]) == 4
    with average.in_place_of(model):
        assert float(model.weight.detach()) == pytest.approx(expected)
    assert float(model.weight.detach()) == 4


@pytest.mark.parametrize("warmup", [0, 10])
def test_the_cosine_is_that_of_torch(warmup: int) -> None:
    config = TrainingConfig(lr=0.2, final_lr=0.01, schedule="cosine", warmup=warmup, epochs=5)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50 - warmup, eta_min=0.01)
    for iteration in range(warmup, 50):
        (expected,) = peer.get_last_lr()
        assert learning_rate(config, iteration, 10) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        peer.step()


def test_the_constant_schedule_has_a_warm_up_too() -> None:
    config = TrainingConfig(lr=0.2, schedule="constant", warmup=10, epochs=5)
    assert [learning_rate(config, i, 10) for i in (0, 5, 10, 49)] == pytest.approx([0.0, 0.1, 0.2, 0.2])


def run(trainer: Trainer) -> dict[str, Tensor]:
    return dict(trainer.run().selected.weights)  # type: ignore[union-attr]


@pytest.mark.parametrize("family", ["softmax", "gmmc-gen"])
def test_what_is_captured_goes_on_to_the_bit(trainer: Callable[..., Trainer], family: str) -> None:
    from bench.train.loop import TrainingInterrupted

    config = {**ALL, **({"sampler": {"steps": 2, "buffer": 20}} if family == "gmmc-gen" else {})}
    whole = run(trainer(family, **config))
    first = trainer(family, **config)
    with pytest.raises(TrainingInterrupted):
        first.run(should_stop=lambda: first.iteration == 5)
    second = trainer(family, seed=1, **config)
    put_back(second, capture(first, selected=True))
    resumed = run(second)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    plain = run(trainer(family, **{**config, "average": None}))
    assert any(not torch.equal(plain[name], whole[name]) for name in whole)


def test_the_averaged_weights_are_validated_and_selected(scripted: Callable[..., Trainer]) -> None:
    made = scripted(average=0.5, epochs=1)
    made.run()
    assert made.average is not None
    assert made.selected is not None
    for name, value in made.average.weights.items():
        if name != "epoch":
            torch.testing.assert_close(made.selected.weights[name], value, rtol=0, atol=0)


class Sharp:
    """SAM as the documentation shows it."""

    rho = 0.5

    def update(self, model: nn.Module, update: Update) -> None:
        update.backward()
        with update.ascended(self.rho):
            assert update.step.again is not None
            update.backward(update.step.again())
        update.apply()


def test_sam_is_its_formula() -> None:
    """w - lr g(w + rho g(w) / |g(w)|)  (Foret et al. 2021, Algorithm 1)."""
    model = Quadratic([1.0, -2.0, 0.5], [3.0, 0.5, 1.0])
    w = model.values.detach().clone()
    optimizer = optimizer_of(OptimizerConfig(kind="sgd"), model, 0.1)
    for _ in range(3):
        Sharp().update(model, Update(Step(model.loss(), again=model.loss), model, optimizer))
        g = model.scale * w
        w = w - 0.1 * model.scale * (w + 0.5 * g / g.norm())
    torch.testing.assert_close(model.values.detach(), w, rtol=1e-12, atol=0)


def test_adaptive_sam_moves_each_weight_in_units_of_its_size() -> None:
    """w + rho w^2 g / |w g|  (Kwon et al. 2021); a weight of 0 stays."""
    model = Quadratic([1.0, -2.0, 0.0], [3.0, 0.5, 1.0])
    w = model.values.detach().clone()
    g = torch.tensor([0.7, -0.3, 5.0], dtype=torch.float64)
    update = Update(Step(model.values @ g), model, optimizer_of(OptimizerConfig(kind="sgd"), model, 0.1))
    update.backward()
    with update.ascended(2.0, adaptive=True):
        torch.testing.assert_close(model.values.detach(), w + 2.0 * w**2 * g / (w * g).norm(), rtol=1e-12, atol=0)
        assert ((model.values.detach() - w)[:2] / w[:2]).norm() == pytest.approx(2.0, rel=1e-12)
    assert torch.equal(model.values, w)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("gradient", [0.0, math.inf, math.nan])
def test_nothing_moves_without_a_finite_gradient(gradient: float, adaptive: bool) -> None:
    model = Quadratic([1.0, -2.0], [1.0, 1.0])
    update = Update(Step(model.loss()), model, optimizer_of(OptimizerConfig(kind="sgd"), model, 0.1))
    update.backward()
    model.first.grad.fill_(gradient)  # type: ignore[union-attr]
    model.rest.grad.fill_(gradient)  # type: ignore[union-attr]
    before = model.values.detach().clone()
    with update.ascended(0.5, adaptive=adaptive):
        assert torch.equal(model.values, before)
    assert torch.equal(model.values, before)


class TestSettings:
    def test_defaults_are_written_as_before(self) -> None:
        """Keys of results are hashes of these values."""
        values = TrainingConfig().model_dump(mode="json")
        assert values["optimizer"] == "adam"
        assert not {"schedule", "final_lr", "clip", "average"} & values.keys()
        assert TrainingConfig.model_validate({"optimizer": "adam"}).model_dump(mode="json") == values
        table: Mapping[str, Any] = {"optimizer": {"kind": "adam"}, "schedule": "step", "final_lr": 0.0}
        assert TrainingConfig.model_validate(table).model_dump(mode="json") == values

    def test_a_removed_field_is_written_and_read_as_what_is_done_now(self) -> None:
        """Keys of trainings are those of when steps could be compiled."""
        values = TrainingConfig().model_dump(mode="json")
        assert values["compile"] is False
        assert TrainingConfig.read(values) == TrainingConfig()
        with pytest.raises(ValidationError, match="compile"):
            TrainingConfig.read({**values, "compile": True})
        with pytest.raises(ValidationError, match="compile"):
            TrainingConfig.model_validate({"compile": False})

    def test_a_family_may_have_a_field_with_the_name_of_a_removed_one(self) -> None:
        class Own(TrainingConfig):
            compile: bool = False

        for value in (False, True):
            made = Own(compile=value)
            assert made.model_dump(mode="json")["compile"] is value
            assert Own.read(made.model_dump(mode="json")) == made

    def test_other_values_are_read_back(self) -> None:
        made = TrainingConfig.model_validate(ALL)
        values = made.model_dump(mode="json")
        assert {name: values[name] for name in ("schedule", "final_lr", "clip", "average")} == {
            name: ALL[name] for name in ("schedule", "final_lr", "clip", "average")
        }
        assert TrainingConfig.read(values) == made
        assert TrainingConfig.model_validate({"optimizer": "sgd"}).optimizer == OptimizerConfig(kind="sgd")

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"optimizer": {"kind": "adam", "momentum": 0.9}}, "adam has no momentum"),
            ({"optimizer": {"kind": "sgd", "betas": (0.5, 0.9)}}, "sgd has no betas"),
            ({"optimizer": {"kind": "sgd", "nesterov": True}}, "nesterov needs a momentum"),
            ({"optimizer": "lion"}, "'adam', 'adamw' or 'sgd'"),
            ({"final_lr": 1e-5}, "final_lr is the end of schedule = 'cosine'"),
            ({"final_lr": 1.0, "schedule": "cosine"}, "is above lr"),
            ({"average": 1.0}, "less than 1"),
            ({"clip": 0.0}, "greater than 0"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, values: Mapping[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            TrainingConfig.model_validate(values)
