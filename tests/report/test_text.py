"""What is said around the numbers: how many items, and what they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.report.formats import FORMATS
from bench.report.model import Cell, Report, Table, TableColumn, TableRow
from bench.report.text import aside_text, counted, definitions, size_note, value_text


def with_sizes(table: Table, *sizes: list[int]) -> Table:
    """The table with so many items in the cells of each measured row."""
    rows = tuple(
        replace(row, cells=tuple(replace(cell, n=n) for cell, n in zip(row.cells, of_row, strict=True)))
        for row, of_row in zip(table.rows, sizes, strict=True)
    )
    return replace(table, rows=rows)


def small(report: Report) -> Table:
    """Two models, two columns."""
    table = report.tables[1]
    rows = tuple(replace(row, cells=row.cells[:2]) for row in table.rows)
    return replace(table, columns=table.columns[:2], rows=rows)


def test_one_number_for_all(report: Report) -> None:
    table = with_sizes(small(report), [1397, 1397], [1397, 1397])
    assert size_note(table) == "n = 1,397 items for every number of this table."
    assert counted(table) == frozenset()


def test_by_column(report: Report) -> None:
    table = with_sizes(small(report), [397, 200], [397, 200])
    assert (
        size_note(table) == "Items behind each number, n: 397 (ood.density@patches); 200 (ood.density@interpolations)."
    )
    assert counted(table) == frozenset()


def test_in_the_cells_where_they_differ(report: Report) -> None:
    table = with_sizes(small(report), [397, 28], [397, 30])
    assert size_note(table) == (
        "Items behind each number, n: 397 (ood.density@patches); "
        "28 to 30 (ood.density@interpolations: n stands in its cells)."
    )
    sizes = counted(table)
    assert sizes == {"ood.density@interpolations"}
    first, second = table.rows[0].cells
    assert aside_text(first, "auroc", sizes) == "[.888, .912]"
    assert aside_text(second, "auroc", sizes) == "[.878, .902], n = 28"
    assert aside_text(second, "auroc", sizes, interval=False) == "n = 28"


def test_what_is_not_measured_has_no_size(report: Report) -> None:
    table = small(report)
    rows = tuple(replace(row, cells=tuple(replace(c, value=None) for c in row.cells)) for row in table.rows)
    assert size_note(replace(table, rows=rows)) is None
    quoted = replace(table, rows=(replace(table.rows[0], source="literature"),))
    assert size_note(quoted) is None


@pytest.mark.parametrize("format_", ["markdown", "latex", "html"])
def test_cells_say_n_in_every_format_for_people(report: Report, format_: str) -> None:
    alike = replace(report, tables=(with_sizes(small(report), [28, 28], [28, 28]),))
    mixed = replace(report, tables=(with_sizes(small(report), [28, 30], [29, 30]),))
    cells = [FORMATS[format_](one).split("</table>")[0].split(r"\bottomrule")[0] for one in (alike, mixed)]
    assert [text.count("], n = 28") + text.count("], n = 29") for text in cells] == [0, 2]


def test_columns_of_one_definition_share_an_entry(report: Report) -> None:
    table = small(report)
    columns = tuple(replace(column, definition="auroc[x]") for column in table.columns)
    assert definitions(replace(table, columns=columns)) == [("log p(x): patches, log p(x): interpolations", "auroc[x]")]


def test_a_long_protocol_is_written_once(report: Report) -> None:
    protocol = "cw-l2[100, c=1, kappa=0, lr=0.01: untargeted, no binary search]"
    table = small(report)
    texts = (f"mean norm, pixels in [0, 1]: {protocol}", f"success: {protocol}")
    columns = tuple(replace(column, definition=text) for column, text in zip(table.columns, texts, strict=True))
    assert [text for _, text in definitions(replace(table, columns=columns))] == [
        "mean norm, pixels in [0, 1]: (a)",
        "success: (a)",
        protocol,
    ]
    # What stands in brackets is no protocol of its own.
    texts = tuple(f"pgd[{name}, losses (T: {'x' * 60})]" for name in "ab")
    columns = tuple(replace(column, definition=text) for column, text in zip(table.columns, texts, strict=True))
    assert [text for _, text in definitions(replace(table, columns=columns))] == list(texts)


@pytest.mark.parametrize("format_", ["markdown", "latex", "html", "csv", "json"])
def test_definitions_stand_in_every_format_and_can_be_left_out(report: Report, format_: str) -> None:
    render = FORMATS[format_]
    assert "definition of accuracy" in render(report)
    assert "definition of" not in render(report.without_definitions())


@pytest.mark.parametrize(
    ("n", "text"), [(200, "97.0"), (1000, "97.0"), (9999, "97.0"), (10_000, "97.04"), (None, "97.04")]
)
def test_a_percentage_has_the_digits_that_single_items_can_change(n: int | None, text: str) -> None:
    """One item of 1,000 is .1 %; of 10,000 it is .01 %. Quoted numbers are given back as they are."""
    assert value_text(0.9704, "fraction", n) == text


def test_a_cell_whose_seeds_have_other_numbers_of_items_shows_both_ends() -> None:
    """The smallest stood in the cell, and the note below gave another range."""
    cell = Cell(column="c", value=0.5, n=11, n_most=17, status="ok")
    made = TableColumn("c", "C", "", "up", "fraction", "", tested=True)
    table = Table("t", "T", (made,), (TableRow("a", "a", "measured", (cell,)),))
    assert aside_text(cell, "fraction", counted(table)) == "n = 11 to 17"
    assert size_note(table) == "Items behind each number, n: 11 to 17 (c: n stands in its cells)."
