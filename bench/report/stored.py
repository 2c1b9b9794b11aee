"""What the jobs of a run stored, read for reports: numbers, and arrays over items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import DamagedFileError
from bench.execute.states import Status
from bench.report.model import CellStatus
from bench.report.opened import OpenedArrays
from bench.store import Measured, Number, Store
from bench.suite.schema import ResolvedColumn, ResolvedModel

__all__ = ["Curve", "EvaluateJob", "Evaluations", "Measurement", "Missing", "Scored", "Stored", "Values"]


class EvaluateJob(Protocol):
    """An evaluate job of a plan, or of a former run of which only the names are known."""

    @property
    def id(self) -> str:
        """Name for users."""

    @property
    def key(self) -> str:
        """Key in the store."""

    @property
    def seed(self) -> int:
        """Training seed of the measured model."""

    @property
    def argument(self) -> str:
        """The part of the evaluation, such as ``"8/255"``."""


class Evaluations(Protocol):
    """The evaluate jobs of a run."""

    def evaluations(self, model: str, evaluation: str) -> Sequence[EvaluateJob]:
        """The jobs of a model, over seeds and parts."""


class Missing(NamedTuple):
    """A job without a number: the status of its cell, and the reason."""

    job: EvaluateJob
    status: CellStatus
    reason: str


@dataclass(frozen=True)
class Measurement:
    """A number of a job.

    Attributes:
        job: The job.
        number: The number in its record.
        not_measured: The checks behind the verdict of the number for which there was no data.
    """

    job: EvaluateJob
    number: Number
    not_measured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Per-item results of one seed along the arguments of an evaluation.

    Attributes:
        arguments: The arguments, such as ``["4/255", "8/255"]``.
        items: For each argument, whether each item is right, (N,); or its share of attack seeds in [0, 1].
        clean: Whether the clean prediction of each item is right, (N,).
    """

    arguments: list[str]
    items: list[NDArray[Any]]
    clean: NDArray[np.bool_]


