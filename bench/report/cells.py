"""Cells, made from records: each holds the numbers of one model over its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.attacks.verdict import WORDS
from bench.metrics.intervals import IfCalibrated, Interval, carried_decimals, student_t
from bench.plan.jobs import Plan
from bench.report.model import Cell, CellStatus
from bench.report.stored import Measurement, Missing, Stored
from bench.suite.schema import ResolvedColumn, ResolvedEvaluation, ResolvedModel

__all__ = ["Results", "aggregate", "of_seed"]

_NO_JOB = "no job of the suite gives it"
_MOST_DECIMALS = 6
"""The most decimals of a number with an interval."""


@dataclass(frozen=True)
class Results(Stored):
    """The results that the store holds for a plan, and the cells made from them."""

    plan: Plan

    @cached_property
    def _across(self) -> dict[str, list[ResolvedEvaluation]]:
        found: dict[str, list[ResolvedEvaluation]] = {}
        for evaluation in self.plan.suite.evaluations:
            for name in dict.fromkeys(column.across for column in evaluation.columns if column.across is not None):
                found.setdefault(name, []).append(evaluation)
        return found

    def evaluations_with(self, across: str) -> list[ResolvedEvaluation]:
        """The evaluations of the suite with a column whose ``across`` is the array of this name."""
        return self._across.get(across, [])

    def cell(self, model: ResolvedModel, column: ResolvedColumn) -> Cell:
        """The cell of a model in a column.

        Its value is the mean over the seeds that have a number. If some have none, ``reason`` says so; if all have
        none, the cell has the status and reason of the first.
        """
        readout = column.column.readout
        if readout is not None and readout not in model.family.readouts:
            return _empty(column, "n/a", f"no read-out {readout!r}")
        return aggregate(column, *self.numbers(model, column))


def _empty(column: ResolvedColumn, status: CellStatus, reason: str) -> Cell:
    """A cell without a number."""
    return Cell(column=column.id, status=status, reason=reason)


def aggregate(column: ResolvedColumn, found: Sequence[Measurement], missing: Sequence[Missing]) -> Cell:
    """The cell that holds the mean of the numbers of some seeds; without numbers it has the status of the first job.

    The interval stays in the range of the column. Several seeds with equal numbers have no interval, except controls.

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
    mean = float(np.mean(values)) if len(values) > 1 else values[0]
    # What is measured on real images or noise alone is the same for all seeds, and keeps its interval over items.
    one = len(values) == 1 or (len(set(values)) == 1 and _is_control(column))
    interval = numbers[0].interval if one else student_t(values, within=column.column.bounds)
    verdicts = [number.verdict for number in numbers if number.verdict]
    counts = [number.n for number in numbers]
    return Cell(
        column=column.id,
        value=mean,
        n=min(counts),
        n_most=max(counts) if len(set(counts)) > 1 else None,
        seeds=tuple(one.job.seed for one in found),
        interval=interval,
        if_calibrated=_if_calibrated([number.if_calibrated for number in numbers]),
        decimals=_decimals(mean, interval, column.column.unit),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        status="ok",
        reason="; ".join(_remarks(found, missing, equal=not one and interval is None)) or None,
        # The worst verdict over the seeds.
        verdict=min(verdicts, key=WORDS.index) if verdicts else None,
        flags=_flags(found),
        not_measured=tuple(dict.fromkeys(name for one in found for name in one.not_measured)),
        records=tuple(one.job.key for one in found),
    )


def _is_control(column: ResolvedColumn) -> bool:
    """Whether a number is of a known case, such as real images, that gives others their scale (`Column.controls`)."""
    own = column.column
    return any(own.metric == other.metric and own.argument in other.controls for other in column.evaluation.columns)


def _flags(found: Sequence[Measurement]) -> dict[str, str]:
    """The raised flags of all seeds; a text that is not that of every seed names its seeds."""
    if len(found) == 1:
        return {name: str(text) for name, text in found[0].number.flags.items()}
    texts: dict[str, list[tuple[str, int]]] = {}
    for one in found:
        for name, text in one.number.flags.items():
            texts.setdefault(name, []).append((str(text), one.job.seed))
    return {name: "; ".join(_by_seed(of_flag, len(found))) for name, of_flag in texts.items()}


def of_seed(text: str, seed: int, cell: Cell) -> str:
    """A text about one seed of a cell, which names the seed if the cell has several."""
    return f"{text} (seed {seed})" if len(cell.seeds) > 1 else text


def _by_seed(texts: Sequence[tuple[str, int]], seeds: int) -> Iterator[str]:
    """Each text once, with its seeds unless it is that of all.

    Args:
        texts: Texts, each with the seed that it is about.
        seeds: Number of all seeds.
    """
    found: dict[str, list[int]] = {}
    for text, seed in texts:
        found.setdefault(text, []).append(seed)
    for text, own in found.items():
        yield text if len(own) == seeds else f"{text} (seed {', '.join(map(str, own))})"


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
    yield from _by_seed([(one.number.note, one.job.seed) for one in found if one.number.note], len(found))
