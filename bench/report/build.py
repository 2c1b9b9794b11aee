"""The report of a suite, from a plan and a store. It reads records and runs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.execute.states import Status, job_states
from bench.plan.jobs import Plan
from bench.report.bold import (
    ALPHA,
    OVER_SEEDS,
    TESTS,
    indistinguishable_by_area,
    indistinguishable_from_best,
    indistinguishable_over_seeds,
)
from bench.report.cells import Results
from bench.report.claims import calibration_notes, control_notes, item_notes, reason_notes, seed_note
from bench.report.common import Across, across_rows
from bench.report.deviations import deviations
from bench.report.figures.curves import chart_of
from bench.report.hyperparameters import settings_table
from bench.report.items import Items, common_items, mean_area, mean_over_seeds
from bench.report.minimal import with_norm_checks
from bench.report.model import Block, Cell, Report, Table, TableColumn, TableRow
from bench.report.origins import origins
from bench.report.parts import Parts, joined, merged_lines
from bench.report.quoted import difference_rows, quoted_rows
from bench.report.stored import Scored
from bench.report.text import size_note
from bench.report.verdicts import with_curve_checks
from bench.store import Store
from bench.suite.schema import ResolvedColumn, ResolvedModel, ResolvedTable

__all__ = ["build_report"]


def build_report(plan: Plan, store: Store, literature: Sequence[Path]) -> Report:
    """All tables of a suite, filled with the results that the store holds.

    Args:
        plan: The plan of the suite.
        store: The store that holds the records.
        literature: Folders of quoted numbers.
    """
    return _report(plan, store, job_states(plan, store), literature)


def _report(plan: Plan, store: Store, states: Mapping[str, Status], literature: Sequence[Path]) -> Report:
    suite = plan.suite
    if suite.parts and not suite.parts[0].on:
        return joined(suite, [_report(part, store, states, literature) for part in plan.parts])
    parts = Parts({part.suite.on: Results(part, store, states) for part in plan.leaves}, plan)
    return Report(
        suite=suite.name,
        title=suite.title,
        profile=suite.profile,
        substitutions=tuple(dict.fromkeys(pair for leaf in suite.leaves for pair in leaf.substitutions)),
        deviations=merged_lines({leaf.on: deviations(leaf) for leaf in suite.leaves}),
        tables=tuple(_table(table, parts, store, literature) for table in suite.tables),
        budget=" ".join(dict.fromkeys(filter(None, (_budget(part) for part in plan.leaves)))),
    )


def _budget(plan: Plan) -> str:
    """The note on the cost of training: models are compared on equal data but not at equal cost."""
    passes: dict[str, float] = {}
    labels = {model.name: model.label for model in plan.suite.models}
    for job in plan.jobs:
        if job.kind == "train" and job.model in labels and job.passes:
            passes.setdefault(labels[job.model], job.passes)
    costs = ", ".join(f"{label} {cost:,.0f}" for label, cost in passes.items())
    on = f" on {plan.suite.on}" if plan.suite.on else ""
    return f"Training of one seed{on} in network passes of one image, without validation: {costs}." if costs else ""


def _table(table: ResolvedTable, parts: Parts, store: Store, literature: Sequence[Path]) -> Table:
    models = parts.models(table.rows)
    quoted = quoted_rows(table, parts, literature)
    if table.settings:
        return settings_table(_title(table, parts, models), table, models, quoted.rows, quoted.notes)
    columns = tuple(TableColumn.of(column) for column in table.columns)
    across = {c.id: across_rows(models, c, parts.of(c)) for c in table.columns if c.column.across is not None}
    cells = [[_cell(model, column, across, parts.of(column)) for column in table.columns] for model in models]
    tests: dict[str, _Bold] = {}
    for index, column in enumerate(table.columns):
        bold = _bold(table, index, models, cells, across, parts.of(column))
        if column.column.direction is not None:
            tests[column.id] = bold
        for row, model in enumerate(models):
            cell = cells[row][index]
            common = bold.n_common if cell.value is not None else None
            cells[row][index] = replace(cell, n_common=common, best=model.name in (bold.rows or ()))
    made = origins(models, cells, parts.plan, store)
    measured = [
        TableRow(
            model.label,
            model.family.name,
            "measured",
            tuple(row),
            made_with=made.rows[model.name],
            group=table.groups.get(model.name, ""),
        )
        for model, row in zip(models, cells, strict=True)
    ]
    rows = [*measured, *quoted.rows]
    if table.differences:
        rows += difference_rows(measured, quoted, columns)
    title = _title(table, parts, models)
    only = parts.only
    made_table = Table(
        table.id,
        title,
        columns,
        tuple(rows),
        chart=chart_of(title, table.columns, models, cells, only) if only is not None else None,
        blocks=tuple(Block(*block) for block in table.blocks),
        transposed=table.transposed,
    )
    notes = [*_notes(table, cells, across, tests, models, parts), *quoted.notes]
    sizes = size_note(made_table)
    return replace(made_table, notes=(*notes, *([sizes] if sizes else []), *made.notes))


def _cell(model: ResolvedModel, column: ResolvedColumn, across: Mapping[str, Across], results: Results) -> Cell:
    cell = across[column.id].cells[model.name] if column.id in across else results.cell(model, column)
    return with_norm_checks(with_curve_checks(cell, model, column, results), model, column, results)


@dataclass(frozen=True)
class _Bold:
    """The bold cells of a column.

    Attributes:
        rows: Names of the rows to print in bold; None if the column has no test.
        n_common: Number of items that the rows have in common; None if they are compared over seeds, or not at all.
        test: The test, as a note prints it.
        why: Why there is none, if the column has a test; else empty.
    """

    rows: set[str] | None = None
    n_common: int | None = None
    test: str = ""
    why: str = ""


_FEW_IN_COMMON = "fewer than two items in common"
_NO_ITEMS: Items = np.empty(0, dtype=np.int64), np.empty(0)


def _bold(
    table: ResolvedTable,
    index: int,
    models: list[ResolvedModel],
    cells: list[list[Cell]],
    across: Mapping[str, Across],
    results: Results,
) -> _Bold:
    column = table.columns[index]
    test = column.column.test
    if test is None or column.column.direction is None:
        return _Bold()
    higher, seed = column.column.direction == "up", column.evaluation.config.seed
    items: dict[str, Items] = {}
    scored: dict[str, dict[int, Scored]] = {}
    numbers: dict[str, dict[int, float]] = {}
    for model, row in zip(models, cells, strict=True):
        # A masked number does not measure robustness, so it takes no part in the comparison.
        if row[index].status != "ok" or row[index].verdict == "masked":
            continue
        if test == "auroc":
            scored[model.name] = results.scores(model, column)
            numbers[model.name] = {run: mean_area({run: one}) for run, one in scored[model.name].items()}
        else:
            found = across[column.id].items[model.name] if column.id in across else results.items(model, column)
            items[model.name] = mean_over_seeds(list(found.values())) if found else _NO_ITEMS
            numbers[model.name] = {run: float(np.mean(values)) for run, (_, values) in found.items()}
        if not numbers[model.name]:
            return _Bold(why=f"no results of single items of {model.label}")
    if len(numbers) < 2:
        return _Bold(why="nothing to compare")
    if len({frozenset(of_model) for of_model in numbers.values()}) > 1:
        return _Bold(why="rows have different seeds")
    families = indistinguishable_over_seeds(numbers, higher_is_better=higher)
    if families is not None:
        return _Bold(families, test=OVER_SEEDS)
    several = any(len(of_model) > 1 for of_model in numbers.values())
    if test == "auroc":
        by_area = indistinguishable_by_area(scored, higher_is_better=higher)
        named = f"{TESTS[test]}, means over seeds" if several else TESTS[test]
        return _Bold(by_area, test=named, why="" if by_area is not None else _FEW_IN_COMMON)
    items = common_items(items)
    n_common = len(next(iter(items.values()))[0])
    if n_common < 2:
        return _Bold(n_common=n_common, why=_FEW_IN_COMMON)
    return _Bold(
        indistinguishable_from_best(items, test=test, higher_is_better=higher, seed=seed),
        n_common,
        f"{TESTS['permutation']}, means over seeds" if several else TESTS[test],
    )


def _title(table: ResolvedTable, parts: Parts, models: list[ResolvedModel]) -> str:
    suite = parts.plan.suite
    if suite.profile is None:
        return table.title
    networks = "".join(
        f", {name}" for name in dict.fromkeys(m.backbone.name for m in models if m.family.needs_backbone)
    )
    items = f", n <= {suite.caps.items}" if suite.caps.items is not None else ""
    data = ", ".join(dict.fromkeys(leaf.dataset.name for leaf in suite.leaves))
    return f"{table.title} (PROFILE {suite.profile}: {data}{networks}{items})"


def _notes(
    table: ResolvedTable,
    cells: list[list[Cell]],
    across: Mapping[str, Across],
    tests: Mapping[str, _Bold],
    models: Sequence[ResolvedModel],
    parts: Parts,
) -> list[str]:
    """The notes below a table: its own note, what its numbers can claim, and the reasons for missing numbers."""
    notes = [table.note] if table.note else []
    filled = [cell for row in cells for cell in row if cell.status == "ok"]
    of_seeds = seed_note([model.label for model in models], cells)
    notes += [of_seeds] if of_seeds else []
    notes += item_notes(table.columns, cells)
    for on, results in parts.results.items():
        notes += control_notes([column for column in table.columns if column.dataset == on], models, results)
    notes += calibration_notes(table.columns, models, cells)
    notes += [column.note for column in across.values() if column.note]
    made = "; ".join(dict.fromkeys(bold.test for bold in tests.values() if bold.rows is not None))
    if made:
        notes.append(
            f"Bold: best measured value and those not told from it ({made}; Holm over all pairs, alpha {ALPHA:g})."
        )
    numbers = Counter(cell.column for row in cells for cell in row if cell.value is not None)
    untested: dict[str, list[str]] = {}
    for name, bold in tests.items():
        if bold.rows is None and numbers[name] > 1:
            untested.setdefault(bold.why or "no paired test", []).append(name)
    if untested:
        each = "; ".join(f"{', '.join(names)} ({why})" for why, names in untested.items())
        notes.append(f"Not tested, nothing bold: {each}.")
    verdicts = {cell.verdict for cell in filled if cell.verdict}
    if verdicts:
        notes.append(
            "Robust accuracies and norms of attacks are upper bounds. † masked: the attack's gradients vanish and no "
            "loss that has gradients confirms it, or another attack leaves significantly less, so it takes no part in "
            "bold; ‡ inconclusive: it is open whether the attack was misled; no mark: no warning was raised"
            + (
                ", or gradients vanish and a loss that has them confirms the number."
                if "confirmed" in verdicts
                else "."
            )
        )
    repeated = sorted({getattr(column.evaluation.config, "attack_seeds", 1) for column in table.columns} - {1})
    if repeated and verdicts:
        counts = " or ".join(part for part in (", ".join(map(str, repeated[:-1])), str(repeated[-1])) if part)
        notes.append(
            f"Where an attack draws, its accuracy is the mean over {counts} attack seeds (its definition says how "
            "many), and the interval covers items and seeds."
        )
    warned = (
        text
        for leaf in parts.plan.suite.leaves
        for model in leaf.models
        if model.name in table.rows
        for text in model.warnings
    )
    notes += [f"Warning: {text}." for text in dict.fromkeys(warned)]
    notes += reason_notes([model.label for model in models], cells)
    return notes