class Scored(NamedTuple):
    """Scores of the items of two sets, NaN where an item has none.

    Attributes:
        ids: Ids of the test items, (m,).
        inside: Their scores, (m,).
        other_ids: Ids of the items of the other set, (n,).
        outside: Their scores, (n,).
    """

    ids: NDArray[np.int64]
    inside: NDArray[np.float64]
    other_ids: NDArray[np.int64]
    outside: NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """The per-item values that one job stored.

    Attributes:
        of: The number of the record that is computed from them, with its verdict.
        ids: Ids of the items, (N,).
        values: Values of the items, (N,); infinite where an item has none.
    """

    of: Measurement
    ids: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """Reads what the evaluate jobs of a run stored; the one reader of numbers and arrays over items for reports.

    Attributes:
        plan: The jobs.
        store: Their records.
        states: State of each job by its key.
    """

    plan: Evaluations
    store: Store
    states: Mapping[str, Status]

    @cached_property
    def _opened(self) -> OpenedArrays:
        return OpenedArrays(self.store)

    @cached_property
    def _picked(self) -> dict[tuple[str, str, str], tuple[Number, tuple[str, ...]] | None]:
        """By key, metric and argument: a number that was asked for, and the checks that its verdict lacks."""
        return {}

    def numbers(self, model: ResolvedModel, column: ResolvedColumn) -> tuple[list[Measurement], list[Missing]]:
        """The numbers of a model in a column, one per seed; and the jobs without one."""
        found: list[Measurement] = []
        missing: list[Missing] = []
        for job in self._jobs(model, column):
            measured = self._measured(job, column)
            if measured is not None and measured.number.value is not None:
                found.append(measured)
            elif measured is not None:
                missing.append(Missing(job, "n/a", str(measured.number.reason)))
            else:
                missing.append(self._why(job))
        return found, missing

    def values(self, model: ResolvedModel, column: ResolvedColumn) -> tuple[list[Values], list[Missing]]:
        """The values that the jobs of a column across rows stored, one entry per seed; and the jobs without any."""
        found: list[Values] = []
        missing: list[Missing] = []
        for job in self._jobs(model, column):
            numbers = self._numbers(job)
            if numbers is None:
                missing.append(self._why(job))
                continue
            named = [one for one in numbers if one.number.items == column.column.across]
            if not named or named[0].number.value is None:
                # The job stored no values; a number without a value has the reason.
                reasons = [one.number.reason for one in (named or numbers) if one.number.value is None]
                missing.append(Missing(job, "n/a", str(reasons[0]) if reasons else "no value of each item was stored"))
                continue
            arrays = self._arrays(job, "ids", str(column.column.across))
            if arrays is None:
                missing.append(Missing(job, "pending", "its items are damaged"))
                continue
            found.append(Values(named[0], arrays[0], arrays[1].astype(np.float64)))
        return found, missing

    def arrays(self, model: ResolvedModel, column: ResolvedColumn, *names: str) -> dict[int, list[NDArray[Any]]]:
        """By seed, the named arrays over items that a column's job stored; seeds without all of them are left out."""
        return self.stored(model, column.evaluation.id, column.column.argument, *names)

    def stored(
        self, model: ResolvedModel, evaluation: str, argument: str, *names: str
    ) -> dict[int, list[NDArray[Any]]]:
        """By seed, the named arrays over items that an evaluation stored; seeds without all of them are left out.

        Args:
            model: The measured model.
            evaluation: Id of the evaluation.
            argument: The argument of the job, if the evaluation has a job for each argument.
            names: Names of the arrays.
        """
        jobs = self.plan.evaluations(model.name, evaluation)
        found = {job.seed: self._arrays(job, *names) for job in jobs if job.argument in ("", argument)}
        return {seed: arrays for seed, arrays in found.items() if arrays is not None}

    def booleans(self, model: ResolvedModel, column: ResolvedColumn) -> dict[int, list[NDArray[Any]]]:
        """By seed, ids (N,) and the booleans or shares of attack seeds (N,) whose mean is a column's number; seeds
        without them are left out.
        """
        found: dict[int, list[NDArray[Any]]] = {}
        for job in self._jobs(model, column):
            measured = self._measured(job, column)
            name = measured.number.items if measured is not None else None
            arrays = self._arrays(job, "ids", name) if name else None
            if arrays is not None and (arrays[1].dtype == np.bool_ or _shares(arrays[1])):
                found[job.seed] = arrays
        return found

    def curve(self, model: ResolvedModel, column: ResolvedColumn) -> dict[int, Curve]:
        """By seed, the per-item results of a column's metric at all its arguments, with the clean results.

        They are read from the independent jobs of an attack, in the order of the suite. Arguments without a result or
        without clean results are left out, and so are seeds with fewer than two arguments.
        """
        curves: dict[int, Curve] = {}
        jobs = self.plan.evaluations(model.name, column.evaluation.id)
        several = Counter(job.seed for job in jobs)
        for job in jobs:
            measured = self._number(job, column.column.metric, job.argument) if several[job.seed] > 1 else None
            if measured is None or measured.number.value is None or not measured.number.items:
                continue
            arrays = self._opened.get(job.key, ("clean", measured.number.items))
            if "clean" not in arrays:
                continue
            curve = curves.setdefault(job.seed, Curve([], [], arrays["clean"]))
            curve.arguments.append(job.argument)
            curve.items.append(arrays[measured.number.items])
        return {seed: curve for seed, curve in curves.items() if len(curve.arguments) > 1}

    def items(self, model: ResolvedModel, column: ResolvedColumn) -> dict[int, tuple[NDArray[np.int64], NDArray[Any]]]:
        """By seed, ids (N,) and per-item results (N,) behind a cell, for paired tests.

        It is empty if a seed with a number has none: a test over the other seeds' items would be of another number.
        """
        found = {}
        for one in self.numbers(model, column)[0]:
            arrays = self._opened.get(one.job.key, ("ids", one.number.items)) if one.number.items else {}
            if one.number.items not in arrays:
                return {}
            found[one.job.seed] = arrays["ids"], arrays[one.number.items]
        return found

    def scores(self, model: ResolvedModel, column: ResolvedColumn) -> dict[int, Scored]:
        """By seed, the scores of both sets behind an AUROC; empty if a seed with a number has none."""
        found = {}
        for one in self.numbers(model, column)[0]:
            inside, argument = one.number.items, column.column.argument
            names = ("ids", str(inside), f"ids@{argument}", f"{inside}@{argument}")
            arrays = self._opened.get(one.job.key, names) if inside else {}
            if any(name not in arrays for name in names):
                return {}
            found[one.job.seed] = Scored(*(arrays[name] for name in names))
        return found

    def _jobs(self, model: ResolvedModel, column: ResolvedColumn) -> list[EvaluateJob]:
        jobs = self.plan.evaluations(model.name, column.evaluation.id)
        return [job for job in jobs if job.argument in ("", column.column.argument)]

    def _arrays(self, job: EvaluateJob, *names: str) -> list[NDArray[Any]] | None:
        arrays = self._opened.get(job.key, names) if self.states[job.key].state == "done" else {}
        return [arrays[name] for name in names] if all(name in arrays for name in names) else None

    def _results(self, job: EvaluateJob) -> Measured | None:
        """What a job measured; None if it is not done."""
        record = self.store.folder(job.key).record() if self.states[job.key].state == "done" else None
        return None if record is None else record.measured

    def _numbers(self, job: EvaluateJob) -> list[Measurement] | None:
        """The numbers of a job; None if it is not done, or if its record has changed since."""
        measured = self._results(job)
        if measured is None:
            return None
        try:
            return [Measurement(job, number, measured.unmeasured(number)) for number in measured.numbers]
        except DamagedFileError:
            return None

    def _measured(self, job: EvaluateJob, column: ResolvedColumn) -> Measurement | None:
        """The number of a job that belongs to a column; None if there is none."""
        return self._number(job, column.column.metric, column.column.argument)

    def _number(self, job: EvaluateJob, metric: str, argument: str) -> Measurement | None:
        which = job.key, metric, argument
        if which not in self._picked:
            self._picked[which] = self._pick(job, metric, argument)
        found = self._picked[which]
        return None if found is None else Measurement(job, *found)

    def _pick(self, job: EvaluateJob, metric: str, argument: str) -> tuple[Number, tuple[str, ...]] | None:
        measured = self._results(job)
        if measured is None:
            return None
        try:
            number = measured.number(metric, argument)
            return None if number is None else (number, measured.unmeasured(number))
        except DamagedFileError:
            return None

    def _why(self, job: EvaluateJob) -> Missing:
        """Why a job that is not done has no number."""
        status = self.states[job.key]
        match status.state:
            case "n/a" | "diverged" | "failed":
                return Missing(job, status.state, status.reason)
            case "running":
                return Missing(job, "pending", "running")
            case "stale" | "damaged":
                return Missing(job, "pending", status.reason)
            case _:
                return Missing(job, "pending", "not run yet")


def _shares(values: NDArray[Any]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
