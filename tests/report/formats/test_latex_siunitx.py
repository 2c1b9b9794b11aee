from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.formats.latex import render, render_table, render_with_siunitx
from bench.report.model import Cell, Report, Table, TableRow
from tests.report.typesetting import typeset

NUMBER = re.compile(r"((?:\\bfseries)?(?:\\itshape)? )?[+-]?\d*\.?\d+(\{\\rlap\{\\textsuperscript\{\$\\d?dag\$\}\}\})?")


def lines(tex: str) -> list[list[str]]:
    """The cells of the lines below the headings; lines that span the table have one."""
    body = tex.split(r"\toprule")[1].split(r"\bottomrule")[0].partition(r"\midrule")[2]
    found = [re.sub(r"\s*\\\\(\*\[-3pt\])?$", "", line) for line in body.splitlines()]
    return [re.split(r" & ?", line) for line in found if line not in ("", r"\midrule")]


def short(report: Report) -> tuple[Table, ...]:
    """The tables with labels as short as people choose them."""
    first = report.tables[0]
    named = tuple(replace(r, label=f"model {i}") for i, r in enumerate(first.rows))
    return (replace(first, rows=named), *report.tables[1:])


def quoted(table: Table) -> Table:
    """With a quoted row that has a number in every column."""
    cells = tuple(Cell(column=column.id, value=0.8125, status="ok") for column in table.columns)
    return replace(table, rows=(*table.rows, TableRow("quoted", "jem", "literature", cells, "JEM paper")))


def test_columns_have_room_for_their_numbers_and_the_rest_is_braced(report: Report) -> None:
    for table in map(quoted, short(report)):
        tex = render_table(table, siunitx=True)
        assert tex.count("S[table-format=") == len(table.columns)
        for cells in lines(tex):
            for cell in cells[1:]:
                assert NUMBER.fullmatch(cell) or cell == "" or re.fullmatch(r"\{.*\}", cell), cell


def test_cells(report: Report) -> None:
    tex = render_table(short(report)[0], siunitx=True)
    found = {cells[0]: cells[1:] for cells in lines(tex)}
    assert found["model 0"] == [r"\bfseries 95.7", "1.5", "1.2", "12.5", r"0.739{\rlap{\textsuperscript{$\ddag$}}}"]
    assert found["model 1"] == [
        r"\bfseries 93.5",
        "{n/a}",
        "{diverged}",
        r"\bfseries 73.5{\rlap{\textsuperscript{$\dag$}}}",
        r"{\dots{}}",
    ]
    assert found[r"\textit{model 2}\textsuperscript{1}"] == [r"\itshape 93.01", *[r"{\textit{n/a}}"] * 4]
    assert r"{\tiny {[}93.7, 97.7]}" in tex
    assert "{T = 1, \\% $\\downarrow$}" in tex
    assert "S[table-format=2.2]S[table-format=1.1]S[table-format=1.1]S[table-format=2.1]S[table-format=1.3]" in tex


def test_without_siunitx_nothing_of_it_is_there(report: Report) -> None:
    assert "siunitx" not in render(report)
    assert "sisetup" not in render(report)
    assert "S[" not in render(report)
    assert r"% Packages: booktabs, siunitx (version 3 or later), graphicx" in render_with_siunitx(report)


def test_columns_of_texts_are_centered(report: Report) -> None:
    table = short(report)[0]
    text = tuple(
        replace(r, cells=tuple(replace(c, value=None, text="Adam, 2", best=False) for c in r.cells)) for r in table.rows
    )
    tex = render_table(replace(table, rows=text), siunitx=True)
    assert r"\begin{tabular}{lccccc}" in tex
    assert "sisetup" not in tex
    assert " & Adam, 2 & " in tex
    one = replace(text[0], cells=(table.rows[0].cells[0], *text[0].cells[1:]))
    assert r"{lS[table-format=2.1]cccc}" in render_table(replace(table, rows=(one, *text[1:])), siunitx=True)


def test_the_room_of_numbers_counts_for_the_width(report: Report) -> None:
    """Many digits in one row and many decimals in another make a column wider than each of its numbers."""
    first = replace(short(report)[0].columns[0], unit="1", label="x", group="")
    columns = tuple(replace(first, id=f"c{i}") for i in range(3))
    rows = tuple(
        TableRow("m", "f", "measured", tuple(Cell(column=c.id, value=v, status="ok", decimals=d) for c in columns))
        for v, d in ((1_234_567.0, 0), (0.123456, 6))
    )
    table = replace(short(report)[0], columns=columns, rows=rows)
    assert render_table(table).startswith(r"\begin{table}")
    assert render_table(table, siunitx=True).startswith(r"\begin{table*}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.skipif(
    shutil.which("kpsewhich") is None or subprocess.run(["kpsewhich", "siunitx.sty"], check=False).returncode != 0,
    reason="needs siunitx",
)
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_compiles_without_errors_and_within_the_page(report: Report, tmp_path: Path, columns: str) -> None:
    tables = (*report.tables, *map(quoted, short(report)))
    text = render_with_siunitx(replace(report, tables=tables))
    document = (
        f"\\documentclass[{columns}]{{article}}\\usepackage{{booktabs,graphicx,siunitx}}\\begin{{document}}\n"
        f"{text}\n\\end{{document}}"
    )
    assert "Overfull" not in typeset(document, tmp_path)
