"""How people read tables: blocks, groups of rows, transposed tables, differences to quoted numbers."""

from __future__ import annotations

import pytest
from rich.console import Console

from bench.report.formats import FORMATS
from bench.report.formats.json import as_dict, from_dict
from bench.report.formats.markdown import render_table
from bench.report.layout import Grid, grid_of, neighbours
from bench.report.model import Block, Cell, Report, Table, TableColumn, TableRow
from bench.report.terminal import render

NAMES = ("p@a", "p@b", "q@a", "q@b")


def column(name: str) -> TableColumn:
    return TableColumn(name, name[-1], "", "up", "1", f"definition of {name}", tested=False)


def row(label: str, *values: float | None, source: str = "measured", group: str = "") -> TableRow:
    cells = tuple(
        Cell(column=name, value=value, status="n/a" if value is None else "ok")
        for name, value in zip(NAMES, values, strict=True)
    )
    origin = "Paper 2021, Table 3" if source == "literature" else ""
    return TableRow(label, "f", source, cells, origin, group=group)  # type: ignore[arg-type]


ROWS = (
    row("m", 1, 2, 3, 4),
    row("k", 5, 6, 7, 8),
    row("quoted", 9, 10, None, None, source="literature"),
)
PLAIN = Table("t", "Title", tuple(map(column, NAMES)), ROWS)
STACKED = Table("t", "Title", PLAIN.columns, ROWS, blocks=(Block("P", (0, 1)), Block("Q", (2, 3))))


def values(grid: Grid) -> list[tuple[str, list[tuple[str, list[float | None]]]]]:
    return [
        (section.title, [(line.label, [entry.cell.value for entry in line.entries]) for line in section.lines])
        for section in grid.sections
    ]


def test_a_plain_table_has_its_rows_and_quoted_ones_apart() -> None:
    grid = grid_of(PLAIN)
    assert [head.text for head in grid.heads] == ["a ↑", "b ↑", "a ↑", "b ↑"]
    assert values(grid) == [
        ("", [("m", [1, 2, 3, 4]), ("k", [5, 6, 7, 8])]),
        ("", [("quoted", [9, 10, None, None])]),
    ]
    assert [line.quoted for line in grid.lines] == [False, False, True]


def test_blocks_stand_below_each_other_and_a_source_only_where_it_has_numbers() -> None:
    grid = grid_of(STACKED)
    assert [head.text for head in grid.heads] == ["a ↑", "b ↑"]
    assert values(grid) == [
        ("P", [("m", [1, 2]), ("k", [5, 6]), ("quoted", [9, 10])]),
        ("Q", [("m", [3, 4]), ("k", [7, 8])]),
    ]


def test_a_transposed_table_has_a_line_for_each_column() -> None:
    grid = grid_of(Table("t", "Title", PLAIN.columns[:2], tuple(_cut(one) for one in ROWS), transposed=True))
    assert [head.text for head in grid.heads] == ["m", "k", "quoted"]
    assert values(grid) == [("", [("a ↑", [1, 5, 9]), ("b ↑", [2, 6, 10])])]


def _cut(one: TableRow) -> TableRow:
    return TableRow(one.label, one.family, one.source, one.cells[:2], one.origin)


def test_blocks_of_a_transposed_table_stand_side_by_side() -> None:
    table = Table("t", "Title", PLAIN.columns, ROWS, blocks=STACKED.blocks, transposed=True)
    grid = grid_of(table)
    assert [(group, [head.text for head in heads]) for group, heads in neighbours(grid.heads)] == [
        ("P", ["m", "k", "quoted"]),
        ("Q", ["m", "k"]),
    ]
    assert values(grid) == [("", [("a ↑", [1, 5, 9, 3, 7]), ("b ↑", [2, 6, 10, 4, 8])])]


def test_groups_keep_measured_and_quoted_rows_together() -> None:
    rows = (
        row("m", 1, 2, 3, 4, group="Hybrid"),
        row("k", 5, 6, 7, 8),
        row("g", 0, 0, 0, 0, source="literature", group="Generative"),
        row("h", 0, 0, 0, 1, source="literature", group="Hybrid"),
        row("m - h", 0, 0, 0, 3, source="difference"),
    )
    sections = [
        (title, [label for label, _ in lines])
        for title, lines in values(grid_of(Table("t", "Title", PLAIN.columns, rows)))
    ]
    assert sections == [
        ("Hybrid", ["m", "h"]),
        ("", ["k"]),
        ("Generative", ["g"]),
        ("difference to the paper", ["m - h"]),
    ]


TABLES = [
    STACKED,
    Table("t", "Title", PLAIN.columns, ROWS, blocks=STACKED.blocks, transposed=True),
    Table("t", "Title", PLAIN.columns, (row("m", 1, 2, 3, 4, group="G_1"), ROWS[2])),
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_prints_it(table: Table, name: str) -> None:
    text = FORMATS[name](Report("s", "S", None, (), (), (table,)))
    for number in ("9", "10"):
        assert number in text
    if name not in ("csv", "json"):
        assert all(block.title in text for block in table.blocks)


@pytest.mark.parametrize("table", TABLES)
def test_a_terminal_prints_it(table: Table) -> None:
    console = Console(width=120, record=True)
    render(Report("s", "S", None, (), (), (table,)), console)
    text = console.export_text()
    assert all(entry.column.label in text for line in grid_of(table).lines for entry in line.entries)
    assert "quoted" in text


@pytest.mark.parametrize("table", TABLES)
def test_json_keeps_it(table: Table) -> None:
    report = Report("s", "S", None, (), (), (table,))
    assert from_dict(as_dict(report)) == report


def test_texts_stand_in_place_of_numbers_and_are_escaped() -> None:
    cell = Cell(column="s", status="ok", text="a|b")
    table = Table(
        "t",
        "Title",
        (TableColumn("s", "s", "", None, "text", "", tested=False),),
        (TableRow("m", "f", "measured", (cell,)),),
    )
    assert r"a\|b" in render_table(table)
