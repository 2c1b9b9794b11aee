"""Names of columns: ``<evaluation id>[.<metric>][@<argument>]``."""

from __future__ import annotations

from collections.abc import Sequence

from bench.evaluate.base import Column
from bench.suite.schema import ResolvedColumn, ResolvedEvaluation

__all__ = ["column_names", "resolve_column"]


def column_names(evaluations: Sequence[ResolvedEvaluation]) -> list[str]:
    """Every valid name of a column, long and short forms."""
    return [name for evaluation in evaluations for name, _ in _named_columns(evaluation)]


def resolve_column(name: str, evaluations: Sequence[ResolvedEvaluation]) -> ResolvedColumn | None:
    """The column called ``name``, or None."""
    for evaluation in evaluations:
        for candidate, column in _named_columns(evaluation):
            if candidate == name:
                return ResolvedColumn(name, evaluation, column)
    return None


def _named_columns(evaluation: ResolvedEvaluation) -> list[tuple[str, Column]]:
    """Each column under each of its names; the metric may be left out where it is the primary one, and the
    argument where the metric has only one (or one that is the default: the empty argument).
    """
    named = []
    for column in evaluation.evaluation.columns(evaluation.config):
        argument = f"@{column.argument}" if column.argument else ""
        named.append((f"{evaluation.id}.{column.metric}{argument}", column))
        if column.primary:
            named.append((f"{evaluation.id}{argument}", column))
    return named
