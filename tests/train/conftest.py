"""Trainers on a few digits, and on a scripted family whose every number is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.data.spec import Split
from bench.data.splits import Caps, Splits
from bench.family import Batch, Classifier, Family, Iteration, Step, StreamSpec
from bench.spec import TrainingConfig
from bench.train import rows
from bench.train.loop import Trainer
from bench.weights import load as trained
from bench.weights.find import Blueprint
from tests.train.buffered import Buffer

CLASSES = 2


@pytest.fixture(scope="session")
def digits() -> Splits:
    """96 training, 60 validation and 10 test digits."""
    caps = Caps(train=96, validation=60, test=10)
    return load_splits(DATASETS.get("digits"), Path("/"), seed=0, validation=200, caps=caps)


@pytest.fixture(scope="session")
def whole() -> Splits:
    """448 training digits: seven batches of 64."""
    caps = Caps(train=448, validation=60, test=10)
    return load_splits(DATASETS.get("digits"), Path("/"), seed=0, validation=200, caps=caps)


@pytest.fixture
def trainer(digits: Splits) -> Callable[..., Trainer]:
    """Makes trainers of registered families on ``digits``: WRN-10-1, batches of 32, three epochs."""

    def make(family: str, *, seed: int = 1, device: str = "cpu", splits: Splits = digits, **config: Any) -> Trainer:
        values = {"epochs": 3, "batch_size": 32, "lr": 1e-3, "warmup": 4, "decay_epochs": [2], **config}
        spec = Blueprint(family=family, backbone="wrn-10-1", config=values, seed=seed)
        made, model = trained.build(spec, 10, (1, 8, 8), device)
        return Trainer(made, model, splits, augmentation="none", seed=seed)

    return make


class Scripted(Classifier):
    """Gets as many validation items right as the script says for the present epoch."""

    script: Tensor
    epoch: Tensor

    def __init__(self, script: Sequence[int]) -> None:
        super().__init__(CLASSES, (1, 1, 1))
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("script", torch.tensor(script))
        self.register_buffer("epoch", torch.tensor(0))
        self.seen: list[tuple[bool, Tensor]] = []

    def features(self, images: Tensor) -> Tensor:
        self.seen.append((self.training, images.detach().clone()))
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        # Item i has the pixel i / 100 and the label i % 2; those below the script's count are classified rightly.
        index = (features[:, 0] * 100).round().long()
        right = index < self.script[self.epoch]
        predicted = torch.where(right, index % CLASSES, 1 - index % CLASSES)
        return nn.functional.one_hot(predicted, CLASSES).float()


class Counter:
    """A state that counts steps."""

    def __init__(self) -> None:
        self.steps = torch.tensor(0)

    def state_dict(self) -> dict[str, Tensor]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.steps.copy_(state["steps"])


class ScriptedFamily(Family[TrainingConfig]):
    """The loss is ``losses(iteration)``; its gradient with respect to the one weight is 1."""

    def __init__(self, config: TrainingConfig, script: Sequence[int], losses: Callable[[int], float]) -> None:
        super().__init__(config)
        self.script, self.losses = script, losses
        self.iterations: list[Iteration] = []
        self.batches: list[Mapping[str, Batch]] = []
        self.cleaned: list[Batch] = []
        self.fitted: list[Batch] = []
        self.calls: list[str] = []
        self.finished_with: float | None = None

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> Scripted:
        return Scripted(self.script)

    def streams(self) -> Mapping[str, StreamSpec]:
        return {"first": StreamSpec(sigma=self.config.sigma), "second": StreamSpec(sigma=0.0)}

    def before_training(self, model: Scripted, clean: Callable[[], Iterable[Batch]]) -> None:
        self.fitted = list(clean())
        self.calls.append("before_training")

    def start(self, model: Any, generator: torch.Generator) -> Counter:
        self.calls.append("start")
        return Counter()

    def training_step(
        self, model: Scripted, batches: Mapping[str, Batch], state: Counter, iteration: Iteration
    ) -> Step:
        self.iterations.append(iteration)
        self.batches.append(batches)
        model.epoch.fill_(iteration.epoch)
        state.steps += 1
        value = self.losses(iteration.index)
        return Step(model.weight - model.weight.detach() + value, {"twice": torch.tensor(2.0 * value)})

    def after_training(self, model: Scripted, clean: Callable[[], Iterable[Batch]]) -> None:
        self.cleaned = list(clean())
        self.finished_with = float(model.weight.detach())


@pytest.fixture
def scripted() -> Callable[..., Trainer]:
    """Makes trainers of the scripted family: 12 training items, 10 validation items, batches of 4."""

    def numbered(n: int) -> Split:
        ids = np.arange(n, dtype=np.int64)
        return Split((ids / 100).astype(np.float32).reshape(n, 1, 1, 1), ids % CLASSES, ids)

    def make(script: Sequence[int] = (5,), losses: Callable[[int], float] = lambda _: 1.0, **config: Any) -> Trainer:
        values = {"epochs": len(script), "batch_size": 4, "warmup": 0, "decay_epochs": [], "lr": 0.5, **config}
        family = ScriptedFamily(TrainingConfig.model_validate_json(_json(values)), script, losses)
        model = family.build(nn.Identity(), CLASSES, (1, 1, 1))
        splits = Splits(numbered(12), numbered(10), numbered(1))
        return Trainer(family, model, splits, augmentation="none", seed=3)

    return make


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints store small tensors by rows, too."""
    monkeypatch.setattr(rows, "LARGE", 0)
    monkeypatch.setattr(rows, "MANY", 2)
    monkeypatch.setattr(rows, "NARROW", 8)


@pytest.fixture
def buffered(scripted: Callable[..., Trainer]) -> Callable[[], Trainer]:
    """Makes trainers of the scripted family whose state is a buffer of rows."""

    def make() -> Trainer:
        trainer = scripted((3, 9, 5))
        trainer.state = Buffer()
        return trainer

    return make


def _json(values: Mapping[str, object]) -> str:
    import json

    return json.dumps(values)
