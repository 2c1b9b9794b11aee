"""HTML fragments of one table: the table itself, its notes, and how each number was measured.

Every text is escaped. The classes are styled by ``bench.report.page``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from bench.metrics.intervals import Interval
from bench.plain import plain
from bench.report.html_text import escaped
from bench.report.model import Cell, Table, TableColumn, TableRow
from bench.report.text import aside_text, cell_text, counted, groups, header

__all__ = ["anchor", "render_table"]

_MARKS = "†‡"


def anchor(table: Table) -> str:
    """The id of a table's section in the page."""
    return f"table-{'-'.join(plain(table.id).split())}"


def render_table(table: Table, png: bytes | None = None) -> str:
    """One ``<section>``: heading, table, notes, chart and the list "How each number was measured".

    Args:
        table: The table.
        png: Its chart, drawn.
    """
    origins = list(dict.fromkeys(row.origin for row in table.rows if row.source == "literature" and row.origin))
    bodies = []
    for source in ("measured", "literature"):
        rows = [_row(row, table, origins) for row in table.rows if row.source == source]
        if rows:
            bodies.append(f'<tbody class="{source}">\n' + "\n".join(rows) + "\n</tbody>")
    title = escaped(table.title)
    return "\n".join(
        [
            f'<section id="{escaped(anchor(table))}">',
            f"<h2>{title}</h2>",
            # A wide table scrolls in its own box; the box can be reached and scrolled by keyboard.
            f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">',
            "<table>",
            _head(table),
            *bodies,
            "</table>",
            "</div>",
            *_notes(table, origins),
            *_chart(table, png),
            _measured(table),
            "</section>",
        ]
    )


def _head(table: Table) -> str:
    """One header row, or two with groups above; a column without a group then fills both."""
    grouped = any(column.group for column in table.columns)
    span = ' rowspan="2"' if grouped else ""
    upper = [f'<th scope="col" class="label"{span}>model</th>']
    lower = []
    start = 0
    for group, width in groups(table):
        columns = table.columns[start : start + width]
        start += width
        if group:
            upper.append(f'<th scope="colgroup" class="group" colspan="{width}"><span>{escaped(group)}</span></th>')
            lower += [_column_head(column, "") for column in columns]
        else:
            upper += [_column_head(column, span) for column in columns]
    rows = [upper, lower] if grouped else [upper]
    return "<thead>\n" + "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows) + "\n</thead>"


def _column_head(column: TableColumn, span: str) -> str:
    return f'<th scope="col"{span} title="{escaped(column.definition)}">{escaped(header(column))}</th>'


def _row(row: TableRow, table: Table, origins: Sequence[str]) -> str:
    label = escaped(row.label)
    if row.source == "literature" and row.origin:
        label += f"<sup>{origins.index(row.origin) + 1}</sup>"
    title = f' title="{escaped(row.origin)}"' if row.origin else ""
    sizes = counted(table)
    cells = [_cell(cell, column, row, sizes) for cell, column in zip(row.cells, table.columns, strict=True)]
    return f'<tr><th scope="row" class="label"{title}>{label}</th>{"".join(cells)}</tr>'


def _cell(cell: Cell, column: TableColumn, row: TableRow, sizes: frozenset[str]) -> str:
    text = cell_text(cell, column.unit)
    mark = ""
    if text[-1:] and text[-1] in _MARKS:
        mark = f'<sup class="mark">{text[-1]}</sup>'
        text = text[:-1]
    shown = escaped(text)
    if cell.best:
        shown = f"<strong>{shown}</strong>"
    aside = aside_text(cell, column.unit, sizes)
    if aside:
        shown += f"{mark}<small>{escaped(aside)}</small>"
    else:
        shown += mark
    classes = "" if cell.status == "ok" else ' class="absent"'
    return f'<td{classes} title="{_hover(cell, column, row)}">{shown}</td>'


