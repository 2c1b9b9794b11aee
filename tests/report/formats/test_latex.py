from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.formats.latex import render, render_table
from bench.report.latex_text import escaped
from bench.report.model import Report, Table
from tests.report.typesetting import typeset


def rows(tex: str) -> list[list[str]]:
    """Cells of every line of the tabular, a \\multicolumn standing for as many as it spans."""
    body = tex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    body = re.sub(r"\\shortstack\[r\]\{(.*?)\\\\(.*?)\} ", r"\1 \2 ", body)
    found = []
    for line in body.strip().splitlines():
        if not re.search(r"\\\\(\*\[-3pt\])?$", line):
            assert re.fullmatch(r"(\\midrule|\\cmidrule\(lr\)\{\d-\d+\} ?)+", line), line
            continue
        cells: list[str] = []
        for cell in re.split(r"(?<!\\)&", re.sub(r"\\\\(\*\[-3pt\])?$", "", line)):
            span = re.match(r"\s*\\multicolumn\{(\d+)\}", cell)
            cells += [cell.strip()] * (int(span[1]) if span else 1)
        found.append(cells)
    return found


def row(tex: str, start: str) -> list[str]:
    return next(cells for cells in rows(tex) if cells[0].startswith(start))


def short(report: Report) -> Report:
    """With labels as short as people choose them."""
    first = report.tables[0]
    named = tuple(replace(r, label=f"model {i}") for i, r in enumerate(first.rows))
    return replace(report, tables=(replace(first, rows=named), *report.tables[1:]))


def test_every_line_has_one_cell_a_column(report: Report) -> None:
    for table in report.tables:
        for cells in rows(render_table(table)):
            assert len(cells) == 1 + len(table.columns), cells


def test_groups_span_their_columns(report: Report) -> None:
    tex = render_table(report.tables[0])
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-5}" in tex
    ece = r"\multicolumn{2}{c}{ECE}"
    assert rows(tex)[0] == ["", "", ece, ece, r"\multicolumn{1}{c}{PGD-40, 8/255}", ""]
    plain = replace(report.tables[0], columns=tuple(replace(c, group="") for c in report.tables[0].columns))
    assert "multicolumn" not in render_table(plain)
    assert "cmidrule" not in render_table(plain)


def test_headings_have_unit_and_direction(report: Report) -> None:
    heading = rows(render_table(report.tables[0]))[1]
    assert heading[2] == r"T = 1, \% $\downarrow$"
    assert heading[5] == r"mean L2 $\uparrow$"


def test_a_long_heading_breaks_in_two_and_keeps_its_arrow(report: Report) -> None:
    columns = list(report.tables[0].columns)
    columns[4] = replace(columns[4], label="FCD of test images")
    tex = render_table(replace(report.tables[0], columns=tuple(columns)))
    assert r"\shortstack[r]{FCD of test\\images~$\uparrow$}" in tex
    assert "interpolations $\\uparrow$" in render_table(report.tables[1])


def test_best_is_bold_and_verdicts_have_marks(report: Report) -> None:
    tex = render_table(short(report).tables[0])
    assert row(tex, "model 0")[1:] == [
        r"\textbf{95.7}",
        "1.5",
        "1.2",
        "12.5",
        r"0.739\rlap{\textsuperscript{$\ddag$}}",
    ]
    assert row(tex, "model 1")[1:] == [
        r"\textbf{93.5}",
        "n/a",
        "diverged",
        r"\textbf{73.5}\rlap{\textsuperscript{$\dag$}}",
        r"\dots{}",
    ]


def test_literature_is_below_a_rule_in_italics_with_its_origin(report: Report) -> None:
    tex = render_table(report.tables[0])
    below = tex.split(r"\midrule")[2]
    assert below.startswith("\n" + r"\textit{GMMC (Gen), as printed}\textsuperscript{1} & \textit{93.01}")
    assert r"\textsuperscript{1}GMMC paper 2021, Table 1, CIFAR10, not comparable\par" in below


def test_intervals_are_under_the_numbers_of_narrow_tables_only(report: Report) -> None:
    narrow, wide = map(render_table, short(report).tables)
    lines = rows(narrow)
    below = lines[lines.index(row(narrow, "model 0")) + 1]
    assert below == [
        "",
        r"{\tiny {[}93.7, 97.7]}",
        "",
        r"{\tiny {[}0.7, 1.7]}",
        r"{\tiny {[}10.5, 14.5]}",
        r"{\tiny {[}0.689, 0.789]}",
    ]
    assert "Intervals are not shown" not in narrow
    assert r"\tiny" not in wide
    assert "Intervals are not shown" in wide


