"""Figures of tables. Each module of this folder is one kind of figure.

The module has ``SUFFIX``, which follows the table's id in the name of the PNG file, and ``figure_of``, which takes the
arguments of ``figures_of`` and returns the figure, or None if the table has no data for this kind.
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
"""The suffixes of all kinds; the PNG file of a figure is ``<id of the table><suffix>.png``."""


def figures_of(
    title: str,
    columns: Sequence[ResolvedColumn],
    models: Sequence[ResolvedModel],
    cells: Sequence[Sequence[Cell]],
    results: Results,
) -> Mapping[str, Figure]:
    """The figures of a table by their suffix.

    Args:
        title: The title of the table.
        columns: The columns of the table.
        models: Its measured rows.
        cells: The cells by row and column.
        results: The results in the store.
    """
    found = {kind.SUFFIX: kind.figure_of(title, columns, models, cells, results) for kind in _KINDS}
    return {suffix: figure for suffix, figure in found.items() if figure is not None}
