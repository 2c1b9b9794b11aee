"""Tables on a terminal, printed by rich within its width; no number is broken over two lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.plain import plain
from bench.report.layout import grid_of, neighbours
from bench.report.model import Report, Table
from bench.report.text import (
    aside_text,
    cell_text,
    counted,
    definitions,
    has_intervals,
    mark_text,
    preamble,
    report_title,
)

__all__ = ["render"]

_LEAST_LABEL_WIDTH = 14
_ELSEWHERE = "bench table --format markdown"


def render(report: Report, console: Console) -> None:
    """Print title, tables with notes, and the notes on the run.

    A table that is wider than the console is printed without intervals, and a note says how to see them. If it is still
    too wide, its columns are split into blocks, between groups if groups fit.
    """
    console.print(Text(plain(report_title(report)), style="bold"))
    for table in report.tables:
        console.print()
        _print_table(table, console)
    footer = preamble(report)
    if footer:
        console.print()
        _print_notes(footer, console)


def _print_table(table: Table, console: Console) -> None:
    console.print(Text(plain(table.title), style="bold"))
    label_width = max(_LEAST_LABEL_WIDTH, console.width // 3)
    everything = range(len(grid_of(table).heads))
    with_intervals = _Layout(table, intervals=True, label_width=label_width)
    needed = with_intervals.width(everything, console)
    narrow = []
    if needed <= console.width:
        console.print(with_intervals.grid(everything))
    else:
        layout = _Layout(table, intervals=False, label_width=label_width)
        for number, block in enumerate(_blocks(layout, console)):
            if number:
                console.print()
            console.print(layout.grid(block))
        if has_intervals(table):
            narrow.append(f"Intervals need a wider terminal. They fit into {needed} columns; or see {_ELSEWHERE}.")
    explained = [f"{names}: {text}" for names, text in definitions(table)]
    quoted = [f"{row.label}: {row.origin}" for row in table.rows if row.source == "literature" and row.origin]
    notes = [*narrow, *table.notes, *quoted, *explained]
    if notes:
        console.print()
    _print_notes(notes, console)


def _print_notes(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(Padding(Text(plain(note), style="dim"), (0, 0, 0, 1), expand=False))


def _blocks(layout: _Layout, console: Console) -> list[list[int]]:
    """Indices of the columns of each block: as many neighbouring groups as fit.

    A group is split only if it is too wide alone.
    """
    blocks: list[list[int]] = []
    start = 0
    for _, heads in neighbours(grid_of(layout.table).heads):
        group = list(range(start, start + len(heads)))
        start += len(heads)
        fits = layout.width(group, console) <= console.width
        for piece in [group] if fits else [[index] for index in group]:
            if blocks and layout.width([*blocks[-1], *piece], console) <= console.width:
                blocks[-1] += piece
            else:
                blocks.append(piece)
    return blocks


@dataclass(frozen=True)
class _Layout:
    """How a table is drawn: with or without intervals, with labels of at most ``label_width`` terminal cells."""

    table: Table
    intervals: bool
    label_width: int

    def width(self, columns: Sequence[int], console: Console) -> int:
        """Width in terminal cells of the label column and these columns."""
        unbounded = console.options.update(max_width=1_000_000)
        return console.measure(self.grid(columns), options=unbounded).maximum

    def grid(self, columns: Sequence[int]) -> Grid:
        """The grid of the label column and these columns."""
        shown = grid_of(self.table)
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="")
        # Only labels may wrap.
        grid.add_column(Text(shown.corner), overflow="fold", vertical="bottom", max_width=self.label_width)
        texts = []
        for index in columns:
            heading, cells = self._column(index)
            grid.add_column(heading, no_wrap=True, vertical="bottom")
            texts.append(cells)
        number = 0
        for section in shown.sections:
            if section.title:
                grid.add_row(Text(plain(section.title), style="bold"))
            for line in section.lines:
                cells = [text[number] for text in texts]
                last = line is section.lines[-1]
                grid.add_row(Text(plain(line.label)), *cells, style="italic" if line.quoted else "", end_section=last)
                number += 1
        return grid

    def _column(self, index: int) -> tuple[Text, list[Text]]:
        """Heading and cells of a column of the grid, padded to one width.

        The cells are padded here because rich, when it aligns to the right, strips the blanks that stand for a missing
        mark or interval.
        """
        shown = grid_of(self.table)
        head = shown.heads[index]
        lines = [plain(line) for line in ([head.group] if head.group else []) + [head.text]]
        sizes = counted(self.table)
        parts = []
        cells = []
        for entry in (line.entries[index] for line in shown.lines):
            cell, unit = entry.cell, entry.column.unit
            aside = aside_text(cell, unit, sizes, interval=self.intervals)
            parts.append((plain(cell_text(cell, unit)), mark_text(cell), f" {aside}" if aside else ""))
            cells.append(cell)
        numbers, marks, asides = (max((cell_len(part[i]) for part in parts), default=0) for i in range(3))
        total = max(numbers + marks + asides, *map(cell_len, lines))
        texts = []
        for cell, (number, mark, aside) in zip(cells, parts, strict=True):
            filled = Text(" " * (total - marks - asides - cell_len(number)))
            filled.append(number, style="bold" if cell.best else "")
            filled.append(mark + " " * (marks - len(mark) + asides - cell_len(aside)))
            filled.append(aside, style="dim")
            texts.append(filled)
        return Text("\n".join(line.rjust(total - cell_len(line) + len(line)) for line in lines)), texts
