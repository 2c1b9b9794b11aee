from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from bench.metrics.intervals import Interval
from bench.report.model import Report
from bench.report.terminal import render
from bench.report.text import cell_text, interval_text, mark_text


def drawn(report: Report, width: int, *, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    render(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def blocks(text: str) -> list[list[str]]:
    """For each drawn table its lines, headings first."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if set(line.strip()) == {"─"}]
    found = []
    for start in starts:
        top = start
        while top and lines[top - 1].startswith(("model", " ")) and lines[top - 1].strip():
            top -= 1
        end = start
        while end < len(lines) and lines[end]:
            end += 1
        found.append(lines[top:end])
    return found


@pytest.mark.parametrize("width", [40, 50, 64, 80, 100, 120, 160, 220])
def test_nothing_is_wider_than_the_console_and_every_number_is_whole(report: Report, width: int) -> None:
    text = drawn(report, width)
    assert max(map(cell_len, text.splitlines())) <= width
    words = text.split()
    for table in report.tables:
        for row in table.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                assert cell_text(cell, column.unit) + mark_text(cell) in words


def test_wide_console_shows_intervals(report: Report) -> None:
    text = drawn(report, 250)
    for table in report.tables:
        for row in table.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                assert interval_text(cell, column.unit) in text
    assert "Intervals need a wider terminal" not in text
    assert len(blocks(text)) == len(report.tables)


def test_intervals_go_before_columns_are_split(report: Report) -> None:
    one = replace(report, tables=report.tables[1:])
    widths = {}
    for width in range(60, 260, 4):
        text = drawn(one, width)
        widths[width] = ("[.888, .912]" in text, len(blocks(text)))
    kinds = list(dict.fromkeys(widths[width] for width in sorted(widths, reverse=True)))
    assert kinds[:2] == [(True, 1), (False, 1)]
    assert all(not intervals for intervals, count in kinds if count > 1)
    assert "Intervals need a wider terminal." in drawn(one, 140)


def test_blocks_follow_the_groups(report: Report) -> None:
    found = blocks(drawn(replace(report, tables=report.tables[1:]), 66))
    assert [re.split(r"\s{2,}", block[0].strip()) for block in found] == [
        ["log p(x)"] * 3,
        ["max p(y|x)"] * 3,
        ["approx. mass"] * 3,
    ]
    for block in found:
        assert re.split(r"\s{2,}", block[1].strip()) == ["model", "patches ↑", "interpolations ↑", "uniform ↑"]
        assert [line.split()[0] for line in block[3:5]] == ["softmax", "GMMC"]


def test_numbers_of_a_column_stand_below_each_other(report: Report) -> None:
    table = report.tables[0]
    cells = list(table.rows[0].cells)
    cells[3] = replace(cells[3], value=0.031, interval=Interval(0.012, 0.064, 0.95, "wilson"))
    rows = (replace(table.rows[0], cells=tuple(cells)), *table.rows[1:])
    (block,) = blocks(drawn(replace(report, tables=(replace(table, rows=rows),)), 300))

    def end(text: str) -> int:
        """Where a text that stands in one line only ends."""
        (line,) = (line for line in block if text in line)
        return line.index(text) + len(text)

    # Of each pair the other is longer, or has an interval or a mark behind it.
    assert end(" 95.7") == end(" 93.01")
    assert end(" 3.1 ") == end(" 73.5†")
    assert end("[1.2, 6.4]") == end("71.5, 75.5]")


def test_best_is_bold_and_intervals_and_notes_are_dim(report: Report) -> None:
    text = drawn(report, 300, colour=True)
    assert "\x1b[1m95.7\x1b[0m" in text
    assert "\x1b[1m73.5\x1b[0m†" in text
    assert "\x1b[1m12.5\x1b[0m" not in text
    assert "\x1b[2m [93.7, 97.7]\x1b[0m" in text
    assert "\x1b[2mOne run each: 5% & more.\x1b[0m" in text


def test_literature_is_italic_with_its_origin(report: Report) -> None:
    text = drawn(report, 300, colour=True)
    assert re.search(r"\x1b\[3m.*GMMC \(Gen\), as printed", text)
    assert "GMMC (Gen), as printed: GMMC paper 2021, Table 1, CIFAR10, not comparable" in text


def test_profile_and_deviations_are_said(report: Report) -> None:
    text = drawn(report, 120)
    assert text.startswith("Softmax & GMMC on <digits> (PROFILE smoke)\n")
    assert "PROFILE smoke: data sets cifar10 → digits, svhn → patches" in text
    assert "Differs from the paper: epochs: 2 [paper: 100 & more]" in text
    assert "PROFILE" not in drawn(replace(report, profile=None, substitutions=(), tables=report.tables[1:]), 120)


def test_labels_are_no_markup(report: Report) -> None:
    table = report.tables[1]
    named = replace(table, title="[red]t[/red]", rows=(replace(table.rows[0], label="[bold]x[/bold] :smile:"),))
    text = drawn(replace(report, tables=(named,)), 300)
    assert "[red]t[/red]" in text
    assert "[bold]x[/bold] :smile:" in text