def _hover(cell: Cell, column: TableColumn, row: TableRow) -> str:
    """All that is known of a cell, one fact a line, as the value of an attribute."""
    lines = [column.definition] if column.definition else []
    if cell.value is not None:
        lines.append(f"value {cell.value:.6g}" + (f", sd over seeds {cell.sd:.3g}" if cell.sd is not None else ""))
    if row.source == "literature":
        lines.append(f"quoted from {row.origin}")
    else:
        lines += [text for text in (_basis(cell),) if text]
    if cell.status != "ok" or cell.reason:
        lines.append(_reason(cell))
    if cell.verdict:
        lines.append(f"verdict: {cell.verdict}")
    lines += _checks(cell)
    return "\n".join(map(escaped, lines))


def _basis(cell: Cell) -> str:
    """Sample size, seeds and kind of the interval: ``n = 200, seed 1, 95% interval: wilson``."""
    parts = []
    if cell.n is not None:
        parts.append(f"n = {cell.n:,}" + (" for each seed" if len(cell.seeds) > 1 else ""))
    if cell.seeds:
        parts.append(f"seed{'s' if len(cell.seeds) > 1 else ''} {', '.join(map(str, cell.seeds))}")
    if parts:
        parts.append(_interval_kind(cell.interval))
    return ", ".join(parts)


def _interval_kind(interval: Interval | None) -> str:
    return "no interval" if interval is None else f"{100 * interval.level:g}% interval: {interval.kind}"


def _reason(cell: Cell) -> str:
    if cell.status == "ok":
        return cell.reason or ""
    return f"{cell.status}: {cell.reason}" if cell.reason else cell.status


def _notes(table: Table, origins: Sequence[str]) -> list[str]:
    items = [f"<li>{escaped(note)}</li>" for note in table.notes]
    items += [f"<li><sup>{number}</sup> <i>{escaped(text)}</i></li>" for number, text in enumerate(origins, 1)]
    return ['<ul class="notes">', *items, "</ul>"] if items else []


def _chart(table: Table, png: bytes | None) -> list[str]:
    if table.chart is None or png is None:
        return []
    data = base64.b64encode(png).decode("ascii")
    # Drawn for twice the resolution of a screen; the width stands in the header of the file.
    width = int.from_bytes(png[16:20], "big") // 2
    alt = escaped(f"{table.chart.title}. {table.chart.caption}")
    caption = escaped(table.chart.caption)
    return [
        '<figure class="chart">',
        f'<img src="data:image/png;base64,{data}" width="{width}" alt="{alt}"/>',
        f"<figcaption>{caption}</figcaption>",
        "</figure>",
    ]


def _measured(table: Table) -> str:
    """For each column: its definition, then what its cells rest on; rows that agree share a line."""
    lines = ["<details>", "<summary>How each number was measured</summary>", "<dl>"]
    measured = [row for row in table.rows if row.source == "measured"]
    for index, column in enumerate(table.columns):
        name = f"{column.group}: {header(column)}" if column.group else header(column)
        lines.append(f"<dt>{escaped(name)} <code>{escaped(column.id)}</code></dt>")
        lines += [f"<dd>{escaped(column.definition)}</dd>"] if column.definition else []
        facts: dict[str, list[str]] = {}
        for row in measured:
            cell = row.cells[index]
            for fact in _facts(cell):
                facts.setdefault(fact, []).append(row.label)
        for fact, labels in facts.items():
            who = "all rows" if len(labels) == len(measured) > 1 else ", ".join(labels)
            lines.append(f'<dd class="fact">{escaped(fact)} <i>({escaped(who)})</i></dd>')
    return "\n".join([*lines, "</dl>", "</details>"])


def _facts(cell: Cell) -> list[str]:
    facts = [_basis(cell)] if cell.status == "ok" and _basis(cell) else []
    if cell.status != "ok" or cell.reason:
        facts.append(_reason(cell))
    if cell.verdict:
        facts.append(f"verdict: {cell.verdict}")
    return facts + _checks(cell)


def _checks(cell: Cell) -> list[str]:
    """What was found behind a verdict, and what nobody looked for."""
    missing = [f"not checked: {', '.join(cell.not_measured)}"] if cell.not_measured else []
    return [f"{name}: {text}" for name, text in cell.flags.items()] + missing
