"""The tables of a suite: columns, rows and literature by name.

The name of a column is ``<evaluation id>[.<metric>][@<argument>]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.errors import did_you_mean
from bench.evaluate.base import Column
from bench.suite.locate import Path
from bench.suite.schema import ResolvedColumn, ResolvedEvaluation, ResolvedTable, TableEntry
from bench.suite.section import ResultsReader, texts

__all__ = ["TableReader", "column_name", "named_columns", "substituted"]

_MOST = 50
"""Largest number of unknown columns listed for one table."""


@dataclass(kw_only=True)
class TableReader(ResultsReader):
    """Reads ``[[table]]`` entries.

    Attributes:
        literature: Names that ``literature = [...]`` may use.
    """

    literature: frozenset[str]

    def tables(self) -> list[ResolvedTable]:
        """The tables without mistakes; mistakes in the others are reported."""
        return self.each("table", self._table)

    def _table(self, raw: Mapping[str, Any], at: Path) -> ResolvedTable | None:
        before = len(self.problems)
        entry = self.check(TableEntry, raw, at)
        # Columns and rows are read from ``raw``, so that a mistake in one key hides no mistake in another.
        columns = self._columns(texts(raw.get("columns")), at)
        rows = [model.name for model in self.shown_models(raw, at)]
        for place, name in texts(raw.get("literature")):
            if name not in self.literature:
                hint = did_you_mean(name, self.literature)
                self.complain((*at, "literature", place), f"unknown literature {name!r}", hint)
        if entry is None or len(self.problems) > before:
            return None
        return ResolvedTable(
            id=entry.id,
            title=entry.title or entry.id,
            columns=tuple(columns),
            rows=tuple(rows),
            literature=entry.literature,
            note=entry.note,
        )

    def _columns(self, names: Sequence[tuple[int, str]], at: Path) -> list[ResolvedColumn]:
        columns: list[ResolvedColumn] = []
        unknown = 0
        for place, name in names:
            meant = substituted(name, self.evaluations, self.outside)
            column = self._known.get(meant)
            if column is None:
                unknown += not self._unclear(name)
                # Each search for the nearest name takes time.
                if not self._unclear(name) and unknown <= _MOST:
                    self.complain((*at, "columns", place), f"unknown column {name!r}", did_you_mean(name, self._known))
            elif column.column.argument not in self.outside.values() or column not in columns:
                # Two sets of a suite may share a substitute; its column then appears once.
                columns.append(column)
        return columns

    @cached_property
    def _known(self) -> dict[str, ResolvedColumn]:
        return named_columns(self.evaluations)

    def _unclear(self, column: str) -> bool:
        """Whether an unknown column may belong to an evaluation with mistakes."""
        owner = column.partition("@")[0].partition(".")[0]
        return owner not in {evaluation.id for evaluation in self.evaluations} and owner in self.unclear_evaluations


def column_name(evaluation: str, column: Column, *, short: bool = False) -> str:
    """The name of a column of the evaluation with this id; a short name omits the metric."""
    metric = "" if short else f".{column.metric}"
    return f"{evaluation}{metric}{f'@{column.argument}' if column.argument else ''}"


def named_columns(evaluations: Sequence[ResolvedEvaluation]) -> dict[str, ResolvedColumn]:
    """Every column by each of its names, long and, of a primary metric, short."""
    found: dict[str, ResolvedColumn] = {}
    for evaluation in evaluations:
        for column in evaluation.evaluation.columns(evaluation.config):
            for short in (False, True) if column.primary else (False,):
                name = column_name(evaluation.id, column, short=short)
                found.setdefault(name, ResolvedColumn(name, evaluation, column))
    return found


def substituted(name: str, evaluations: Sequence[ResolvedEvaluation], outside: Mapping[str, str]) -> str:
    """The name of a column under a profile. Tables name the suite's original data sets; this puts in the substitutes.

    Args:
        name: The column's name in the suite file.
        evaluations: The suite's evaluations.
        outside: Substitutes of out-of-distribution sets, by the name of the original.
    """
    metric, separator, argument = name.partition("@")
    owner = metric.partition(".")[0]
    if any(one.id == owner and one.evaluation.dataset_fields for one in evaluations):
        argument = outside.get(argument, argument)
    return f"{metric}{separator}{argument}"
