"""The cost of judging, assembling and evaluating beside the attack itself, measured by wrapping functions."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from attack_subjects import Subject

from bench import attacks
from bench.attacks import runner
from bench.attacks.journal import Journal
from bench.attacks.judge import Judge
from bench.evaluate.inputs import Inputs
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.under_attack import Subject as UnderAttack
from bench.family import Classifier
from bench.files.arrays import save_arrays
from bench.store import ITEMS, Store

__all__ = ["evaluation_rows", "judge_rows", "table"]


class Parts:
    """Processor seconds of each part, without those of the parts that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, wrapped so that its time is added to that of ``part``."""

        def call(*arguments: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            began = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                whole = time.process_time() - began
                self.seconds[part] = self.seconds.get(part, 0.0) + whole - self._inner.pop()
                if self._inner:
                    self._inner[-1] += whole

        return call


@contextmanager
def _instrumented(parts: Parts) -> Iterator[None]:
    """Clocks around the judge and what assembles its verdicts; its forward passes apart."""
    with (
        mock.patch.object(Judge, "_logits", parts.timed("passes", Judge._logits)),
        mock.patch.object(Judge, "__init__", parts.timed("judge", Judge.__init__)),
        mock.patch.object(Judge, "judge", parts.timed("judge", Judge.judge)),
        mock.patch.object(runner, "_assembled", parts.timed("assembling", runner._assembled)),
    ):
        yield


def judge_rows(subject: Subject, eps: float, rounds: int) -> list[dict[str, Any]]:
    """Shares of an attack's processor time, one row per attack; medians over rounds.

    Args:
        subject: The network.
        eps: A budget at which few images survive: the attack is short and the judge's share large.
        rounds: Repetitions.
    """
    linf: dict[str, Any] = {"norm": "linf", "eps": eps}
    any_iterate = {"iterate": "any", "survivors_only": True}
    cases: Mapping[str, tuple[str, dict[str, Any]]] = {
        "pgd, 40 steps, no image is broken": ("pgd", {**linf, "eps": 1e-6}),
        "pgd, 40 steps, all images": ("pgd", linf),
        "pgd, 40 steps, survivors only": ("pgd", {**linf, **any_iterate}),
        "adaptive_pgd, 1 restart": ("adaptive_pgd", {**linf, "restarts": 1}),
        "cw_l2, 3 rounds of 100": ("cw_l2", {"norm": "l2", "rounds": 3}),
    }
    images, labels = subject.images, subject.labels
    rows = []
    for label, (name, params) in cases.items():
        shares: dict[str, list[float]] = {"passes": [], "judge": [], "assembling": []}
        seconds = []
        for _ in range(rounds):
            parts = Parts()
            with _instrumented(parts):
                began = time.process_time()
                attacks.run(name, subject.model, images, labels, seed=0, batch_size=len(images), **params)
                seconds.append(time.process_time() - began)
            for part, values in shares.items():
                values.append(parts.seconds[part] / seconds[-1])
        medians = {part: statistics.median(values) for part, values in shares.items()}
        rows.append({"what": label, "seconds": statistics.median(seconds), **medians})
    return rows


class _Held(Inputs):
    """Inputs of an evaluation that are already in memory; a folder for its journal."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        task: Any = None  # what it would say is said below
        super().__init__(task, Store(folder), folder, folder, "cpu", lambda _: None, folder)
        self._subject = subject
        self.__dict__["splits"] = type(subject.splits)(subject.splits.train, subject.splits.validation, subject.test)

    @property
    def num_classes(self) -> int:
        return int(self._subject.labels.max()) + 1

    def model(self, *, with_state: bool = False) -> Classifier:  # noqa: ARG002
        return self._subject.model


def evaluation_rows(subject: Subject, eps: float, rounds: int) -> list[dict[str, Any]]:
    """The time that the evaluation ``pgd`` adds to attacks (cross-entropy, margin, noise; final iterate); medians."""
    evaluation = PGD()
    config = PGDConfig(eps=(str(eps),), items=len(subject.images), batch_size=len(subject.images))
    shares: dict[str, list[float]] = {"journal": [], "checks": [], "evaluation": [], "arrays": []}
    seconds = []
    for number in range(-1, rounds):  # the first loads what it needs
        parts = Parts()
        with (
            tempfile.TemporaryDirectory() as place,
            mock.patch.object(runner, "run", parts.timed("attacks", runner.run)),
            mock.patch.object(Journal, "write", parts.timed("journal", Journal.write)),
            mock.patch.object(Journal, "keep", parts.timed("journal", Journal.keep)),
            mock.patch.object(UnderAttack, "output_flags", parts.timed("checks", UnderAttack.output_flags)),
        ):
            folder = Path(place)
            outcome = parts.timed("evaluation", evaluation.evaluate)(config, _Held(subject, folder))
            parts.timed("arrays", save_arrays)(folder / ITEMS, outcome.items)
        if number < 0:
            continue
        seconds.append(sum(parts.seconds.values()))
        for part, values in shares.items():
            values.append(parts.seconds.get(part, 0.0) / seconds[-1])
    medians = {part: statistics.median(values) for part, values in shares.items()}
    return [{"what": "evaluation pgd, 40 steps", "seconds": statistics.median(seconds), **medians}]


def table(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> str:
    """The rows as a Markdown table; the columns are the shares and their sum."""
    lines = [
        f"| | seconds | {' | '.join(columns.values())} | sum |",
        f"|---|{'---:|' * (len(columns) + 2)}",
    ]
    for row in rows:
        shares = [row[part] for part in columns]
        shown = " | ".join(f"{share:.2%}" for share in [*shares, sum(shares)])
        lines.append(f"| {row['what']} | {row['seconds']:.2f} | {shown} |")
    return "\n".join(lines)
