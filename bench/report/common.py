"""Columns across rows: means over the items that all rows of a table have in common.

A mean over the items that an attack broke is over different items for each model: a robust model, of which only the
weakest items were broken, looks worse than it is. Means over the items that are right and broken for every model can be
compared. Jobs do not read each other, so the report computes these means from the stored arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bench.metrics.intervals import bootstrap_mean
from bench.report.cells import Results, aggregate
from bench.report.items import Items, common_items, with_finite_values
from bench.report.model import Cell
from bench.report.stored import Measurement, Missing, Values
from bench.suite.schema import ResolvedColumn, ResolvedModel

__all__ = ["Across", "across_rows"]


@dataclass(frozen=True)
class Across:
    """One column across rows.

    Attributes:
        cells: The cells by name of the model.
        items: By name of the model and by seed, ids and values of the common items, for paired tests.
        note: The note below the table with the number of common items; None if there are none.
    """

    cells: Mapping[str, Cell]
    items: Mapping[str, Mapping[int, Items]] = field(default_factory=dict)
    note: str | None = None


def across_rows(models: Sequence[ResolvedModel], column: ResolvedColumn, results: Results) -> Across:
    """The cells of a column across rows: for each seed, over the items at which every model has a finite value.

    A model without values, because its job is missing, failed, diverged or broke nothing, is left out: it removes no
    item from the others, and their cells name it.

    Args:
        models: The rows.
        column: A column whose ``across`` names the stored array.
        results: The results in the store.
    """
    stored: dict[str, dict[int, Values]] = {}
    missing: dict[str, list[Missing]] = {}
    for model in models:
        found, missing[model.name] = results.values(model, column)
        stored[model.name] = {values.of.job.seed: values for values in found}
    means: dict[str, list[Measurement]] = {model.name: [] for model in models}
    items: dict[str, dict[int, Items]] = {model.name: {} for model in models}
    seeds: dict[int, tuple[set[str], int]] = {}
    for seed in sorted({seed for of_model in stored.values() for seed in of_model}):
        rows = {name: of_model[seed] for name, of_model in stored.items() if seed in of_model}
        common = common_items({name: with_finite_values(values.ids, values.values) for name, values in rows.items()})
        count = len(next(iter(common.values()))[0])
        if len(rows) < 2 or not count:
            why = "no other model to compare with" if len(rows) < 2 else "no item is common to all models"
            for name, values in rows.items():
                missing[name].append(Missing(values.of.job, "n/a", why))
            continue
        seeds[seed] = set(rows), count
        for name, values in rows.items():
            items[name][seed] = common[name]
            means[name].append(_mean(common[name][1], values.of, column))
    labels = {model.name: model.label for model in models}
    without = _without(labels, seeds)
    cells = {}
    for name, numbers in means.items():
        cell = aggregate(column, numbers, missing[name])
        reasons = [text for text in (cell.reason, without if numbers else None) if text]
        cells[name] = replace(cell, reason="; ".join(reasons) or None)
    counts = sorted({count for _, count in seeds.values()})
    note = (
        f"{column.id}: {' to '.join(map(str, counts[:1] + counts[1:][-1:]))} common item{'' if counts == [1] else 's'}."
        if counts
        else None
    )
    return Across(cells, items, note)


def _mean(values: NDArray[np.float64], stored: Measurement, column: ResolvedColumn) -> Measurement:
    """The mean over the common items, with the verdict of the stored number over all items."""
    interval = (
        bootstrap_mean(values, column.evaluation.config.seed, within=column.column.bounds) if len(values) > 1 else None
    )
    number = replace(stored.number, value=float(values.mean()), n=len(values), interval=interval)
    return replace(stored, number=number)


def _without(labels: Mapping[str, str], seeds: Mapping[int, tuple[set[str], int]]) -> str:
    """The remark that names the models left out of the common items; empty if there are none."""
    texts = []
    for name, label in labels.items():
        absent = [seed for seed, (rows, _) in seeds.items() if name not in rows]
        if absent and len(absent) == len(seeds):
            texts.append(label)
        elif absent:
            texts.append(f"{label} (seed {', '.join(map(str, absent))})")
    return f"common items without {', '.join(texts)}" if texts else ""
