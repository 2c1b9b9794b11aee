"""The one training loop, for every family."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.data.splits import Splits
from bench.family import Batch, Classifier, Family, Iteration, Model, State, Update
from bench.optimizer import learning_rate
from bench.plugins.family_contract import FamilyContractError, check_rows, checked_state, checked_step, checked_streams
from bench.rng import Generators, derive_seed, seeded
from bench.train.forward import Forward, layout, tf32
from bench.train.guard import Guard, adjusted
from bench.train.snapshot import Captured, Selected, capture, put_back
from bench.train.streams import Stream
from bench.train.update import Average, copied, optimizer_of
from bench.weights.state_dicts import misfit

__all__ = ["Progress", "Selected", "Trainer", "TrainingInterrupted", "TrainingResult"]

EVAL_BATCH = 256
READ_EVERY_ON_GPU = 20
"""Iterations between two checks of the guard on a GPU, because reading a loss makes the host wait for the device."""

Progress = Callable[[Mapping[str, Any]], None]


class TrainingInterrupted(Exception):  # noqa: N818 - not an error: training goes on where it stopped
    """Training was asked to stop, and stopped between two iterations."""


@dataclass
class TrainingResult:
    """The result of training.

    Attributes:
        selected: The selected epoch; None if no epoch was finished.
        history: One entry per epoch, without epochs that a restart undid.
        iterations: Scalars of the first iterations, as many as configured.
        trips: One entry for each time the guard tripped: where, why, and what was changed.
        diverged: Why and where training was given up, or None.
    """

    selected: Selected | None
    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[dict[str, Any]] = field(default_factory=list)
    trips: list[dict[str, Any]] = field(default_factory=list)
    diverged: dict[str, Any] | None = None


class Trainer:
    """Trains one model; its whole state can be saved and restored between two iterations.

    Args:
        family: The family with its configuration.
        model: A newly built model on the training device.
        splits: Training and validation items.
        augmentation: Augmentation that the data set allows.
        seed: Training seed.

    Raises:
        ValueError: The model or its device does not support the configured precision.
        FamilyContractError: The streams or the state of the family break its contract.
    """

    def __init__(self, family: Family[Any], model: Model, splits: Splits, *, augmentation: str, seed: int) -> None:
        self.family, self.model, self.seed = family, model, seed
        self.who = type(family).__name__
        self.asked = family.config
        self.device = next(model.parameters()).device
        self.forward = Forward(model, self.asked.precision, self.asked.cudnn)
        images = torch.from_numpy(splits.train.unit_images()).to(self.device)
        images = images.contiguous(memory_format=layout(self.device.type, self.asked.precision))
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
                batch_size=self.asked.batch_size,
                seed=derive_seed(seed, "stream", name),
            )
            for name, spec in checked_streams(family.streams(), self.who).items()
        }
        self.per_epoch = next(iter(self.streams.values())).per_epoch
        self.generator = torch.Generator(self.device).manual_seed(derive_seed(seed, "step"))
        self.state_generator = torch.Generator(self.device).manual_seed(derive_seed(seed, "state"))
        with seeded(derive_seed(seed, "before training")):
            family.before_training(model, self.clean_batches)
        with seeded(derive_seed(seed, "state", "global")):
            self.state: State | None = checked_state(family.start(model, self.state_generator), self.who)
        self.globals = Generators(derive_seed(seed, "global"), self.device)
        self.optimizer = optimizer_of(self.asked.optimizer, model, self.asked.lr)
        self.average = Average(model, self.asked.average) if self.asked.average is not None else None
        self.guard = Guard(self.asked.guard)
        self.read_every = 1 if self.device.type == "cpu" else READ_EVERY_ON_GPU
        self.iteration = 0
        self.sums: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.iterations: list[dict[str, Any]] = []
        self.trips: list[dict[str, Any]] = []
        self.selected: Selected | None = None
        self.good: Captured | None = None
        self._unread: list[tuple[int, dict[str, Tensor]]] = []
        self._seconds = 0.0

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.iteration // self.per_epoch

    @property
    def config(self) -> Any:
        """The current configuration: that of the suite with the measures of restarts."""
        return self.family.config

    def run(
        self,
        progress: Progress = lambda _: None,
        after_epoch: Callable[[], None] = lambda: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainingResult:
        """Train to the last epoch, or until training is given up as diverged.

        Args:
            progress: Called with the state of progress after each iteration.
            after_epoch: Called between epochs, when saving the state is cheapest.
            should_stop: Called between iterations; true interrupts training.

        Raises:
            TrainingInterrupted: ``should_stop`` returned true; the state can be saved, and ``run`` called again.
        """
        with tf32(False), self.globals.at_work():
            return self._run(progress, after_epoch, should_stop)

    def _run(
        self, progress: Progress, after_epoch: Callable[[], None], should_stop: Callable[[], bool]
    ) -> TrainingResult:
        total = self.asked.epochs * self.per_epoch
        while self.iteration < total:
            if self.iteration % self.per_epoch == 0:
                self.good = capture(self)
            began = time.perf_counter()
            with self.forward.training():
                reason = self._step(progress, total)
            self._seconds += time.perf_counter() - began
            if reason is not None:
                if not self._restart(reason):
                    return self._result(diverged=self.trips[-1])
                continue
            if self.iteration % self.per_epoch == 0:
                self._end_epoch()
                after_epoch()
            if should_stop() and self.iteration < total:
                # A checkpoint does not hold iterations that the guard has not checked yet.
                reason = self._read()
                if reason is not None and not self._restart(reason):
                    return self._result(diverged=self.trips[-1])
                raise TrainingInterrupted
        assert self.selected is not None
        self.model.load_state_dict(self.selected.weights)
        self.model.eval()
        with seeded(derive_seed(self.seed, "after training")):
            self.family.after_training(self.model, self.clean_batches)
        problem = misfit(self.model.state_dict(), self.selected.weights)
        if problem is not None:
            raise FamilyContractError(f"{self.who}.after_training left another model than it was given: {problem}")
        self.selected.weights = copied(self.model.state_dict())
        return self._result()

    def clean_batches(self) -> Iterable[Batch]:
        """The clean, un-augmented training set, once, in order."""
        images, labels = self.clean
        for start in range(0, len(images), EVAL_BATCH):
            yield Batch(images[start : start + EVAL_BATCH], labels[start : start + EVAL_BATCH])

    def _result(self, diverged: dict[str, Any] | None = None) -> TrainingResult:
        return TrainingResult(self.selected, self.history, self.iterations, self.trips, diverged)

    def _step(self, progress: Progress, total: int) -> str | None:
        """Run one iteration. Returns why the guard tripped on it or on an earlier unread iteration, or None."""
        index = self.iteration
        self.model.train()
        rate = learning_rate(self.config, index, self.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batches = {name: stream.next() for name, stream in self.streams.items()}
        iteration = Iteration(index, self.epoch, self.per_epoch, self.generator)
        step = checked_step(self.family.training_step(self.model, batches, self.state, iteration), self.who)
        scalars = {"loss": step.loss.detach(), **step.logs}
        self._unread.append((index, scalars))
        last_of_epoch = (index + 1) % self.per_epoch == 0
        if last_of_epoch or len(self._unread) >= self.read_every:
            reason = self._read()
            if reason is not None:
                return reason
        self.family.update(self.model, Update(step, self.model, self.optimizer, self.asked.clip))
        if self.average is not None:
            self.average.update(self.model)
        # Free the gradients before the next sampler run, which needs the memory.
        self.optimizer.zero_grad(set_to_none=True)
        for name, value in scalars.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.iteration += 1
        progress(
            {
                "done": self.iteration,
                "total": total,
                "epoch": index // self.per_epoch + 1,
                "loss": scalars["loss"],
                "validation_accuracy": self.history[-1].get("validation_accuracy") if self.history else None,
                "restarts": len(self.trips),
            }
        )
        return None

    def _read(self) -> str | None:
        """Let the guard check all unread iterations. Returns why it tripped, or None."""
        unread, self._unread = self._unread, []
        for (index, _), values in zip(unread, as_numbers([scalars for _, scalars in unread]), strict=True):
            if len(self.iterations) <= index < self.asked.log_iterations:
                self.iterations.append({"iteration": index, **values})
            logs = {name: value for name, value in values.items() if name != "loss"}
            reason = self.guard.observe(values["loss"], logs)
            if reason is not None:
                return reason
        return None

    def _restart(self, reason: str) -> bool:
        """Go back to the last good epoch with other random numbers and the next measure; False if none is left."""
        guard = self.asked.guard
        trip: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "iteration": self.iteration,
            "reason": reason,
            "restart": len(self.trips) + 1,
        }
        self.trips.append(trip)
        if len(self.trips) > guard.restarts:
            trip["measures"] = []
            return False
        before = self.trips[-2] if len(self.trips) > 1 else None
        rung = before["rung"] + 1 if before and trip["epoch"] - before["epoch"] <= guard.window else 0
        trip["rung"] = rung
        trip["measures"] = [guard.ladder[min(step, len(guard.ladder) - 1)] for step in range(rung + 1)]
        assert self.good is not None
        trips, iterations = self.trips, self.iterations
        put_back(self, self.good)
        # The logs are not undone: they keep the first attempt with its divergence.
        self.trips, self.iterations = trips, iterations
        self.family.config = adjusted(self.asked, trip["measures"])
        self._reseed(len(trips))
        return True

    def _reseed(self, restart: int) -> None:
        for name, stream in self.streams.items():
            stream.reseed(derive_seed(self.seed, "stream", name, "restart", restart))
        self.generator.manual_seed(derive_seed(self.seed, "step", "restart", restart))
        self.state_generator.manual_seed(derive_seed(self.seed, "state", "restart", restart))
        self.globals.seed(derive_seed(self.seed, "global", "restart", restart))

    def _end_epoch(self) -> None:
        # The weights that are validated are those that are selected: the averaged ones, if there are any.
        with self.average.in_place_of(self.model) if self.average is not None else nullcontext():
            accuracy = self._validate()
            weights = copied(self.model.state_dict())
        epoch = self.epoch
        (totals,) = as_numbers([self.sums])
        self.history.append(
            {
                "epoch": epoch,
                "iterations": self.iteration,
                "lr": learning_rate(self.config, self.iteration - 1, self.per_epoch),
                **{name: total / self.per_epoch for name, total in totals.items()},
                **({} if accuracy is None else {"validation_accuracy": accuracy}),
                "seconds": round(self._seconds, 3),
            }
        )
        self.sums, self._seconds = {}, 0.0
        if self._is_best(accuracy) or self.asked.select == "last":
            state = copied(self.state.state_dict()) if self.state is not None else {}
            self.selected = Selected(epoch, accuracy, weights, state)

    def _is_best(self, accuracy: float | None) -> bool:
        """Whether no epoch had a higher validation accuracy; always, if the model does not classify."""
        before = self.selected.validation_accuracy if self.selected is not None else None
        return before is None or accuracy is None or accuracy >= before

    @torch.no_grad()
    def _validate(self) -> float | None:
        """Accuracy on the clean validation items; items without finite logits count as wrong. None if the model does
        not classify.
        """
        model = self.model.eval()
        if not isinstance(model, Classifier):
            return None
        images, labels = self.validation
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        # A model that draws random numbers gets the same ones after every epoch, and those of training do not change.
        with seeded(derive_seed(self.seed, "validation")):
            for start in range(0, len(images), EVAL_BATCH):
                batch = images[start : start + EVAL_BATCH]
                logits = model.logits(batch)
                check_rows(logits, f"{type(model).__name__}.logits", len(batch), model.num_classes)
                # As in every metric, an item without finite logits has no prediction.
                known = logits.isfinite().all(dim=1)
                right += (known & (logits.argmax(dim=1) == labels[start : start + EVAL_BATCH])).sum()
        return int(right) / len(images)


def as_numbers(rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """Scalars of several iterations by name, as numbers; the host waits for the device once for all of them."""
    away = [scalar.reshape(()).double() for row in rows for scalar in row.values() if scalar.device.type != "cpu"]
    read = iter(torch.stack(away).tolist() if away else [])
    return [
        {name: float(scalar) if scalar.device.type == "cpu" else next(read) for name, scalar in row.items()}
        for row in rows
    ]
