"""Cells, made from records: each holds the numbers of one model over its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.attacks.diagnostics import WORDS
from bench.errors import DamagedFileError
from bench.execute.states import Status
from bench.metrics.intervals import IfCalibrated, Interval, carried_decimals, student_t
from bench.plan.jobs import Job, Plan
from bench.report.model import Cell, CellStatus
from bench.store import Number, Store
from bench.suite.schema import ResolvedColumn, ResolvedModel

__all__ = ["Curve", "Measurement", "Missing", "Results", "Values", "aggregate"]

_NO_JOB = "no job of the suite gives it"
_MOST_DECIMALS = 6
"""The most decimals of a number with an interval."""


class Missing(NamedTuple):
    """A job without a number: the status of its cell, and the reason."""

    job: Job
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

    job: Job
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


OPEN_FILES = 64
"""Number of files of arrays that a report keeps in memory; one of 10,000 items has a few megabytes."""


@dataclass
class Results:
    """Reads the results that the store holds for a plan.

    Attributes:
        plan: The jobs.
        store: Their records.
        states: State of each job by its key.
    """

    plan: Plan
    store: Store
    states: Mapping[str, Status]

    def __post_init__(self) -> None:
        # Cells, charts, tests and checks of a column read the same files.
        self._opened = lru_cache(maxsize=OPEN_FILES)(self._load)

    def cell(self, model: ResolvedModel, column: ResolvedColumn) -> Cell:
        """The cell of a model in a column.

        Its value is the mean over the seeds that have a number. If some have none, ``reason`` says so; if all have
        none, the cell has the status and reason of the first.
        """
        readout = column.column.readout
        if readout is not None and readout not in model.family.readouts:
            return _empty(column, "n/a", f"no read-out {readout!r}")
        jobs = self._jobs(model, column)
        found: list[Measurement] = []
        missing: list[Missing] = []
        for job in jobs:
            measured = self._measured(job, column)
            if measured is not None and measured.number.value is not None:
                found.append(measured)
            elif measured is not None:
                missing.append(Missing(job, "n/a", str(measured.number.reason)))
            else:
                missing.append(self._why(job))
        return aggregate(column, found, missing)

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

    def curve(self, model: ResolvedModel, column: ResolvedColumn) -> list[Curve]:
        """For each seed, the per-item results of a column's metric at all its arguments, with the clean results.

        They are read from the independent jobs of an attack, in the order of the suite. Arguments without a result or
        without clean results are left out, and so are seeds with fewer than two arguments.
        """
        curves: dict[int, Curve] = {}
        for job in self.plan.evaluations(model.name, column.evaluation.id):
            argument = replace(column, column=replace(column.column, argument=job.argument))
            measured = self._measured(job, argument)
            arrays = self._open(job)
            if measured is None or measured.number.value is None or "clean" not in arrays:
                continue
            if not measured.number.items:
                continue
            curve = curves.setdefault(job.seed, Curve([], [], arrays["clean"]))
            curve.arguments.append(job.argument)
            curve.items.append(arrays[measured.number.items])
        return [curve for curve in curves.values() if len(curve.arguments) > 1]

    def items(self, model: ResolvedModel, column: ResolvedColumn) -> tuple[Any, Any] | None:
        """Ids (N,) and per-item results (N,) behind a cell, for paired tests; None if there are none or several seeds
        have a number.
        """
        found = [one for job in self._jobs(model, column) if (one := self._measured(job, column)) is not None]
        if len(found) != 1 or not found[0].number.items:
            return None
        arrays = self._open(found[0].job)
        return (arrays["ids"], arrays[found[0].number.items]) if arrays else None

    def _jobs(self, model: ResolvedModel, column: ResolvedColumn) -> list[Job]:
        jobs = self.plan.evaluations(model.name, column.evaluation.id)
        return [job for job in jobs if job.argument in ("", column.column.argument)]

    def _arrays(self, job: Job, *names: str) -> list[NDArray[Any]] | None:
        arrays = self._open(job) if self.states[job.key].state == "done" else {}
        return [arrays[name] for name in names] if all(name in arrays for name in names) else None

    def _open(self, job: Job) -> dict[str, NDArray[Any]]:
        """The arrays over items that a job stored; empty if it stored none, or if they are damaged."""
        return self._opened(job.key)

    def _load(self, key: str) -> dict[str, NDArray[Any]]:
        folder = self.store.folder(key)
        record = folder.record()
        if record is None or not record.measured.items:
            return {}
        try:
            return folder.arrays(record.measured.items)
        except DamagedFileError:
            folder.distrust()  # size and times do not show the damage: the next check hashes the content
            return {}

    def _numbers(self, job: Job) -> list[Measurement] | None:
        """The numbers of a job; None if it is not done."""
        record = self.store.folder(job.key).record() if self.states[job.key].state == "done" else None
        if record is None:
            return None
        measured = record.measured
        return [Measurement(job, number, measured.unmeasured(number)) for number in measured.numbers]

    def _measured(self, job: Job, column: ResolvedColumn) -> Measurement | None:
        """The number of a job that belongs to a column; None if there is none."""
        which = (column.column.metric, column.column.argument)
        found = (one for one in self._numbers(job) or () if (one.number.metric, one.number.argument) == which)
        return next(found, None)

    def _why(self, job: Job) -> Missing:
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


def _empty(column: ResolvedColumn, status: CellStatus, reason: str) -> Cell:
    """A cell without a number."""
    return Cell(column=column.id, status=status, reason=reason)


def aggregate(column: ResolvedColumn, found: Sequence[Measurement], missing: Sequence[Missing]) -> Cell:
    """The cell that holds the mean of the numbers of some seeds; without numbers it has the status of the first job.

    The interval stays in the range of the column. Several seeds with equal numbers have no interval.

    Args:
        column: The column of the cell.
        found: The numbers, one per seed.
        missing: The jobs without a number.
    """
    if not found:
        first = missing[0] if missing else None
        return _empty(column, first.status, first.reason) if first else _empty(column, "pending", _NO_JOB)
    numbers = [one.number for one in found]
    values = [float(number.value) for number in numbers if number.value is not None]
    interval = student_t(values, within=column.column.bounds) if len(values) > 1 else numbers[0].interval
    verdicts = [number.verdict for number in numbers if number.verdict]
    flags = {name: str(text) for number in numbers for name, text in number.flags.items()}
    return Cell(
        column=column.id,
        value=float(np.mean(values)),
        n=min(number.n for number in numbers),
        seeds=tuple(one.job.seed for one in found),
        interval=interval,
        if_calibrated=_if_calibrated([number.if_calibrated for number in numbers]),
        decimals=_decimals(float(np.mean(values)), interval, column.column.unit),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        status="ok",
        reason="; ".join(_remarks(found, missing, equal=len(values) > 1 and interval is None)) or None,
        # The worst verdict over the seeds.
        verdict=min(verdicts, key=WORDS.index) if verdicts else None,
        flags=flags,
        not_measured=tuple(dict.fromkeys(name for one in found for name in one.not_measured)),
        records=tuple(one.job.key for one in found),
    )


def _if_calibrated(found: Sequence[IfCalibrated | None]) -> IfCalibrated | None:
    known = [one for one in found if one is not None]
    if len(known) != len(found):
        return None
    if len(known) == 1:
        return known[0]
    mean, upper = (float(np.mean([getattr(one, name) for one in known])) for name in ("mean", "upper"))
    return IfCalibrated(mean, upper, known[0].level, None)


def _decimals(value: float, interval: Interval | None, unit: str) -> int | None:
    """Decimals of a number of unit 1, and of an AUROC that three decimals would round to 0 or 1; else None."""
    if interval is None:
        return None
    if unit == "1":
        return min(carried_decimals(value, interval), _MOST_DECIMALS)
    near_end = unit == "auroc" and 0 < value < 1 and f"{value:.3f}" in ("0.000", "1.000")
    return min(carried_decimals(value, interval), _MOST_DECIMALS) if near_end else None


def _remarks(found: Sequence[Measurement], missing: Sequence[Missing], *, equal: bool) -> Iterator[str]:
    """The remarks on a cell that has a number."""
    if missing:
        yield f"{len(missing)} of {len(missing) + len(found)} seeds without a number: {missing[0].reason}"
    if equal:
        yield f"{len(found)} seeds with equal results: no spread, so no interval"
    counts = sorted({one.number.n for one in found})
    if len(counts) > 1:
        yield f"n = {counts[0]:,} to {counts[-1]:,} over the seeds"
    notes: dict[str, list[int]] = {}
    for one in found:
        if one.number.note:
            notes.setdefault(one.number.note, []).append(one.job.seed)
    for note, seeds in notes.items():
        alone = len(seeds) == len(found)
        yield note if alone else f"{note} (seed {', '.join(map(str, seeds))})"
