"""Names of columns: ``<evaluation id>[.<metric>][@<argument>]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.evaluate.base import Column
from bench.suite.schema import ResolvedColumn, ResolvedEvaluation

__all__ = ["column_names", "named_columns", "resolve_column", "substituted"]


def named_columns(evaluations: Sequence[ResolvedEvaluation]) -> dict[str, ResolvedColumn]:
    """Every column by each of its names, long and short."""
    found: dict[str, ResolvedColumn] = {}
    for evaluation in evaluations:
        for name, column in _named_columns(evaluation):
            found.setdefault(name, ResolvedColumn(name, evaluation, column))
    return found


def column_names(evaluations: Sequence[ResolvedEvaluation]) -> list[str]:
    """Every valid name of a column, long and short."""
    return list(named_columns(evaluations))


def resolve_column(name: str, evaluations: Sequence[ResolvedEvaluation]) -> ResolvedColumn | None:
    """The column called ``name``, or None."""
    return named_columns(evaluations).get(name)


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


def _named_columns(evaluation: ResolvedEvaluation) -> list[tuple[str, Column]]:
    """Each column with each of its names. A name may omit the primary metric, and has no argument if the column's
    argument is empty.
    """
    named = []
    for column in evaluation.evaluation.columns(evaluation.config):
        argument = f"@{column.argument}" if column.argument else ""
        named.append((f"{evaluation.id}.{column.metric}{argument}", column))
        if column.primary:
            named.append((f"{evaluation.id}{argument}", column))
    return named
