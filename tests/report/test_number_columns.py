from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.layout import Entry
from bench.report.model import Cell, TableColumn, TableRow
from bench.report.number_columns import NumberColumn, number_column, number_of
from bench.report.text import cell_text

UNITS = ("fraction", "auroc", "l2", "1")


def entry(value: float | None, unit: str = "1", **facts: object) -> Entry:
    cell = Cell(column="c", value=value, status="n/a" if value is None else "ok", **facts)  # type: ignore[arg-type]
    return Entry(cell, TableColumn("c", "c", "", None, unit, "", False), TableRow("r", "f", "measured", (cell,)))


def column(*entries: Entry) -> NumberColumn:
    found = number_column(entries)
    assert found is not None
    return found


entries = st.builds(
    entry,
    st.floats(-1e9, 1e9) | st.floats(-1, 1),
    st.sampled_from(UNITS),
    n=st.sampled_from([None, 64, 10_000]),
    signed=st.booleans(),
)


@given(st.lists(entries, min_size=1))
def test_every_number_has_room(cells: list[Entry]) -> None:
    numbers = [text for one in cells if (text := number_of(one)) is not None]
    found = number_column(cells)
    assert (found is None) == (not numbers)
    for text in numbers:
        assert found is not None
        whole, _, decimals = text.lstrip("+-").partition(".")
        assert len(whole) <= found.whole
        assert len(decimals) <= found.decimals
        assert found.signed or text[0] not in "+-"
        assert len(text) <= found.width


@given(entries)
def test_a_number_has_the_digits_of_the_other_formats(one: Entry) -> None:
    text = cell_text(one.cell, one.column.unit)
    found = number_of(one)
    assert found is None if "e" in text else found == text.replace(",", "")


@pytest.mark.parametrize(
    ("cells", "specification"),
    [
        ([entry(0.957, "fraction", n=64), entry(0.9301, "fraction")], "S[table-format=2.2]"),
        ([entry(0.05, "fraction", n=64), entry(1.0, "fraction", n=64)], "S[table-format=3.1]"),
        ([entry(0.953, "auroc", n=64)], "S[table-format=.3,print-zero-integer=false]"),
        ([entry(0.953, "auroc", n=64), entry(1.0, "auroc", n=64)], "S[table-format=1.3,print-zero-integer=false]"),
        ([entry(0.953, "auroc", n=64), entry(0.739, "l2")], "S[table-format=1.3]"),
        ([entry(12_345.0), entry(7.25)], "S[table-format=5.2]"),
        ([entry(-12.5), entry(3.0)], "S[table-format=-2.1]"),
        ([entry(0.1, "fraction", n=64, signed=True), entry(None)], "S[table-format=-2.1]"),
        ([entry(1200.0), entry(1300.0)], "S[table-format=4]"),
        ([entry(1e-5), entry(2.0)], "S[table-format=1]"),
    ],
)
def test_specifications(cells: list[Entry], specification: str) -> None:
    assert column(*cells).specification == specification


@pytest.mark.parametrize("one", [entry(None), entry(1e-5), entry(float("nan")), entry(3.0, text="three")])
def test_what_is_no_number_needs_no_column(one: Entry) -> None:
    assert number_of(one) is None
    assert number_column([one]) is None


def test_width_is_that_of_the_widest_number() -> None:
    assert column(entry(-12.5), entry(3.25)).width == len("-12.25")
    assert re.fullmatch(r"S\[table-format=-2\.2\]", column(entry(-12.5), entry(3.25)).specification)
