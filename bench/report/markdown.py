"""Markdown."""

from __future__ import annotations

from bench.report.md_text import escaped
from bench.report.model import Cell, Report, Table, TableColumn
from bench.report.text import aside_text, cell_text, counted, definitions, header, preamble

__all__ = ["render", "render_table"]


def render(report: Report) -> str:
    """All tables, with what has to be said about the run below them."""
    parts = [render_table(table) for table in report.tables]
    footer = preamble(report)
    if footer:
        parts.append("\n".join(f"- {escaped(line)}" for line in footer) + "\n")
    return "\n".join(parts)


def render_table(table: Table) -> str:
    """One table with title, notes and definitions; intervals stand behind the numbers.

    Labels, titles and notes are text: whatever they hold is shown as it is spelt.
    """
    heads = ["model", *(escaped(f"{c.group}: {header(c)}" if c.group else header(c)) for c in table.columns)]
    sizes = counted(table)
    rows = []
    for row in table.rows:
        label = escaped(row.label)
        if row.source == "literature":
            label = f"*{label}* ({escaped(row.origin)})"
        rows.append([label, *(_cell(cell, c, sizes) for cell, c in zip(row.cells, table.columns, strict=True))])
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
    lines = [f"**{escaped(table.title) or escaped(table.id)}**", "", _line(heads, widths)]
    lines.append(
        "|" + "|".join("-" * (width + 1) + ":" if i else "-" * (width + 2) for i, width in enumerate(widths)) + "|"
    )
    lines += [_line(row, widths) for row in rows]
    lines.append("")
    lines += [f"- {escaped(note)}" for note in table.notes]
    lines += [f"- {escaped(f'{names}: {text}')}" for names, text in definitions(table)]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, column: TableColumn, sizes: frozenset[str]) -> str:
    text = cell_text(cell, column.unit)
    if cell.best:
        text = f"**{text}**"
    aside = aside_text(cell, column.unit, sizes)
    return f"{text} {aside}" if aside else text


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [
        text.ljust(width) if i == 0 else text.rjust(width)
        for i, (text, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"
