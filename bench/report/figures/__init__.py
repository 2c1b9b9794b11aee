"""Figures of tables: each module of this folder is one kind.

A kind's module has ``SUFFIX``, which stands behind the table's id in the name of the PNG file, and ``figure_of``, which
takes what ``figures_of`` takes and returns the figure, or None if the table has nothing of this kind to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

from bench.report.model import Cell, Figure
from bench.suite.schema import ResolvedColumn, ResolvedModel

if TYPE_CHECKING:
    from bench.report.cells import Results

__all__ = ["SUFFIXES", "figures_of"]


class _Kind(Protocol):
    SUFFIX: str

    def figure_of(
        self,
        title: str,
        columns: Sequence[ResolvedColumn],
        models: Sequence[ResolvedModel],
        cells: Sequence[Sequence[Cell]],
        results: Results,
    ) -> Figure | None: ...


_KINDS = [cast(_Kind, import_module(f"{__name__}.{module.name}")) for module in iter_modules(__path__)]

SUFFIXES = tuple(kind.SUFFIX for kind in _KINDS)
"""What stands behind a table's id in the names of all files that its figures can have."""


def figures_of(
    title: str,
    columns: Sequence[ResolvedColumn],
    models: Sequence[ResolvedModel],
    cells: Sequence[Sequence[Cell]],
    results: Results,
) -> Mapping[str, Figure]:
    """The figures of a table by their suffix.

    Args:
        title: Of the table.
        columns: Of the table.
        models: Its measured rows.
        cells: By row and column.
        results: What the store holds.
    """
    found = {kind.SUFFIX: kind.figure_of(title, columns, models, cells, results) for kind in _KINDS}
    return {suffix: figure for suffix, figure in found.items() if figure is not None}
