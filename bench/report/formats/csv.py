"""CSV in long form, one line per cell: for spreadsheets and scripts. Fractions stay in [0, 1]."""

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
    """A cell with its report, table, row and column."""

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
    "p": lambda at: at.cell.p,
    "p_corrected": lambda at: at.cell.p_corrected,
}
"""The fields by name. ``table`` and ``column`` are ids. ``level`` and ``kind`` belong to the interval ``low`` …
``high``. ``made_with`` names the libraries and the machine of a row where the rows of its table differ in them.
"""

_FORMULA = re.compile(r"'*([\t\n]|\s*[=+\-@|%＝＋－＠])")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def render(report: Report) -> str:
    r"""All tables below one header line, as RFC 4180 defines it (lines end in CRLF).

    A missing value is an empty field. ``value`` has all digits; ``best`` is ``true`` or ``false``. ``seeds`` and
    ``not_measured``, the checks that were not made, are separated by blanks, ``flags`` (``name: text``) by semicolons.

    A text that a spreadsheet would take for a formula (``=1+1``, ``@x``, ``-x``) gets an apostrophe before it, and so
    does a formula that begins with apostrophes: removing one apostrophe restores the text. Control characters other
    than line breaks and tabs become escapes (``bench.plain.visible``). Numbers stay numbers.
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
    """A field that a spreadsheet shows as text and does not compute."""
    if not isinstance(field, str):
        return field
    shown = visible(field)
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown
