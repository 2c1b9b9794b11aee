"""CSV in long form, one line a cell: for spreadsheets and scripts. Fractions stay in [0, 1]."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.plain import visible
from bench.report.model import Cell, Report, Table, TableColumn, TableRow

__all__ = ["ENDING", "FIELDS", "render"]

ENDING = "csv"


class _Place(NamedTuple):
    """A cell with all that it stands in."""

    report: Report
    table: Table
    row: TableRow
    column: TableColumn
    cell: Cell


FIELDS: Mapping[str, Callable[[_Place], str | float | int | None]] = {
    "suite": lambda at: at.report.suite,
    "profile": lambda at: at.report.profile,
    "table": lambda at: at.table.id,
    "row": lambda at: at.row.label,
    "family": lambda at: at.row.family,
    "source": lambda at: at.row.source,
    "origin": lambda at: at.row.origin,
    "column": lambda at: at.column.id,
    "definition": lambda at: at.column.definition,
    "unit": lambda at: at.column.unit,
    "direction": lambda at: at.column.direction,
    "value": lambda at: at.cell.value,
    "low": lambda at: getattr(at.cell.interval, "low", None),
    "high": lambda at: getattr(at.cell.interval, "high", None),
    "level": lambda at: getattr(at.cell.interval, "level", None),
    "kind": lambda at: getattr(at.cell.interval, "kind", None),
    "n": lambda at: at.cell.n,
    "seeds": lambda at: " ".join(map(str, at.cell.seeds)),
    "status": lambda at: at.cell.status,
    "reason": lambda at: at.cell.reason,
    "best": lambda at: "true" if at.cell.best else "false",
    "verdict": lambda at: at.cell.verdict,
    "flags": lambda at: "; ".join(f"{name}: {text}" for name, text in at.cell.flags.items()),
    "not_measured": lambda at: " ".join(at.cell.not_measured),
    "made_with": lambda at: at.row.made_with,
}
"""``table`` and ``column`` are ids; ``level`` and ``kind`` belong to the interval ``low`` … ``high``; ``made_with``
says with which libraries and on which machine the row was made, as far as the rows of its table differ in it.
"""

_FORMULA = re.compile(r"'*([\t\n]|\s*[=+\-@|%＝＋－＠])")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def render(report: Report) -> str:
    r"""All tables under one header line, as RFC 4180 has it (lines end in CRLF).

    What is absent is empty. ``value`` has all digits; ``best`` is ``true`` or ``false``; ``seeds`` are separated by
    blanks, ``flags`` (``name: text``) by semicolons, ``not_measured``, the checks that were not made, by blanks.

    A text that a spreadsheet would take for a formula (``=1+1``, ``@x``, ``-x``) has an apostrophe before it, as has
    one that begins with apostrophes and goes on like that: taking one away gives the text back. Control characters
    other than line breaks and tabs are escapes (``bench.plain.visible``). Numbers stay numbers.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(FIELDS)
    for table in report.tables:
        for row in table.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                place = _Place(report, table, row, column, cell)
                writer.writerow(_text(value(place)) for value in FIELDS.values())
    return buffer.getvalue()


def _text(field: str | float | int | None) -> str | float | int | None:
    """A field that a spreadsheet shows and does not compute."""
    if not isinstance(field, str):
        return field
    shown = visible(field)
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown
