"""The tables of a suite: columns, rows and literature by name.

The name of a column is ``<evaluation id>[.<metric>][@<argument>]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bench.errors import did_you_mean
from bench.evaluate.base import EVALUATIONS, Column
from bench.spec import settings
from bench.suite.locate import Path
from bench.suite.schema import (
    ResolvedColumn,
    ResolvedEvaluation,
    ResolvedModel,
    ResolvedTable,
    TableEntry,
    models_by_name,
)
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
        given = [key for key in _CONTENTS if raw.get(key) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "none of columns, blocks and settings"
            self.complain((*at, given[1]) if given else at, f"a table has {what}", "it needs one of them")
        # Columns and rows are read from ``raw``, so that a mistake in one key hides no mistake in another.
        columns = self._columns(raw.get("columns"), (*at, "columns"))
        blocks, columns = self._blocks(raw.get("blocks"), at, columns)
        models = self.shown_models(raw, at)
        self._settings(raw.get("settings"), at, models)
        groups = self._groups(raw.get("groups"), at, models)
        ranks = {title: rank for rank, title in enumerate(dict.fromkeys(groups.values()))}
        models.sort(key=lambda model: ranks.get(groups.get(model.name, ""), len(ranks)))
        for place, name in texts(raw.get("literature")):
            if name not in self.literature:
                hint = did_you_mean(name, self.literature)
                self.complain((*at, "literature", place), f"unknown literature {name!r}", hint)
        if raw.get("differences") is True and not raw.get("literature"):
            self.complain((*at, "differences"), "differences need quoted numbers", 'such as literature = ["gmmc-2021"]')
        if entry is None or len(self.problems) > before:
            return None
        return ResolvedTable(
            id=entry.id,
            title=entry.title or entry.id,
            columns=tuple(columns),
            rows=tuple(model.name for model in models),
            literature=entry.literature,
            note=entry.note,
            blocks=tuple(blocks),
            settings=entry.settings or (),
            groups=groups,
            transposed=entry.transpose,
            differences=entry.differences,
        )

    def _columns(self, given: Any, at: Path) -> list[ResolvedColumn]:
        columns: list[ResolvedColumn] = []
        unknown = 0
        for place, item in enumerate(given if isinstance(given, list) else []):
            name = item.get("column") if isinstance(item, Mapping) else item
            if not isinstance(name, str):
                continue  # the schema reports it
            column = self._column(name)
            if column is None:
                unknown += not self._unclear(name)
                # Each search for the nearest name takes time.
                if not self._unclear(name) and unknown <= _MOST:
                    path = (*at, place, "column") if isinstance(item, Mapping) else (*at, place)
                    self.complain(path, f"unknown column {name!r}", self._hint(name))
                continue
            column = _headed(column, item)
            if column.id not in [one.id for one in columns]:
                columns.append(replace(column, written=name))
            elif column.column.argument not in self._substitutes:
                # Two sets of a suite may share a substitute; its column then appears once.
                self.complain((*at, place), f"column {name!r} is listed twice")
        return columns

    def _hint(self, column: str) -> str:
        """The nearest column, or the evaluation that the suite lacks."""
        owner = _owner(column)
        if owner in EVALUATIONS.names() and owner not in {evaluation.kind for evaluation in self.evaluations}:
            return f'no evaluation gives it; add [[evaluation]] with kind = "{owner}"'
        return did_you_mean(column, self._known)

    def _column(self, name: str) -> ResolvedColumn | None:
        """The column of a name; under a profile that of the substituted set."""
        return self._known.get(substituted(name, self.evaluations, self.outside))

    @cached_property
    def _substitutes(self) -> frozenset[str]:
        return frozenset(self.outside.values())

    @cached_property
    def _known(self) -> dict[str, ResolvedColumn]:
        return named_columns(self.evaluations)

    def _blocks(
        self, given: Any, at: Path, columns: list[ResolvedColumn]
    ) -> tuple[list[tuple[str, tuple[int, ...]]], list[ResolvedColumn]]:
        """Titles and indices of the blocks, and all columns; those of blocks have no heading over several columns."""
        blocks: list[tuple[str, tuple[int, ...]]] = []
        for place, raw in enumerate(given if isinstance(given, list) else []):
            if not isinstance(raw, Mapping):
                continue
            path = (*at, "blocks", place)
            found = self._columns(raw.get("columns"), (*path, "columns"))
            found = [replace(one, column=replace(one.column, group="")) for one in found]
            first = [columns[index] for index in blocks[0][1]] if blocks else found
            if len(found) != len(first):
                message = f"the block has {len(found)} columns and the first {len(first)}"
                self.complain((*path, "columns"), message, "each block has as many")
            for one, other in zip(found, first, strict=False):
                if (one.column.unit, one.column.direction) != (other.column.unit, other.column.direction):
                    message = f"{one.id} stands below {other.id}, and they differ in unit or direction"
                    self.complain((*path, "columns"), message)
            blocks.append((str(raw.get("title")), tuple(range(len(columns), len(columns) + len(found)))))
            columns = [*columns, *found]
        return blocks, columns

    def _settings(self, given: Any, at: Path, models: Sequence[ResolvedModel]) -> None:
        """Report hyper-parameters that no model of the table has."""
        known = {setting.key for model in models for setting in settings(model.family.config)}
        for place, name in texts(given):
            if name not in known and models:
                self.complain((*at, "settings", place), f"no model has {name!r}", did_you_mean(name, known))

    def _groups(self, given: Any, at: Path, models: Sequence[ResolvedModel]) -> dict[str, str]:
        """The group of each model, in the order of the groups; a model in two groups, and one that the table does not
        show, are reported.
        """
        known = models_by_name(models)
        found: dict[str, str] = {}
        for place, raw in enumerate(given if isinstance(given, list) else []):
            for index, name in texts(raw.get("models") if isinstance(raw, Mapping) else None):
                path = (*at, "groups", place, "models", index)
                if name in known and known[name].name in found:
                    self.complain(path, f"{name!r} is in two groups")
                elif name in known:
                    found[known[name].name] = str(raw.get("title"))
                elif name not in self.unclear_models:
                    self.complain(path, f"{name!r} is no model of the table", did_you_mean(name, known))
        return found

    def _unclear(self, column: str) -> bool:
        """Whether an unknown column may belong to an evaluation with mistakes."""
        owner = _owner(column)
        return owner not in {evaluation.id for evaluation in self.evaluations} and owner in self.unclear_evaluations


_CONTENTS = ("columns", "blocks", "settings")


def _owner(column: str) -> str:
    """The evaluation in the name of a column, such as ``calibration`` of ``calibration.ece@fitted``."""
    return column.partition("@")[0].partition(".")[0]


def _headed(column: ResolvedColumn, item: Any) -> ResolvedColumn:
    """A column with the heading that a table gives it. A label of one's own stands without the group of the column."""
    if not isinstance(item, Mapping):
        return column
    label, group = item.get("label"), item.get("group")
    if isinstance(label, str):
        column = replace(column, column=replace(column.column, label=label, group=""))
    return replace(column, column=replace(column.column, group=group)) if isinstance(group, str) else column


def column_name(evaluation: str, column: Column, *, short: bool = False) -> str:
    """The name of a column of the evaluation with this id; a short name omits the metric."""
    metric = "" if short else f".{column.metric}"
    return f"{evaluation}{metric}{f'@{column.argument}' if column.argument else ''}"


def named_columns(evaluations: Sequence[ResolvedEvaluation]) -> dict[str, ResolvedColumn]:
    """Every column by each of its names, long and, of a primary metric, short."""
    found: dict[str, ResolvedColumn] = {}
    for evaluation in evaluations:
        for column in evaluation.columns:
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
