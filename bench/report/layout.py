"""How people read a table: the headings from left to right and the lines from top to bottom.

A table holds one row for each model and one column for each number. For people its columns may be stacked in blocks,
its rows may stand in groups, and it may be transposed. Formats for people print the grid that `grid_of` makes; formats
for scripts print the table itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.model import Block, Cell, Table, TableColumn, TableRow
from bench.report.text import header

__all__ = ["Entry", "Grid", "Head", "Line", "Section", "full_head", "grid_of", "neighbours"]

_TO_THE_PAPER = "difference to the paper"


@dataclass(frozen=True)
class Entry:
    """A cell with its row and its column in the table."""

    cell: Cell
    column: TableColumn
    row: TableRow


@dataclass(frozen=True)
class Head:
    """A heading of the grid.

    Attributes:
        text: The heading.
        group: Heading of the neighbours that it stands with; may be empty.
        hint: The definition of a column; empty for a model.
        row: The row of a transposed table, else None.
        direction: Whether more is better in the column; None for a model and where neither is.
    """

    text: str
    group: str = ""
    hint: str = ""
    row: TableRow | None = None
    direction: Literal["up", "down"] | None = None


@dataclass(frozen=True)
class Line:
    """A line of the grid: its label, and one entry for each heading.

    Attributes:
        label: The label.
        entries: The entries.
        row: The row of the table; None if the table is transposed.
    """

    label: str
    entries: tuple[Entry, ...]
    row: TableRow | None = None

    @property
    def quoted(self) -> bool:
        """Whether all its numbers are quoted."""
        return self.row is not None and self.row.source == "literature"


@dataclass(frozen=True)
class Section:
    """Lines below a heading, which may be empty; a rule separates sections."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Grid:
    """A table as people read it.

    Attributes:
        corner: Heading of the labels.
        heads: The headings from left to right.
        sections: The lines from top to bottom.
    """

    corner: str
    heads: tuple[Head, ...]
    sections: tuple[Section, ...]

    @property
    def lines(self) -> list[Line]:
        """The lines of all sections."""
        return [line for section in self.sections for line in section.lines]


def grid_of(table: Table) -> Grid:
    """The grid of a table. Quoted rows follow measured ones, or those of their group."""
    blocks = table.blocks or (Block("", tuple(range(len(table.columns)))),)
    return _transposed(table, blocks) if table.transposed else _upright(table, blocks)


def _upright(table: Table, blocks: Sequence[Block]) -> Grid:
    first = [table.columns[index] for index in blocks[0].columns]
    heads = tuple(Head(header(column), column.group, column.definition, direction=column.direction) for column in first)
    sections = []
    for block in blocks:
        for title, rows in _groups_of(table.rows):
            lines = [_line(row, block, table) for row in rows if len(blocks) == 1 or _has_any(row, block)]
            headings = [part for part in (block.title, title) if part]
            if lines:
                sections.append(Section(": ".join(headings), tuple(lines)))
    return Grid("model", heads, _merged(sections) if len(blocks) > 1 else tuple(sections))


def _transposed(table: Table, blocks: Sequence[Block]) -> Grid:
    """One line for each place in the blocks, one heading for each block and row."""
    rows = [row for _, group in _groups_of(table.rows) for row in group]
    shown = [(block, row) for block in blocks for row in rows if len(blocks) == 1 or _has_any(row, block)]
    heads = tuple(Head(row.label, block.title or row.group, row=row) for block, row in shown)
    sections: list[Section] = []
    for place, index in enumerate(blocks[0].columns):
        column = table.columns[index]
        entries = tuple(
            Entry(row.cells[block.columns[place]], table.columns[block.columns[place]], row) for block, row in shown
        )
        line = Line(header(column), entries)
        if sections and sections[-1].title == column.group:
            sections[-1] = Section(column.group, (*sections[-1].lines, line))
        else:
            sections.append(Section(column.group, (line,)))
    return Grid("", heads, tuple(sections))


def _line(row: TableRow, block: Block, table: Table) -> Line:
    return Line(row.label, tuple(Entry(row.cells[i], table.columns[i], row) for i in block.columns), row)


def _has_any(row: TableRow, block: Block) -> bool:
    """Whether a row stands in a block: a source that quotes no number of the block does not."""
    return row.source == "measured" or any(row.cells[index].value is not None for index in block.columns)


def _groups_of(rows: Sequence[TableRow]) -> Iterator[tuple[str, list[TableRow]]]:
    """The rows by group in the order of their first row; without groups, measured ones and then the others."""
    for title in dict.fromkeys(row.group for row in rows if row.source != "difference"):
        of_group = [row for row in rows if row.group == title and row.source != "difference"]
        measured = [row for row in of_group if row.source == "measured"]
        quoted = [row for row in of_group if row.source == "literature"]
        if title:
            yield title, [*measured, *quoted]
            continue
        for part in (measured, quoted):
            if part:
                yield "", part
    differences = [row for row in rows if row.source == "difference"]
    if differences:
        yield _TO_THE_PAPER, differences


def _merged(sections: Sequence[Section]) -> tuple[Section, ...]:
    """Neighbouring sections of one heading as one: measured and quoted rows of a block stand together."""
    found: list[Section] = []
    for section in sections:
        if found and found[-1].title == section.title:
            found[-1] = Section(section.title, found[-1].lines + section.lines)
        else:
            found.append(section)
    return tuple(found)


def neighbours(heads: Sequence[Head]) -> list[tuple[str, list[Head]]]:
    """Neighbouring headings of one group, as (heading, heads); a head without a group is alone, with heading ""."""
    found: list[tuple[str, list[Head]]] = []
    for head in heads:
        if found and head.group and found[-1][0] == head.group:
            found[-1][1].append(head)
        else:
            found.append((head.group, [head]))
    return found


def full_head(head: Head) -> str:
    """A heading with that of its group, for formats without a row of groups."""
    return f"{head.group}: {head.text}" if head.group else head.text