def test_only_wide_tables_are_scaled(report: Report) -> None:
    narrow, wide = short(report).tables
    assert "resizebox" not in render_table(narrow)
    assert r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}" in render_table(wide)
    few, many = (
        replace(
            wide,
            columns=tuple(replace(c, label="A", group="") for c in wide.columns[:count]),
            rows=tuple(replace(r, cells=r.cells[:count]) for r in wide.rows),
        )
        for count in (8, 9)
    )
    assert "resizebox" not in render_table(few)
    assert r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}" in render_table(many)
    long_label = replace(narrow, rows=(replace(narrow.rows[0], label="m" * 80), *narrow.rows[1:]))
    assert r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}" in render_table(long_label)


def test_comments_name_suite_profile_and_packages(report: Report) -> None:
    comments = [line for line in render(report).splitlines() if line.startswith("%")]
    assert comments[0] == "% Suite: tiny_suite (Softmax & GMMC on <digits>)"
    assert comments[1] == "% Profile: smoke"
    assert comments[2].startswith("% Packages: booktabs, graphicx")
    narrow = short(report)
    narrow = replace(narrow, profile=None, title="two\nlines", tables=narrow.tables[:1])
    assert render(narrow).splitlines()[:3] == [
        "% Suite: tiny_suite (two lines)",
        "% Profile: none (full)",
        "% Packages: booktabs",
    ]


def test_what_differs_from_the_paper_is_below(report: Report) -> None:
    last = render(report).split(r"\end{table}")[-1]
    assert r"PROFILE smoke: data sets cifar10 $\rightarrow$ digits, svhn $\rightarrow$ patches\par" in last
    assert r"Differs from the paper: epochs: 2 {[}paper: 100 \& more]\par" in last


def test_empty_table_has_a_heading(report: Report) -> None:
    empty: Table = replace(report.tables[0], rows=(), notes=())
    assert r"\midrule" not in render_table(empty)
    silent = replace(empty, columns=tuple(replace(c, definition="") for c in empty.columns))
    assert "minipage" not in render_table(silent)


def columns_only(table: Table, count: int) -> Table:
    rows = tuple(replace(r, cells=r.cells[:count]) for r in table.rows)
    return replace(table, columns=table.columns[:count], rows=rows)


def test_what_fits_a_column_stays_in_it_and_the_rest_spans_both(report: Report) -> None:
    narrow, wide = short(report).tables
    small = render_table(columns_only(narrow, 2))
    assert small.startswith(r"\begin{table}[tbp]")
    assert small.endswith("\\end{table}\n")
    assert "resizebox" not in small
    for table in (narrow, wide):  # one fits a page and no column, one not even a page
        text = render_table(table)
        assert text.startswith(r"\begin{table*}[tbp]")
        assert text.endswith("\\end{table*}\n")
    assert "table* spans both columns" in render(report)


def test_different_numbers_of_items_stand_below_the_numbers(report: Report) -> None:
    narrow, wide = short(report).tables
    cells = (replace(narrow.rows[0].cells[0], n=28), *narrow.rows[0].cells[1:])
    mixed = replace(narrow, rows=(replace(narrow.rows[0], cells=cells), *narrow.rows[1:]))
    assert r"{\tiny {[}93.7, 97.7], n = 28}" in render_table(mixed)
    assert r"{\tiny {[}91.5, 95.5], n = 397}" in render_table(mixed)
    assert "n = " not in render_table(narrow).split(r"\bottomrule")[0]
    first = tuple(replace(c, n=28) for c in wide.rows[0].cells)
    mixed = replace(wide, rows=(replace(wide.rows[0], cells=first), *wide.rows[1:]))
    assert r"{\tiny n = 28}" in render_table(mixed)  # where there is no room for intervals, too


def test_notes_for_which_a_page_has_no_room_follow_the_table(report: Report) -> None:
    table = replace(report.tables[0], notes=("A short note.", "long " * 800, "The last note."))
    inside, _, after = render_table(table).partition(r"\end{table")
    assert "A short note." in inside
    assert "long" not in inside
    assert after.index("On Table~") < after.index("long") < after.index("The last note.")
    definition = table.columns[0].definition
    assert escaped(definition) not in inside
    assert escaped(definition) in after
    short = replace(table, notes=("A short note.",))
    inside, _, after = render_table(short).partition(r"\end{table")
    assert escaped(definition) in inside
    assert after.strip().endswith("}")
    assert "On Table~" not in after


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
@pytest.mark.parametrize("labels", ["special", "short"])
def test_compiles_without_errors_and_within_the_page(report: Report, tmp_path: Path, labels: str, columns: str) -> None:
    chosen = short(report) if labels == "short" else report
    fits = tuple(columns_only(short(report).tables[0], count) for count in (1, 2, 3, 4))
    chosen = replace(chosen, tables=(*chosen.tables, *fits))
    document = (
        f"\\documentclass[{columns}]{{article}}\\usepackage{{booktabs,graphicx}}\\begin{{document}}\n"
        f"{render(chosen)}\n\\end{{document}}"
    )
    assert "Overfull" not in typeset(document, tmp_path)
