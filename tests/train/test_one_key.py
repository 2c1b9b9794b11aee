"""One key, one result: over every shipped variant of the backbone, and a stranger that draws wherever it can."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_models.configs import SoftmaxConfig
from bench_models.softmax import LinearClassifier, Softmax
from torch import Tensor, nn

from bench.data.splits import Splits
from bench.family import Batch, Iteration, Step
from bench.rng import preserved
from bench.spec import GuardConfig
from bench.train import checkpoint
from bench.train.loop import Trainer, TrainingInterrupted
from bench.weights import load as trained
from bench.weights.find import Blueprint

VARIANTS = [f"wrn-10-1{norm}{drop}" for norm in ("", "-batch", "-layer") for drop in ("", "-drop0.3")]
SAMPLED = {"sampler": {"steps": 2, "buffer": 40}}
FAMILIES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "jem": SAMPLED,
    "gmmc-joint": {**SAMPLED, "start_generative": 1},
}
EVERY = [("softmax", variant) for variant in VARIANTS] + [
    (family, variant) for family in ("jem", "gmmc-joint") for variant in ("wrn-10-1-drop0.3", "wrn-10-1-batch-drop0.3")
]


@pytest.fixture(autouse=True)
def the_generators_of_other_tests() -> Any:
    with preserved():
        yield


def disturb() -> None:
    """What other code in the process may have done to the generators that belong to it."""
    random.seed()
    np.random.seed()  # noqa: NPY002
    torch.seed()


def made(family: str, backbone: str, splits: Splits, **config: Any) -> Trainer:
    values = {"epochs": 2, "batch_size": 32, "lr": 1e-3, "warmup": 2, "decay_epochs": [1], "select": "last", **config}
    spec = Blueprint(family=family, backbone=backbone, config={**values, **FAMILIES[family]}, seed=1)
    disturb()
    own, model = trained.build(spec, 10, (1, 8, 8), "cpu")
    disturb()
    return Trainer(own, model, splits, augmentation="crop", seed=1)


def digest(trainer: Trainer) -> str:
    """Of the weights and of what the family keeps, at the end."""
    disturb()
    result = trainer.run()
    assert result.selected is not None
    found = hashlib.sha256()
    for tensors in (result.selected.weights, result.selected.state):
        for name in sorted(tensors):
            found.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def interrupted(trainer: Trainer, folder: Path, at: int) -> None:
    """Saved at an iteration and killed at a later one."""
    disturb()
    saved = False

    def stop() -> bool:
        nonlocal saved
        if trainer.iteration == at and not saved:
            saved = True
            checkpoint.save(trainer, folder)
        return trainer.iteration > at

    with pytest.raises(TrainingInterrupted):
        trainer.run(should_stop=stop)
    assert saved


@pytest.mark.parametrize(("family", "backbone"), EVERY)
def test_again_and_resumed_at_every_iteration(family: str, backbone: str, digits: Splits, tmp_path: Path) -> None:
    expected = digest(made(family, backbone, digits))
    assert digest(made(family, backbone, digits)) == expected
    for at in (1, 2, 3, 4):
        folder = tmp_path / str(at)
        interrupted(made(family, backbone, digits), folder, at)
        fresh = made(family, backbone, digits)
        assert checkpoint.restore(fresh, folder) == f"continued at iteration {at}"
        assert digest(fresh) == expected, at


def test_dropout_draws_other_numbers_from_another_seed(digits: Splits) -> None:
    """What is seeded must not be constant: two steps, and two runs of other seeds, drop other units."""
    masks = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        masks.append(output.detach() == 0)

    for seed in (1, 2):
        trainer = made("softmax", "wrn-10-1-drop0.3", digits, epochs=1)
        trainer.globals.seed(seed)
        next(m for m in trainer.model.modules() if isinstance(m, nn.Dropout)).register_forward_hook(keep)
        trainer.run()
    dropped = [mask.float().mean().item() for mask in masks if mask.any()]
    assert dropped
    assert all(abs(share - 0.3) < 0.05 for share in dropped)
    training = [mask for mask in masks if mask.any()]
    assert len({hashlib.sha256(mask.numpy().tobytes()).hexdigest() for mask in training}) == len(training)


@pytest.mark.parametrize("backbone", ["wrn-10-1", "wrn-10-1-batch", "wrn-10-1-layer"])
def test_without_dropout_nothing_is_drawn(backbone: str, digits: Splits) -> None:
    """So that the numbers of these networks are those of before global generators were seeded."""
    trainer = made("softmax", backbone, digits, epochs=1)
    before = {name: tensor.clone() for name, tensor in trainer.globals.state_dict().items()}
    trainer.run()
    after = trainer.globals.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


class Restless(LinearClassifier):
    """Draws from all three generators in every pass, in training and in evaluation."""

    def features(self, images: Tensor) -> Tensor:
        noise = torch.rand(()) + random.random() + float(np.random.rand())  # noqa: NPY002
        return super().features(images + 0.01 * noise)


class RestlessFamily(Softmax):
    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> Restless:
        model = Restless(backbone, num_classes, image_shape)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1e-3 * random.random() + 1e-3 * float(np.random.rand()))  # noqa: NPY002
        return model

    def start(self, model: Any, generator: torch.Generator) -> Any:
        return Walk(generator, random.random())

    def training_step(self, model: Any, batches: Mapping[str, Batch], state: Any, iteration: Iteration) -> Step:
        state.advance()
        step = super().training_step(model, batches, state, iteration)
        return Step(step.loss * (1 + 0.1 * random.random()) + 0.01 * state.place.detach(), step.logs)

    def after_training(self, model: Any, clean: Any) -> None:
        with torch.no_grad():
            model.head.bias.add_(float(np.random.rand()))  # noqa: NPY002


class Walk:
    """A state that keeps the generator which it was given, and does not save it: the harness does."""

    def __init__(self, generator: torch.Generator, place: float) -> None:
        self.generator, self.place = generator, torch.tensor(place)

    def advance(self) -> None:
        self.place = self.place + torch.rand((), generator=self.generator)

    def state_dict(self) -> dict[str, Tensor]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.place = state["place"]


@pytest.fixture
def restless(digits: Splits) -> Callable[..., Trainer]:
    def make(**config: Any) -> Trainer:
        values: dict[str, Any] = {
            "epochs": 2,
            "batch_size": 32,
            "warmup": 0,
            "decay_epochs": (),
            "lr": 1e-3,
            "select": "last",
            **config,
        }
        disturb()
        family = RestlessFamily(SoftmaxConfig(**(values | config)))
        with preserved():
            torch.manual_seed(1)
            random.seed(1)
            np.random.seed(1)  # noqa: NPY002
            model = family.build(Pixels(), 10, (1, 8, 8))
        disturb()
        return Trainer(family, model, digits, augmentation="none", seed=1)

    return make


class Pixels(nn.Flatten):
    feature_dim = 64


def test_a_stranger_that_draws_everywhere(restless: Callable[..., Trainer], tmp_path: Path) -> None:
    expected = digest(restless())
    assert digest(restless()) == expected
    for at in (1, 3, 4):
        interrupted(restless(), tmp_path / str(at), at)
        fresh = restless()
        checkpoint.restore(fresh, tmp_path / str(at))
        assert digest(fresh) == expected, at


def test_validation_shifts_no_draw_of_training(restless: Callable[..., Trainer]) -> None:
    """A validation that looks twice, or at a stochastic model, changes neither the next epoch nor itself."""
    expected = digest(restless())
    trainer = restless()
    look = trainer._validate
    seen: list[tuple[float | None, float | None]] = []

    def twice() -> float | None:
        seen.append((look(), look()))
        return seen[-1][1]

    trainer._validate = twice  # type: ignore[method-assign]
    assert digest(trainer) == expected
    assert [first for first, _ in seen] == [second for _, second in seen]


def test_a_restart_draws_other_numbers_and_the_same_in_every_process(
    restless: Callable[..., Trainer], tmp_path: Path
) -> None:
    def failing(trainer: Trainer) -> Trainer:
        step = trainer.family.training_step
        seen: list[int] = []

        def once(model: Any, batches: Any, state: Any, iteration: Iteration) -> Step:
            seen.append(iteration.index)
            found = step(model, batches, state, iteration)
            return Step(found.loss * float("nan"), {}) if not trainer.trips and iteration.index == 4 else found

        trainer.family.training_step = once  # type: ignore[method-assign]
        return trainer

    config = {"guard": GuardConfig(restarts=2)}
    expected = digest(failing(restless(**config)))
    assert expected != digest(restless(**config))
    assert digest(failing(restless(**config))) == expected
    first = failing(restless(**config))
    with pytest.raises(TrainingInterrupted):
        first.run(should_stop=lambda: bool(first.trips) and first.iteration == 4)
    checkpoint.save(first, tmp_path)
    fresh = failing(restless(**config))
    checkpoint.restore(fresh, tmp_path)
    assert len(fresh.trips) == 1
    assert digest(fresh) == expected


def test_training_leaves_the_callers_generators_alone(restless: Callable[..., Trainer]) -> None:
    trainer = restless()
    before = random.getstate(), torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    trainer.run()
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[2])  # noqa: NPY002
