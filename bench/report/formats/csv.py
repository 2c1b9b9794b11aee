"""CSV in long form, one line a cell: for spreadsheets and scripts. Fractions stay in [0, 1]."""

from __future__ import annotations

import csv
import io
import re

from bench.plain import visible
from bench.report.model import Cell, Report

__all__ = ["ENDING", "FIELDS", "render"]

ENDING = "csv"

FIELDS = (
    "suite",
    "profile",
    "table",
    "row",
    "family",
    "source",
    "origin",
    "column",
    "definition",
    "unit",
    "direction",
    "value",
    "low",
    "high",
    "level",
    "kind",
    "n",
    "seeds",
    "status",
    "reason",
    "best",
    "verdict",
    "flags",
    "not_measured",
    "made_with",
)
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
                writer.writerow(
                    _text(field)
                    for field in [
                        report.suite,
                        report.profile,
                        table.id,
                        row.label,
                        row.family,
                        row.source,
                        row.origin,
                        column.id,
                        column.definition,
                        column.unit,
                        column.direction,
                        *_cell(cell),
                        row.made_with,
                    ]
                )
    return buffer.getvalue()


def _text(field: str | float | int | None) -> str | float | int | None:
    """A field that a spreadsheet shows and does not compute."""
    if not isinstance(field, str):
        return field
    shown = visible(field)
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown


def _cell(cell: Cell) -> list[str | float | int | None]:
    interval = cell.interval
    ends = [None] * 4 if interval is None else [interval.low, interval.high, interval.level, interval.kind]
    return [
        cell.value,
        *ends,
        cell.n,
        " ".join(map(str, cell.seeds)),
        cell.status,
        cell.reason,
        "true" if cell.best else "false",
        cell.verdict,
        "; ".join(f"{name}: {text}" for name, text in cell.flags.items()),
        " ".join(cell.not_measured),
    ]
