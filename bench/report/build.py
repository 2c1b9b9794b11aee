"""The report of a suite, from a plan and a store. It reads records and runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.execute.states import job_states
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
from bench.report.items import Items, common_items, mean_area, mean_over_seeds
from bench.report.literature import load_literature
from bench.report.minimal import with_norm_checks
from bench.report.model import Cell, Report, Table, TableColumn, TableRow
from bench.report.origins import origins
from bench.report.stored import Scored
from bench.report.text import size_note
from bench.report.verdicts import with_curve_checks
from bench.store import Store
from bench.suite.schema import ResolvedColumn, ResolvedModel, ResolvedTable, Suite

__all__ = ["build_report"]


def build_report(plan: Plan, store: Store, literature: Sequence[Path]) -> Report:
    """All tables of a suite, filled with the results that the store holds.

    Args:
        plan: The plan of the suite.
        store: The store that holds the records.
        literature: Folders of quoted numbers.
    """
    suite = plan.suite
    results = Results(plan, store, job_states(plan, store))
    tables = tuple(_table(table, suite, results, literature) for table in suite.tables)
    return Report(
        suite=suite.name,
        title=suite.title,
        profile=suite.profile,
        substitutions=suite.substitutions,
        deviations=deviations(suite),
        tables=tables,
        budget=_budget(plan),
    )


def _budget(plan: Plan) -> str:
    """The note on the cost of training: models are compared on equal data but not at equal cost."""
    passes: dict[str, float] = {}
    labels = {model.name: model.label for model in plan.suite.models}
    for job in plan.jobs:
        if job.kind == "train" and job.model in labels and job.passes:
            passes.setdefault(labels[job.model], job.passes)
    costs = ", ".join(f"{label} {cost:,.0f}" for label, cost in passes.items())
    return f"Training of one seed in network passes of one image, without validation: {costs}." if costs else ""


def _table(table: ResolvedTable, suite: Suite, results: Results, literature: Sequence[Path]) -> Table:
    columns = tuple(
        TableColumn(
            id=column.id,
            label=column.column.label,
            group=column.column.group,
            direction=column.column.direction,
            unit=column.column.unit,
            definition=column.column.definition,
            tested=column.column.test is not None,
        )
        for column in table.columns
    )
    models = [model for name in table.rows for model in suite.models if model.name == name]
    across = {c.id: across_rows(models, c, results) for c in table.columns if c.column.across is not None}
    cells = [[_cell(model, column, across, results) for column in table.columns] for model in models]
    tests: dict[str, str | None] = {}
    for index, column in enumerate(table.columns):
        bold = _bold(table, index, models, cells, across, results)
        if column.column.direction is not None:
            tests[column.id] = bold.test if bold.rows is not None else None
        for row, model in enumerate(models):
            cell = replace(cells[row][index], n_common=bold.n_common if cells[row][index].value is not None else None)
            cells[row][index] = replace(cell, best=model.name in (bold.rows or ()))
    made = origins(models, cells, results.plan, results.store)
    rows = [
        TableRow(model.label, model.family.name, "measured", tuple(row), made_with=made.rows[model.name])
        for model, row in zip(models, cells, strict=True)
    ]
    for name in table.literature:
        rows += _quoted(name, table, suite, literature)
    title = _title(table, suite, models)
    made_table = Table(
        table.id, title, columns, tuple(rows), chart=chart_of(title, table.columns, models, cells, results)
    )
    notes = _notes(table, suite, cells, across, tests, models, results)
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
    """

    rows: set[str] | None = None
    n_common: int | None = None
    test: str = ""


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
            return _Bold()
    if len(numbers) < 2 or len({frozenset(of_model) for of_model in numbers.values()}) > 1:
        return _Bold()  # nothing to compare, or means over different seeds
    families = indistinguishable_over_seeds(numbers, higher_is_better=higher)
    if families is not None:
        return _Bold(families, test=OVER_SEEDS)
    several = any(len(of_model) > 1 for of_model in numbers.values())
    if test == "auroc":
        by_area = indistinguishable_by_area(scored, higher_is_better=higher)
        return _Bold(by_area, test=f"{TESTS[test]}, means over seeds" if several else TESTS[test])
    items = common_items(items)
    n_common = len(next(iter(items.values()))[0])
    if not n_common:
        return _Bold(n_common=0)
    return _Bold(
        indistinguishable_from_best(items, test=test, higher_is_better=higher, seed=seed),
        n_common,
        f"{TESTS['permutation']}, means over seeds" if several else TESTS[test],
    )


def _title(table: ResolvedTable, suite: Suite, models: list[ResolvedModel]) -> str:
    if suite.profile is None:
        return table.title
    networks = ", ".join(dict.fromkeys(model.backbone.name for model in models))
    items = f", n <= {suite.caps.items}" if suite.caps.items is not None else ""
    return f"{table.title} (PROFILE {suite.profile}: {suite.dataset.name}, {networks}{items})"


def _quoted(name: str, table: ResolvedTable, suite: Suite, folders: Sequence[Path]) -> list[TableRow]:
    literature = load_literature(name, folders)
    wanted = [column.id for column in table.columns]
    rows = []
    for row in literature.rows:
        if not any(column in row.values for column in wanted):
            continue
        same = row.dataset == suite.dataset.name and suite.profile is None
        comparable = "" if same else f", {row.dataset.upper()}, not comparable"
        cells = tuple(
            Cell(column=column, value=row.values[column], status="ok")
            if column in row.values
            else Cell(column=column, status="n/a", reason="not in the source")
            for column in wanted
        )
        origin = f"{literature.source.title}, {row.table}{comparable}"
        rows.append(TableRow(row.label, row.family, "literature", cells, origin))
    return rows


def _notes(
    table: ResolvedTable,
    suite: Suite,
    cells: list[list[Cell]],
    across: Mapping[str, Across],
    tests: Mapping[str, str | None],
    models: Sequence[ResolvedModel],
    results: Results,
) -> list[str]:
    """The notes below a table: its own note, what its numbers can claim, and the reasons for missing numbers."""
    notes = [table.note] if table.note else []
    filled = [cell for row in cells for cell in row if cell.status == "ok"]
    of_seeds = seed_note(filled)
    notes += [of_seeds] if of_seeds else []
    notes += item_notes(table.columns, cells)
    notes += control_notes(table.columns, models, results)
    notes += calibration_notes(table.columns, models, cells)
    notes += [column.note for column in across.values() if column.note]
    made = "; ".join(dict.fromkeys(test for test in tests.values() if test))
    if made:
        notes.append(
            f"Bold: best measured value and those not told from it ({made}; Holm over all pairs, alpha {ALPHA:g})."
        )
    untested = [name for name, test in tests.items() if test is None]
    if untested and any(column.column.test for column in table.columns):
        notes.append(f"Not tested, nothing bold: {', '.join(untested)}.")
    elif untested:
        notes.append("No paired test for these columns yet: nothing is bold.")
    verdicts = {cell.verdict for cell in filled if cell.verdict}
    if verdicts:
        notes.append(
            "Robust accuracies and norms of attacks are upper bounds. † masked: the attack's gradients vanish and no "
            "loss that has gradients confirms it, or another attack leaves significantly less, so it takes no part in "
            "bold; ‡ inconclusive; no mark: no warning was raised"
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
    notes += [f"Warning: {text}." for model in suite.models if model.name in table.rows for text in model.warnings]
    labels = {model.name: model.label for model in suite.models}
    notes += reason_notes([labels[name] for name in table.rows], cells)
    return notes
