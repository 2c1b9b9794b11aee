"""The report of a comparison: tables of differences, which every format prints like the tables of a suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.compare.changes import changes, same_data
from bench.compare.differences import Compared, of_families, of_weights
from bench.compare.sides import FormerRun, Side, run_name, sides_of
from bench.errors import NothingSelectedError, RequestError, did_you_mean
from bench.metrics.difference import Difference
from bench.metrics.intervals import carried_decimals
from bench.metrics.paired import holm
from bench.report.bold import ALPHA
from bench.report.cells import Results
from bench.report.claims import reason_notes
from bench.report.deviations import deviations
from bench.report.model import Cell, Report, Table, TableColumn, TableRow
from bench.report.parts import joined
from bench.report.text import size_note
from bench.suite.schema import ResolvedColumn, ResolvedModel, ResolvedTable, Suite, models_by_name

__all__ = ["compare_models", "compare_runs"]

Pair = tuple[ResolvedModel, Side, Side, bool]
"""A model of the suite, its side, the baseline, and whether equal ids name equal items on both."""


def compare_models(results: Results, suite: Suite, baseline: str | None) -> Report:
    """The differences of each model of a suite to one of them.

    Args:
        results: The results of the suite.
        suite: The suite.
        baseline: Label or name of the model to compare with; None: the first.

    Raises:
        RequestError: The suite has no model of that name, or no other one.
    """
    if suite.parts:
        return _of_parts(results, suite, baseline)
    known = models_by_name(suite.models)
    if baseline is not None and baseline not in known:
        raise RequestError(f"suite {suite.name} has no model {baseline!r}; {did_you_mean(baseline, known)}")
    first = known[baseline] if baseline is not None else suite.models[0]
    sides = sides_of(results, suite)
    pairs = [(model, sides[model.name], sides[first.name], True) for model in suite.models if model is not first]
    if not pairs:
        raise RequestError(f"suite {suite.name} has no model to compare {first.label} with")
    return _report(suite, pairs, f"difference to {first.label}", [])


def _of_parts(results: Results, suite: Suite, baseline: str | None) -> Report:
    """The differences in each part of a suite. A part without the baseline or another model becomes a remark."""
    reports, remarks = [], []
    for part in results.plan.parts:
        name = part.suite.on or part.suite.name
        try:
            report = compare_models(replace(results, plan=part), _with_tables(part.suite, suite), baseline)
        except RequestError as error:
            remarks.append(f"{name} is not compared: {error}")
            continue
        reports.append(replace(report, suite=name))
        remarks += report.remarks
    if not reports:
        raise RequestError(remarks[0])
    return replace(joined(suite, reports), comparison=True, remarks=tuple(dict.fromkeys(remarks)))


def _with_tables(part: Suite, whole: Suite) -> Suite:
    """A part of a suite; if it is one of several data sets, with the suite's tables cut to its columns."""
    if not part.on:
        return part
    tables = (
        replace(
            table,
            id=f"{table.id}-{part.on}",
            title=f"{table.title}, {part.on}",
            columns=tuple(c for c in table.columns if c.dataset == part.on),
        )
        for table in whole.tables
    )
    return replace(part, tables=tuple(table for table in tables if table.columns))


def compare_runs(results: Results, suite: Suite, former: FormerRun) -> Report:
    """The differences of each model of a suite to the model of the same label in another run.

    Args:
        results: The results of the suite.
        suite: The suite.
        former: The other run, the baseline.

    Raises:
        NothingSelectedError: The runs have no model in common.
    """
    pairs, missing = [], []
    for model in suite.models:
        mine, other = Side(results, model), former.side(model)
        if other is None:
            missing.append(model.label)
        else:
            pairs.append((model, mine, other, same_data(mine, other, suite)))
    if not pairs:
        raise NothingSelectedError(f"the runs of {run_name(suite.name, suite.profile)} have no model in common")
    notes = [f"Not in {former.folder}: {', '.join(missing)}."] if missing else []
    found = [f"Between the runs: {line}" for line in changes(pairs, suite)]
    return _report(suite, pairs, f"difference to the run in {former.folder}", [*notes, *found])


def _report(suite: Suite, pairs: Sequence[Pair], title: str, notes: Sequence[str]) -> Report:
    tables: list[Table] = []
    empty: list[Table] = []
    for table in suite.tables:
        rows = [pair for pair in pairs if pair[0].name in table.rows]
        if not rows:
            continue
        several = any(len(model.seeds) > 1 for model, *_ in rows)
        made = [_table(table, "weights", f"{title}, these weights", rows, _weights)]
        if several:
            made.append(_table(table, "families", f"{title}, these families", rows, _families))
        for one in made:
            (tables if any(cell.value is not None for row in one.rows for cell in row.cells) else empty).append(one)
    return Report(
        suite=suite.name,
        title=f"{suite.title}: {title}",
        profile=suite.profile,
        substitutions=suite.substitutions,
        deviations=deviations(suite),
        remarks=(*notes, *(_nothing(one) for one in empty if tables)),
        comparison=True,
        tables=tuple(tables or empty),
    )


def _nothing(table: Table) -> str:
    """The remark in place of a table without any difference."""
    reasons = dict.fromkeys(cell.reason for row in table.rows for cell in row.cells if cell.reason)
    return f"No table “{table.title}”: {'; '.join(reasons)}."


_WEIGHTS = (
    "These weights: the test items are the sample, and the mean over seeds is compared if there are several. Another "
    "training run may differ; see the families for that."
)


_FAMILIES = "These families: the training seeds are the sample."


