"""Markdown."""

from __future__ import annotations

from bench.report.model import Cell, Report, Table, TableColumn
from bench.report.text import cell_text, header, interval_text, preamble

__all__ = ["render", "render_table"]


def render(report: Report) -> str:
    """All tables, with what has to be said about the run below them."""
    parts = [render_table(table) for table in report.tables]
    footer = preamble(report)
    if footer:
        parts.append("\n".join(f"- {_escaped(line)}" for line in footer) + "\n")
    return "\n".join(parts)


def render_table(table: Table) -> str:
    """One table with title and notes; intervals stand behind the numbers."""
    heads = ["model", *(f"{c.group}: {header(c)}" if c.group else header(c) for c in table.columns)]
    rows = []
    for row in table.rows:
        label = row.label if row.source == "measured" else f"*{row.label}* ({row.origin})"
        cells = [_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
        rows.append([label, *cells])
    widths = [max(len(_escaped(line[i])) for line in [heads, *rows]) for i in range(len(heads))]
    lines = [f"**{_escaped(table.title)}**", ""]
    lines.append(_line([_escaped(text) for text in heads], widths))
    lines.append(
        "|" + "|".join("-" * (width + 1) + ":" if i else "-" * (width + 2) for i, width in enumerate(widths)) + "|"
    )
    lines += [_line([_escaped(text) for text in row], widths) for row in rows]
    lines.append("")
    lines += [f"- {_escaped(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, column: TableColumn) -> str:
    text = cell_text(cell, column.unit)
    if cell.best:
        text = f"**{text}**"
    interval = interval_text(cell, column.unit)
    return f"{text} {interval}" if interval else text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [
        text.ljust(width) if i == 0 else text.rjust(width)
        for i, (text, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"
