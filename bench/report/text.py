"""The text of numbers, headings and notes, the same in every format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase

from bench.report.model import Cell, Report, Table, TableColumn

__all__ = [
    "ARROWS",
    "aside_text",
    "banner",
    "bare_title",
    "calibrated_text",
    "cell_text",
    "column_name",
    "counted",
    "definitions",
    "full_header",
    "has_intervals",
    "header",
    "interval_text",
    "mark_text",
    "origins",
    "p_text",
    "preamble",
    "report_title",
    "row_names",
    "size_note",
    "value_text",
]

ARROWS = {"up": "↑", "down": "↓", None: ""}
_LONG_PROTOCOL = 40
_MARKS = {"masked": "†", "inconclusive": "‡"}


def value_text(value: float, unit: str, n: int | None = None, decimals: int | None = None) -> str:
    """A number without its interval: fractions in percent, AUROC as .953, the rest to three or four digits.

    Args:
        value: The number.
        unit: The unit of its column.
        n: Number of items behind it. A percentage of fewer than ten thousand items has one decimal, because one item
            changes that decimal by one or more; otherwise two. None (quoted numbers): the decimals of the source, at
            most two, or three of an AUROC.
        decimals: Decimals of a number of unit ``"1"``, or of an AUROC near 0 or 1; None: three digits.

    >>> value_text(0.2075, "fraction", 100), value_text(0.20749999999999996, "fraction", 100)
    ('20.8', '20.8')
    """
    value = _settled(value)
    if unit == "auroc" and n is None and decimals is None and round(value, 2) == round(value, 3):
        decimals = 2
    long = n >= 10_000 if n is not None else round(100 * value, 2) != round(100 * value, 1)
    return f"{100 * value:.2f}" if unit == "fraction" and long else _number(value, unit, decimals)


def _settled(value: float) -> float:
    """The number to twelve digits: two ways of computing it may differ in the last bits, and tell a tie apart."""
    return float(f"{value:.12g}")


def _number(value: float, unit: str, decimals: int | None) -> str:
    """A number with the decimals of its unit; if it has none, with three digits or the whole integer part, and without
    an exponent for large numbers.
    """
    value = _settled(value)
    if unit == "fraction":
        return f"{100 * value:.1f}"
    if unit == "auroc":
        return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{decimals or 3}f}")
    if unit == "l2":
        return f"{value:.3f}"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def interval_text(cell: Cell, unit: str) -> str:
    """The interval of a cell, ``[low, high]``; empty if it has none."""
    if cell.interval is None:
        return ""
    low, high = (_number(end, unit, cell.decimals) for end in (cell.interval.low, cell.interval.high))
    return f"[{low}, {high}]"


def counted(table: Table) -> frozenset[str]:
    """Ids of the columns whose measured numbers are over different numbers of items; their cells show n."""
    sizes = _sizes(table)
    return frozenset(name for name, found in sizes.items() if len(found) > 1)


def aside_text(cell: Cell, unit: str, counted: frozenset[str], *, interval: bool = True) -> str:
    """The text behind or below a number: ``[low, high]``, ``p = .012`` of a difference, and ``n = 28`` in a column of
    different n; may be empty.

    Args:
        cell: The cell.
        unit: The unit of its column.
        counted: Result of ``counted`` for the table.
        interval: Whether there is room for the interval.
    """
    parts = [interval_text(cell, unit)] if interval and cell.interval is not None else []
    parts += [p_text(cell.p_corrected)] if cell.p_corrected is not None else []
    if cell.column in counted and cell.n is not None and cell.value is not None:
        parts.append(f"n = {n_text(cell.n, cell.n_most)}")
    return ", ".join(parts)


def n_text(n: int, most: int | None) -> str:
    """A number of items, which seeds may differ in: ``28``, or ``11 to 17``."""
    return f"{n:,}" if most is None else f"{n:,} to {most:,}"


def calibrated_text(cell: Cell) -> str:
    """The value that a calibrated model would have in place of a cell's: ``calibrated 2.9, p = .001``; empty without.

    Calibration errors are fractions, so the value is in percent.
    """
    fact = cell.if_calibrated
    if fact is None:
        return ""
    p = "" if fact.p_value is None else ", p < .001" if fact.p_value < 0.001 else f", p = {_p_text(fact.p_value)}"
    return f"calibrated {100 * _settled(fact.mean):.1f}{p}"


def _p_text(p: float) -> str:
    return f"{p:.3f}".removeprefix("0") if p < 0.1 else f"{p:.2f}".removeprefix("0")


def size_note(table: Table) -> str | None:
    """The note with the number of items per seed behind the numbers of a table; None if nothing is measured yet.

    It has one number if all columns have the same, else one per column; if cells of a column differ, they show theirs.
    """
    sizes = _sizes(table)
    everywhere = set().union(*sizes.values())
    if not everywhere:
        return None
    if len(everywhere) == 1:
        return f"n = {everywhere.pop():,} items for every number of this table."
    names: dict[int, list[str]] = {}
    mixed = []
    for name, found in sizes.items():
        if len(found) == 1:
            names.setdefault(next(iter(found)), []).append(name)
        else:
            mixed.append(f"{min(found):,} to {max(found):,} ({name}: n stands in its cells)")
    parts = [f"{n:,} ({', '.join(columns)})" for n, columns in names.items()]
    return f"Items behind each number, n: {'; '.join([*parts, *mixed])}."


def _sizes(table: Table) -> dict[str, frozenset[int]]:
    """By id of a column, the values of n of its measured numbers; columns without any are left out."""
    found: dict[str, set[int]] = {}
    for row in table.rows:
        for cell in row.cells:
            if row.source == "measured" and cell.value is not None and cell.n is not None:
                found.setdefault(cell.column, set()).update(n for n in (cell.n, cell.n_most) if n is not None)
    return {column.id: frozenset(found[column.id]) for column in table.columns if column.id in found}


def column_name(column: TableColumn) -> str:
    """The label of a column with its group, for use outside of the table."""
    return f"{column.group}: {column.label}" if column.group else column.label


def definitions(table: Table) -> list[tuple[str, str]]:
    """The definitions of a table's columns, as (names, definition).

    Columns with the same definition share an entry. A long protocol at the end of several definitions, after a colon,
    is printed once: these definitions refer to it as ``(a)``, and its own entry follows them.
    """
    found: dict[str, list[str]] = {}
    for column in table.columns:
        if column.definition:
            found.setdefault(column.definition, []).append(column_name(column))
    ends = Counter(_split(text)[1] for text in found)
    shared = [end for end, count in ends.items() if count > 1 and len(end) >= _LONG_PROTOCOL]
    marks = {end: f"({ascii_lowercase[i]})" for i, end in enumerate(shared[: len(ascii_lowercase)])}
    entries = []
    for text, names in found.items():
        start, end = _split(text)
        entries.append((", ".join(names), f"{start}: {marks[end]}" if end in marks else text))
    return entries + [(mark, end) for end, mark in marks.items()]


def _split(definition: str) -> tuple[str, str]:
    """A definition split at the first colon into (quantity, protocol); (definition, "") if that is in brackets."""
    start, _, end = definition.partition(": ")
    closed = all(start.count(left) == start.count(right) for left, right in ("()", "[]"))
    return (start, end) if closed else (definition, "")


def row_names(labels: Sequence[str], count: int) -> str:
    """The names of the rows with these labels, each once: ``JEM, GMMC``, or ``all rows`` if they are all ``count``."""
    names = list(dict.fromkeys(labels))
    return "all rows" if len(names) == count > 1 else ", ".join(names)


def origins(table: Table) -> list[str]:
    """The sources of a table's literature rows, each once. Footnotes number them in this order, from 1."""
    return list(dict.fromkeys(row.origin for row in table.rows if row.source == "literature" and row.origin))


