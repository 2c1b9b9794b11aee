"""The one training loop, for every family."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.data.splits import Splits
from bench.family import Batch, Classifier, Family, Iteration, State
from bench.keys import derive_seed
from bench.train.guard import divergence
from bench.train.schedule import learning_rate
from bench.train.streams import Stream

__all__ = ["Progress", "Snapshot", "Trainer", "TrainingResult"]

EVAL_BATCH = 256
GUARD_EVERY_ON_GPU = 20
"""Reading the loss makes the host wait for the device; on a GPU it is read only so often."""

Progress = Callable[[Mapping[str, Any]], None]


@dataclass
class Snapshot:
    """The selected epoch: weights, and what the family's state held then."""

    epoch: int
    validation_accuracy: float
    weights: dict[str, Tensor]
    state: dict[str, Tensor]


@dataclass
class TrainingResult:
    """How training ended.

    Attributes:
        selected: The epoch that counts; None if none was finished.
        history: One entry an epoch.
        diverged: Why and where training was given up, or None.
    """

    selected: Snapshot | None
    history: list[dict[str, Any]] = field(default_factory=list)
    diverged: dict[str, Any] | None = None


class Trainer:
    """Trains one classifier; its whole state can be taken out and put back between epochs.

    Args:
        family: The family with its configuration.
        model: Freshly built, on the training device.
        splits: Training and validation items.
        augmentation: What the data set allows.
        seed: Training seed.
    """

    def __init__(self, family: Family[Any], model: Classifier, splits: Splits, *, augmentation: str, seed: int) -> None:
        config = family.config
        self.family, self.model, self.config = family, model, config
        self.device = next(model.parameters()).device
        images = torch.from_numpy(splits.train.unit_images()).to(self.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(splits.train.labels).to(self.device)
        self.clean = (images, labels)
        self.validation = (
            torch.from_numpy(splits.validation.unit_images()).to(self.device),
            torch.from_numpy(splits.validation.labels).to(self.device),
        )
        self.streams = {
            name: Stream(
                images,
                labels,
                spec,
                augmentation=augmentation,
                batch_size=config.batch_size,
                seed=derive_seed(seed, "stream", name),
            )
            for name, spec in family.streams().items()
        }
        self.per_epoch = next(iter(self.streams.values())).per_epoch
        self.generator = torch.Generator(self.device).manual_seed(derive_seed(seed, "step"))
        state_generator = torch.Generator(self.device).manual_seed(derive_seed(seed, "state"))
        self.state: State | None = family.start(model, state_generator)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, betas=(0.9, 0.999))
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.selected: Snapshot | None = None

    def run(
        self, progress: Progress = lambda _: None, after_epoch: Callable[[], None] = lambda: None
    ) -> TrainingResult:
        """Train to the last epoch, or until training diverges.

        Args:
            progress: Told where training stands, often.
            after_epoch: Called between epochs, when the state may be saved.
        """
        while self.epoch < self.config.epochs:
            diverged = self._epoch(progress)
            if diverged is not None:
                return TrainingResult(self.selected, self.history, diverged)
            self.epoch += 1
            after_epoch()
        assert self.selected is not None
        self.model.load_state_dict(self.selected.weights)
        self.model.eval()
        self.family.after_training(self.model, self.clean_batches)
        self.selected.weights = _copied(self.model.state_dict())
        return TrainingResult(self.selected, self.history)

    def clean_batches(self) -> Iterable[Batch]:
        """The clean, un-augmented training set, once, in order."""
        images, labels = self.clean
        for start in range(0, len(images), EVAL_BATCH):
            yield Batch(images[start : start + EVAL_BATCH], labels[start : start + EVAL_BATCH])

    def _epoch(self, progress: Progress) -> dict[str, Any] | None:
        began = time.perf_counter()
        self.model.train()
        sums: dict[str, Tensor] = {}
        rate = 0.0
        for step_index in range(self.per_epoch):
            index = self.epoch * self.per_epoch + step_index
            rate = learning_rate(self.config, index, self.per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batches = {name: stream.next() for name, stream in self.streams.items()}
            iteration = Iteration(index, self.epoch, self.per_epoch, self.generator)
            step = self.family.training_step(self.model, batches, self.state, iteration)
            reason = self._trip(index, step.loss, step.logs)
            if reason is not None:
                return {"epoch": self.epoch + 1, "iteration": index, "reason": reason}
            self.optimizer.zero_grad(set_to_none=True)
            step.loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            for name, value in {"loss": step.loss.detach(), **step.logs}.items():
                sums[name] = sums[name] + value if name in sums else value.clone()
            progress(
                {
                    "done": index + 1,
                    "total": self.config.epochs * self.per_epoch,
                    "epoch": self.epoch + 1,
                    "loss": step.loss.detach(),
                    "validation_accuracy": self.history[-1]["validation_accuracy"] if self.history else None,
                }
            )
        accuracy = self._validate()
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "iterations": (self.epoch + 1) * self.per_epoch,
                "lr": rate,
                **{name: float(total) / self.per_epoch for name, total in sums.items()},
                "validation_accuracy": accuracy,
                "seconds": round(time.perf_counter() - began, 3),
            }
        )
        best = self.selected is None or accuracy >= self.selected.validation_accuracy
        if best or self.config.select == "last":
            state = _copied(self.state.state_dict()) if self.state is not None else {}
            self.selected = Snapshot(self.epoch + 1, accuracy, _copied(self.model.state_dict()), state)
        return None

    def _trip(self, index: int, loss: Tensor, logs: Mapping[str, Tensor]) -> str | None:
        last = index + 1 == self.config.epochs * self.per_epoch
        if self.device.type != "cpu" and index % GUARD_EVERY_ON_GPU and not last:
            return None
        return divergence(float(loss.detach()), {name: float(value) for name, value in logs.items()})

    @torch.no_grad()
    def _validate(self) -> float:
        """Accuracy on the clean validation items."""
        self.model.eval()
        images, labels = self.validation
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        for start in range(0, len(images), EVAL_BATCH):
            predicted = self.model.logits(images[start : start + EVAL_BATCH]).argmax(dim=1)
            right += (predicted == labels[start : start + EVAL_BATCH]).sum()
        return int(right) / len(images)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
