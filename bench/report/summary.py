"""A report in words: which model is best at what, which numbers are missing and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.report.bold import ALPHA, ENOUGH_SEEDS
from bench.report.model import Cell, Figure, Report, Table, TableColumn, TableRow
from bench.report.text import bare_title, column_name, mark_text, row_names, value_text

__all__ = ["Finding", "Gap", "caveats", "findings", "gaps"]


@dataclass(frozen=True)
class Finding:
    """What the numbers of one table say.

    Attributes:
        table: Id of the table.
        title: Its title.
        sentences: One sentence for each group of columns with the same outcome; at least one.
    """

    table: str
    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Gap:
    """Numbers that are missing for one reason.

    Attributes:
        reason: Status and reason, such as ``"n/a: no Inception weights"``.
        where: What is missing, one entry for each table or figure.
    """

    reason: str
    where: tuple[str, ...]


def findings(report: Report) -> list[Finding]:
    """The best models of each table, in the order of the tables.

    A column counts if it has a direction and numbers of two models at least. A masked number does not measure
    robustness and is not compared. Where a test was made, the models that are bold are named as not told apart; without
    a test the sentence says so. Quoted numbers and differences do not take part. A report of differences has no
    findings: its tables hold p values.
    """
    found = []
    for table in report.tables if not report.comparison else ():
        outcomes = [outcome for index in range(len(table.columns)) if (outcome := _outcome(table, index)) is not None]
        sentences = tuple(_sentences(outcomes))
        if sentences:
            found.append(Finding(table.id, table.title, sentences))
    return found


def caveats(report: Report) -> list[str]:
    """What a reader has to know before any of the findings, as sentences."""
    said = []
    if report.profile is not None:
        said.append(
            f"The numbers were made with the profile {report.profile}, which shrinks the suite: they show that it runs,"
            " and say nothing about the models at full size."
        )
    cells = [(row, cell) for table in report.tables for row in _measured(table) for cell in row.cells]
    seeds = {len(cell.seeds) for _, cell in cells if cell.value is not None and cell.seeds}
    if seeds == {1}:
        said.append("Each model was trained once: differences between training runs are not covered.")
    elif seeds and min(seeds) < ENOUGH_SEEDS:
        count = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else f"{min(seeds)}"
        said.append(
            f"Numbers are of {count} training runs of a model, too few for a test over runs: what is compared are these"
            " weights, and another training may end in another order."
        )
    masked = list(dict.fromkeys(row.label for row, cell in cells if cell.verdict == "masked"))
    if any(cell.verdict for _, cell in cells):
        said.append("Robust accuracies are upper bounds: a stronger attack may find less.")
    if masked:
        said.append(
            f"Some attacks on {', '.join(masked)} were misled by vanishing gradients (†): these numbers do not measure "
            "robustness and are left out of the comparison."
        )
    if any(cell.verdict == "inconclusive" for _, cell in cells):
        said.append("Where ‡ stands, the attack was inconclusive, and the true robustness may be lower.")
    if any(column.direction and not column.tested for table in report.tables for column in table.columns):
        said.append("Where no test was made, the order of the models may be chance.")
    return said


@dataclass(frozen=True)
class _Outcome:
    """The outcome of one column.

    Attributes:
        column: The column.
        best: Label of the row with the best number; several if they are equal.
        value: The number with its mark, as the tables print it.
        rows: Labels of all rows that are compared.
        alike: Labels of other rows that the test does not tell from the best.
        tested: Whether a test was made.
        everyone: Whether the test tells no row from the best.
    """

    column: TableColumn
    best: tuple[str, ...]
    value: str
    rows: tuple[str, ...]
    alike: tuple[str, ...]
    tested: bool
    everyone: bool


def _measured(table: Table) -> list[TableRow]:
    return [row for row in table.rows if row.source == "measured"]


def _outcome(table: Table, index: int) -> _Outcome | None:
    column = table.columns[index]
    rows: list[tuple[str, float, Cell]] = []
    for row in _measured(table):
        cell = row.cells[index]
        if cell.value is not None and cell.verdict != "masked":
            rows.append((row.label, cell.value, cell))
    if column.direction is None or len(rows) < 2:
        return None
    pick = max if column.direction == "up" else min
    tested = any(cell.best for _, _, cell in rows)
    shown = {label: value_text(value, column.unit, cell.n, cell.decimals) for label, value, cell in rows}
    _, first = pick(((value, label) for label, value, cell in rows if cell.best or not tested), key=_value)
    # Numbers that are printed alike are equal for a reader.
    best = tuple(label for label, _, cell in rows if shown[label] == shown[first] and (cell.best or not tested))
    marks = dict.fromkeys(mark_text(cell) for label, _, cell in rows if label in best)
    # Of several equal ones the sentence could not say whose it is.
    ideal = [_calibrated(cell, shown[first]) for label, _, cell in rows if [label] == list(best)]
    return _Outcome(
        column=column,
        best=best,
        value=shown[first] + (" %" if column.unit == "fraction" else "") + "".join([*marks, *ideal]),
        rows=tuple(label for label, _, _ in rows),
        alike=tuple(label for label, _, cell in rows if cell.best and label not in best),
        tested=tested,
        everyone=tested and all(cell.best for _, _, cell in rows),
    )


def _calibrated(cell: Cell, shown: str) -> str:
    """What a calibrated model would have, where the calibration error is larger than chance explains; else empty."""
    fact = cell.if_calibrated
    if fact is None or cell.value is None:
        return ""
    # Means over seeds have no p value.
    if fact.p_value >= ALPHA if fact.p_value is not None else cell.value <= fact.upper:
        return ""
    ideal = f"{100 * fact.mean:.1f}"
    return "" if ideal == shown else f"; a calibrated model would have {ideal} %"


def _value(entry: tuple[float, str]) -> float:
    return entry[0]


def _sentences(outcomes: Sequence[_Outcome]) -> Iterator[str]:
    told: dict[tuple[tuple[str, ...], tuple[str, ...]], list[_Outcome]] = {}
    untested: dict[tuple[str, ...], list[_Outcome]] = {}
    equal: dict[tuple[str, ...], list[_Outcome]] = {}
    for outcome in outcomes:
        if outcome.everyone:
            continue
        if not outcome.tested and outcome.best == outcome.rows:
            equal.setdefault(outcome.rows, []).append(outcome)
        elif outcome.tested:
            told.setdefault((outcome.best, outcome.alike), []).append(outcome)
        else:
            untested.setdefault(outcome.best, []).append(outcome)
    for (best, alike), group in told.items():
        verb = "is" if len(best) == 1 else "are"
        tail = f"; not told from it: {_and(alike)}" if alike else ""
        yield f"{_and(best)} {verb} best in {_named(group)}{tail}."
    for best, group in untested.items():
        verb = "has" if len(best) == 1 else "have"
        number = "numbers" if len(group) > 1 else "number"
        yield f"{_and(best)} {verb} the best {number}, without a test, in {_named(group)}."
    for rows, group in equal.items():
        yield f"{_and(rows)} are equal in {_named(group)}."
    alike_all = [outcome for outcome in outcomes if outcome.everyone]
    if alike_all:
        yield f"No model is told from the best in {_named(alike_all)}."


def _named(outcomes: Iterable[_Outcome]) -> str:
    """Columns with the best number of each; columns of one group follow its name."""
    groups: dict[str, list[str]] = {}
    for outcome in outcomes:
        column = outcome.column
        groups.setdefault(column.group, []).append(f"{column.label or column.id} ({outcome.value})")
    return "; ".join((f"{group}: " if group else "") + ", ".join(names) for group, names in groups.items())


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def gaps(report: Report, figures: Mapping[str, Figure | str]) -> list[Gap]:
    """What a report lacks, and why: cells of measured rows without a number, and figures that could not be drawn.

    Args:
        report: The report.
        figures: By id, each figure, or why there is none.
    """
    found: dict[str, list[str]] = {}
    for table in report.tables:
        rows = _measured(table)
        missing: dict[str, dict[str, list[str]]] = {}
        for index, column in enumerate(table.columns):
            for row in rows:
                cell = row.cells[index]
                if cell.status != "ok":
                    reason = f"{cell.status}: {cell.reason}" if cell.reason else cell.status
                    missing.setdefault(reason, {}).setdefault(column_name(column), []).append(row.label)
        for reason, columns in missing.items():
            alike: dict[str, list[str]] = {}
            for name, labels in columns.items():
                alike.setdefault(row_names(labels, len(rows)), []).append(name)
            texts = [f"{', '.join(names)} ({labels})" for labels, names in alike.items()]
            found.setdefault(reason, []).append(f"{bare_title(table.title, report)}: {'; '.join(texts)}")
    for name, figure in figures.items():
        if isinstance(figure, str):
            found.setdefault(figure, []).append(f"figure {name}")
    return [Gap(reason, tuple(where)) for reason, where in found.items()]