def has_intervals(table: Table) -> bool:
    """Whether any cell has an interval. A format that has no room for intervals notes it."""
    return any(cell.interval is not None for row in table.rows for cell in row.cells)


def p_text(p: float) -> str:
    """A p value with two digits: ``p = .012``; ``p < .001`` below that."""
    if p < 0.001:
        return "p < .001"
    return f"p = {p:.2g}".replace("= 0.", "= .") if p < 0.995 else "p = 1"


def cell_text(cell: Cell, unit: str) -> str:
    """The number of a cell, without bold and mark, or its status if it has none; its text in a table of settings."""
    if cell.text is not None:
        return cell.text
    if cell.value is None:
        return {"pending": "…", "ok": ""}.get(cell.status, cell.status)
    text = value_text(abs(cell.value) if cell.signed else cell.value, unit, cell.n, cell.decimals)
    # A difference that rounds to 0 has no sign.
    return f"{'-' if cell.value < 0 else '+'}{text}" if cell.signed and text.strip("0.,") else text


def mark_text(cell: Cell) -> str:
    """The mark of a verdict, printed behind the number: † masked, ‡ inconclusive; else empty."""
    return "" if cell.value is None else _MARKS.get(cell.verdict or "", "")


def header(column: TableColumn) -> str:
    """The label of a column with unit and direction."""
    percent = (", %" if column.label[-1:].isdigit() else " %") if column.unit == "fraction" else ""
    arrow = ARROWS[column.direction]
    return f"{column.label}{percent}{' ' + arrow if arrow else ''}"


def full_header(column: TableColumn) -> str:
    """The header of a column with its group, for formats without a row of groups."""
    return f"{column.group}: {header(column)}" if column.group else header(column)


def report_title(report: Report) -> str:
    """The title of a report with its profile."""
    return report.title + (f" (PROFILE {report.profile})" if report.profile else "")


def bare_title(title: str, report: Report) -> str:
    """The title of a table without the remark on the profile, for a page whose banner has it."""
    return title.partition(f" (PROFILE {report.profile}: ")[0]


def banner(report: Report) -> list[str]:
    """Warnings about the run as a whole: tables of a former run; the profile with its substituted data sets."""
    lines = [report.stored] if report.stored else []
    if report.profile:
        swapped = ", ".join(f"{a} → {b}" for a, b in report.substitutions)
        lines.append(f"PROFILE {report.profile}" + (f": data sets {swapped}" if swapped else ""))
    return lines


def preamble(report: Report) -> list[str]:
    """Lines about the run as a whole: the banner, cost of training, remarks, deviations from the paper."""
    lines = banner(report) + ([report.budget] if report.budget else []) + list(report.remarks)
    return lines + [f"Differs from the paper: {line}" for line in report.deviations]
