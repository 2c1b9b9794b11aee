"""CSV in long form, one line a cell: for spreadsheets and scripts. Fractions stay in [0, 1]."""

from __future__ import annotations

import csv
import io

from bench.report.model import Cell, Report

__all__ = ["FIELDS", "render"]

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
)
"""``table`` and ``column`` are ids; ``level`` and ``kind`` belong to the interval ``low`` … ``high``."""


def render(report: Report) -> str:
    r"""All tables under one header line, as RFC 4180 has it (lines end in CRLF).

    What is absent is empty. ``value`` has all digits; ``best`` is ``true`` or ``false``; ``seeds`` are separated by
    blanks, ``flags`` (``name: text``) by semicolons, ``not_measured``, the checks that were not made, by blanks.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(FIELDS)
    for table in report.tables:
        for row in table.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                writer.writerow(
                    [
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
                    ]
                )
    return buffer.getvalue()


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
