"""The cost of the harness around training: guard, history, progress and checkpoints against the bare loop of steps."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.execute import context
from bench.family import Iteration
from bench.store import JobFolder
from bench.train import checkpoint, loop
from bench.train.loop import Trainer, learning_rate
from bench.train.snapshot import capture
from bench.weights import load as trained
from bench.weights.find import Blueprint

__all__ = ["measure", "table"]

CONFIGS: dict[str, dict[str, Any]] = {
    "softmax": {"epochs": 6, "lr": 2e-3, "warmup": 0},
    "gmmc-gen": {"epochs": 2, "lr": 2e-3, "warmup": 0, "sampler": {"steps": 10, "buffer": 1_000}},
}
"""The recipes of suites/digits.toml, shorter."""


def measure(now: Callable[[], float], device: str, repetitions: int) -> list[dict[str, Any]]:
    """One row per family.

    Args:
        now: The clock.
        device: ``"cpu"`` or ``"cuda"``.
        repetitions: Number of repetitions of bare and whole training, in turn.
    """
    return [_family(name, now, device, repetitions) for name in CONFIGS]


def _trainer(name: str, device: str) -> Trainer:
    digits = DATASETS.get("digits")
    splits = load_splits(digits, Path("/"), seed=2, validation=digits.validation)
    spec = Blueprint(family=name, backbone="wrn-10-1", config=CONFIGS[name], seed=1)
    family, model = trained.build(spec, 10, (1, 8, 8), device)
    return Trainer(family, model, splits, augmentation="none", seed=1)


def _bare(trainer: Trainer) -> None:
    """The same steps on the same batches, and nothing else."""
    for index in range(trainer.asked.epochs * trainer.per_epoch):
        trainer.model.train()
        rate = learning_rate(trainer.config, index, trainer.per_epoch)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        batches = {name: stream.next() for name, stream in trainer.streams.items()}
        at = Iteration(index, index // trainer.per_epoch, trainer.per_epoch, trainer.generator)
        step = trainer.family.training_step(trainer.model, batches, trainer.state, at)
        trainer.optimizer.zero_grad(set_to_none=True)
        step.loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()


class _Parts:
    """Seconds inside the parts of the harness."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: dict[str, float] = {}

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, wrapped so that its time is added to that of ``part``."""

        def call(*arguments: Any, **options: Any) -> Any:
            began = self.now()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + self.now() - began

        return call


@contextlib.contextmanager
def _instrumented(trainer: Trainer, parts: _Parts) -> Iterator[None]:
    with (
        mock.patch.object(trainer, "_read", parts.timed("guard", trainer._read)),
        mock.patch.object(trainer, "_validate", parts.timed("validation", trainer._validate)),
        mock.patch.object(trainer, "_end_epoch", parts.timed("history and validation", trainer._end_epoch)),
        mock.patch.object(loop, "capture", parts.timed("copy of the good epoch", capture)),
    ):
        yield


def _family(name: str, now: Callable[[], float], device: str, repetitions: int) -> dict[str, Any]:
    bare: list[float] = []
    whole: list[float] = []
    saving: list[float] = []
    parts = _Parts(now)
    total = 0.0
    trainer = _trainer(name, device)
    for _ in range(repetitions):
        trainer = _trainer(name, device)
        began = now()
        _bare(trainer)
        bare.append(now() - began)
        with tempfile.TemporaryDirectory() as place:
            folder = JobFolder(Path(place))
            trainer = _trainer(name, device)
            progress = parts.timed("progress", context.Progress(folder))
            with _instrumented(trainer, parts):
                began = now()
                trainer.run(progress)
                whole.append(now() - began)
            total += whole[-1]
            # Its wall time: a checkpoint waits for the disk.
            clock = time.perf_counter()
            checkpoint.save(trainer, folder.path)
            saving.append(time.perf_counter() - clock)
    validation = parts.seconds.pop("validation")
    parts.seconds["history"] = parts.seconds.pop("history and validation") - validation
    shares = {part: seconds / total for part, seconds in parts.seconds.items()}
    cost = statistics.median(saving)
    shares["checkpoints"] = cost / max(context.CHECKPOINT_EVERY, checkpoint.COST * cost)
    return {
        "family": name,
        "iterations": trainer.asked.epochs * trainer.per_epoch,
        "bare_s": statistics.median(bare),
        "whole_s": statistics.median(whole),
        "shares": shares,
        "harness": sum(shares.values()),
        "validation": validation / total,
        "checkpoint_ms": 1e3 * cost,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    parts = list(rows[0]["shares"])
    lines = [
        f"| family | iterations | bare loop | whole | {' | '.join(parts)} | harness in all | validation |",
        f"|{' --- |' * (len(parts) + 6)}",
    ]
    for row in rows:
        shares = " | ".join(f"{row['shares'][part]:.2%}" for part in parts)
        lines.append(
            f"| {row['family']} | {row['iterations']} | {row['bare_s']:.2f} s | {row['whole_s']:.2f} s | {shares} | "
            f"{row['harness']:.2%} | {row['validation']:.2%} |"
        )
    return "\n".join(lines)