def _untold_note(untold: Sequence[tuple[Difference, int]]) -> list[str]:
    """The note on differences whose tests cannot reach ``ALPHA``, each with the number of rows of its correction."""
    limits = sorted({(one.smallest_p, tests) for one, tests in untold}, reverse=True)
    if not limits:
        return []
    said = "; ".join(
        f"{smallest:.3g} with {round(1 - math.log2(smallest))} of them"
        + (f" ({min(1.0, tests * smallest):.3g} corrected for {tests} rows)" if tests > 1 and smallest < ALPHA else "")
        for smallest, tests in limits
    )
    few = f"No p where the test, sign flips of so few differences, could not show one: its smallest p is {said}."
    return [f"{few} Student's intervals assume that the differences are normal."]


def _weights(pair: Pair, column: ResolvedColumn) -> Compared:
    _, mine, other, same = pair
    return of_weights(mine, other, column, same_items=same)


def _families(pair: Pair, column: ResolvedColumn) -> Compared:
    return of_families(pair[1], pair[2], column)


def _table(
    table: ResolvedTable,
    question: str,
    title: str,
    rows: Sequence[Pair],
    compare: Callable[[Pair, ResolvedColumn], Compared],
) -> Table:
    compared = [[compare(pair, column) for column in table.columns] for pair in rows]
    cells = [[_cell(found, column) for found, column in zip(row, table.columns, strict=True)] for row in compared]
    untold: list[tuple[Difference, int]] = []
    for index in range(len(table.columns)):
        column = [row[index].difference for row in compared]
        tests = sum(one is not None and one.p is not None for one in column)
        hopeless = [one is not None and one.smallest_p * tests >= ALPHA for one in column]
        untold += [(one, tests) for one, none in zip(column, hopeless, strict=True) if one is not None and none]
        for row, cell in zip(cells, _corrected([row[index] for row in cells], hopeless), strict=True):
            row[index] = cell
    columns = tuple(TableColumn.of(column) for column in table.columns)
    labels = [pair[0].label for pair in rows]
    made = Table(
        f"{table.id}-{question}",
        f"{table.title}: {title}",
        columns,
        tuple(
            TableRow(label, pair[0].family.name, "measured", tuple(row))
            for label, pair, row in zip(labels, rows, cells, strict=True)
        ),
    )
    differences = [one.difference for row in compared for one in row if one.difference is not None]
    said = _methods(differences)
    if any(cell.p_corrected is not None for row in cells for cell in row):
        said.append(
            f"p is corrected by Holm's method for the {len(rows)} rows of its column, intervals are not; "
            f"bold: p < {ALPHA:g}."
            if len(rows) > 1
            else f"Bold: p < {ALPHA:g}."
        )
    sizes = size_note(made)
    verdicts = {cell.verdict for row in cells for cell in row}
    marks = [_MASKED] if "masked" in verdicts else []
    marks += [_INCONCLUSIVE] if "inconclusive" in verdicts else []
    notes = [
        _WEIGHTS if question == "weights" else _FAMILIES,
        *said,
        *_untold_note(untold),
        *marks,
        *([sizes] if sizes else []),
        *reason_notes(labels, cells),
    ]
    return replace(made, notes=tuple(notes))


def _methods(differences: Sequence[Difference]) -> list[str]:
    """The note that names tests and intervals."""
    tests = dict.fromkeys(one.test for one in differences if one.p is not None)
    kinds = dict.fromkeys(one.interval.kind.partition(", cut")[0] for one in differences if one.interval is not None)
    intervals = ["Student's t" if kind == "t" else kind for kind in kinds]
    if list(tests) == intervals:
        return [f"Tests and 95% intervals: {'; '.join(tests)}."] if tests else []
    said = [f"Tests: {'; '.join(tests)}."] if tests else []
    return [*said, *([f"95% intervals: {'; '.join(intervals)}."] if intervals else [])]


_MASKED = "† masked on one side: that number does not measure robustness, so its difference is never bold."

_INCONCLUSIVE = (
    "‡ inconclusive on one side: it is open whether that attack was misled, so the difference may be another."
)


def _cell(found: Compared, column: ResolvedColumn) -> Cell:
    difference = found.difference
    if difference is None:
        return Cell(column=column.id, status="n/a", reason=found.reason, signed=True)
    value, interval, unit = difference.value, difference.interval, column.column.unit
    decimals = None
    if interval is not None and unit in ("1", "auroc"):
        decimals = carried_decimals(value, interval)
        decimals = min(max(decimals, 3), 6) if unit == "auroc" else decimals
    return Cell(
        column=column.id,
        value=value,
        n=found.n,
        seeds=found.seeds,
        interval=interval,
        decimals=decimals,
        status="ok",
        reason=found.reason,
        verdict=found.verdict,
        records=found.records,
        signed=True,
        p=difference.p,
    )


def _corrected(cells: Sequence[Cell], hopeless: Sequence[bool]) -> list[Cell]:
    """The cells of a column with p corrected for their number, and bold where it is below ``ALPHA``.

    A test that cannot reach ``ALPHA`` has no corrected p: "p = 1" beside an interval without 0 would be read as
    evidence of no difference.
    """
    tested = [cell.p for cell in cells if cell.p is not None]
    corrected = iter(holm(tested) if tested else ())
    found = []
    for cell, none in zip(cells, hopeless, strict=True):
        p = next(corrected) if cell.p is not None else None
        p = None if none else p
        found.append(replace(cell, p_corrected=p, best=p is not None and p < ALPHA and cell.verdict != "masked"))
    return found
