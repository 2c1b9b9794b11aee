"""Texts that describe suites, profiles and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.evaluate.base import Column
from bench.suite.columns import resolve_column, substituted
from bench.suite.document import Document
from bench.suite.schema import ProfileFile, ResolvedColumn, ResolvedEvaluation, Suite

__all__ = ["DIRECTIONS", "column_text", "find_columns", "profile_text", "suite_text"]

DIRECTIONS = {"up": "higher is better", "down": "lower is better", None: "no direction"}


def find_columns(name: str, suite: Suite) -> list[ResolvedColumn]:
    """The column with this name in tables of the suite, or else all columns of the evaluation or metric ``name``."""
    found = resolve_column(substituted(name, suite.evaluations, dict(suite.substitutions)), suite.evaluations)
    if found is not None and ("@" in name or "." in name):
        return [found]
    return [
        ResolvedColumn(_long_name(evaluation, column), evaluation, column)
        for evaluation in suite.evaluations
        for column in evaluation.evaluation.columns(evaluation.config)
        if name in (evaluation.id, f"{evaluation.id}.{column.metric}")
    ]


def column_text(columns: list[ResolvedColumn], suite: Suite) -> str:
    """Unit, direction, definition and origin of the columns of one evaluation."""
    lines = []
    for resolved in columns:
        column, evaluation = resolved.column, resolved.evaluation
        lines.append(f"{_long_name(evaluation, column)}: unit {column.unit}, {DIRECTIONS[column.direction]}")
        lines.append(f"  {column.definition}")
        short = _short_name(evaluation, column)
        if short:
            lines.append(f"  also written {short}")
    evaluation = columns[0].evaluation
    what = evaluation.evaluation
    profile = f" with profile {suite.profile}" if suite.profile else ""
    kind = "" if evaluation.id == what.name else f" of kind {what.name}"
    lines.append(f"evaluation: {evaluation.id}{kind}, in suite {suite.name}{profile} ({suite.path})")
    lines.append(f"  {what.summary}")
    lines.append(f"source: {what.source}")
    return "\n".join(lines)


def suite_text(suite: Suite) -> str:
    """The models, evaluations and tables of a suite."""
    lines = [f"{suite.name}: a suite", suite.title, f"file: {suite.path}"]
    lines += [f"paper: {suite.paper}"] if suite.paper else []
    lines.append(f"data: {suite.dataset.name}, data seed {suite.data.seed}")
    lines.append("models:")
    for model in suite.models:
        seeds = f"seed{'s' if len(model.seeds) > 1 else ''} {', '.join(map(str, model.seeds))}"
        training = f"weights {model.weights!r}" if model.weights else f"{model.config.epochs} epochs, {seeds}"
        lines.append(f"  {model.name}: {model.label}, family {model.family_name}, {model.backbone_name}, {training}")
    lines.append("evaluations:")
    for evaluation in suite.evaluations:
        kind = "" if evaluation.id == evaluation.evaluation.name else f" ({evaluation.evaluation.name})"
        lines.append(f"  {evaluation.id}{kind}: {evaluation.evaluation.summary}")
    lines.append("tables:")
    for table in suite.tables:
        lines += [f"  {table.id}: {table.title}", f"      {', '.join(column.id for column in table.columns)}"]
    return "\n".join(lines)


def profile_text(document: Document, profile: ProfileFile) -> str:
    """The values that a profile sets in a suite."""
    lines = [f"{profile.profile.name}: a profile", profile.profile.summary, f"file: {document.path}"]
    values: Mapping[str, Any] = document.data
    for section in ("substitute", "data", "model", "evaluation", "caps"):
        for key, value in _flat(values.get(section, {})):
            lines.append(f"  {section}.{key} = {value!r}")
    return "\n".join(lines)


def _long_name(evaluation: ResolvedEvaluation, column: Column) -> str:
    return f"{evaluation.id}.{column.metric}{f'@{column.argument}' if column.argument else ''}"


def _short_name(evaluation: ResolvedEvaluation, column: Column) -> str:
    return f"{evaluation.id}{f'@{column.argument}' if column.argument else ''}" if column.primary else ""


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else [(f"{above}{key}", value)]
    return found
