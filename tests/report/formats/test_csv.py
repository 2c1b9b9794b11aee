from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.plain import visible
from bench.report.formats.csv import FIELDS, render
from bench.report.model import Report


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_one_line_a_cell_in_order(report: Report) -> None:
    lines = read(render(report))
    expected = [
        (table.id, row.label, cell.column) for table in report.tables for row in table.rows for cell in row.cells
    ]
    assert [(line["table"], line["row"], line["column"]) for line in lines] == expected


def test_numbers_come_back_to_the_bit(report: Report) -> None:
    cells = [cell for table in report.tables for row in table.rows for cell in row.cells]
    for line, cell in zip(read(render(report)), cells, strict=True):
        assert line["status"] == cell.status
        assert (float(line["value"]) if line["value"] else None) == cell.value
        ends = (cell.interval.low, cell.interval.high) if cell.interval else ("", "")
        assert tuple(float(line[k]) if line[k] else "" for k in ("low", "high")) == ends
        assert tuple(map(int, line["seeds"].split())) == cell.seeds
        assert line["best"] == ("true" if cell.best else "false")


def test_a_line_in_full(report: Report) -> None:
    line = next(line for line in read(render(report)) if line["verdict"] == "masked")
    del line["row"], line["low"], line["high"]
    assert line == {
        "suite": "tiny_suite",
        "profile": "smoke",
        "table": "main_table",
        "family": "gmmc-gen",
        "source": "measured",
        "origin": "",
        "column": "pgd-40@8/255",
        "definition": "definition of pgd-40@8/255, eps <= 8/255 & more",
        "unit": "fraction",
        "direction": "up",
        "value": "0.735",
        "level": "0.95",
        "kind": "wilson",
        "n": "200",
        "seeds": "1",
        "status": "ok",
        "reason": "",
        "best": "true",
        "verdict": "masked",
        "flags": "GRAD0: zero input gradient for 31% of the images & more",
        "not_measured": "",
        "made_with": "",
        "p": "",
        "p_corrected": "",
    }


def test_checks_that_were_not_made_are_named(report: Report) -> None:
    table = report.tables[0]
    row = table.rows[0]
    cells = (replace(row.cells[0], not_measured=("ITER", "UNBOUNDED")), *row.cells[1:])
    changed = replace(report, tables=(replace(table, rows=(replace(row, cells=cells),)),))
    assert [line["not_measured"] for line in read(render(changed))] == ["ITER UNBOUNDED", *[""] * (len(cells) - 1)]


def test_literature_names_its_origin(report: Report) -> None:
    quoted = [line for line in read(render(report)) if line["source"] == "literature"]
    assert len(quoted) == 5
    assert {line["origin"] for line in quoted} == {"GMMC paper 2021, Table 1, CIFAR10, not comparable"}


def test_absent_values_are_empty(report: Report) -> None:
    full = read(render(replace(report, profile=None)))
    assert {line["profile"] for line in full} == {""}
    for line in full:
        if line["status"] != "ok":
            assert line["value"] == line["low"] == line["n"] == ""
            assert line["reason"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(label=st.text(st.characters()) | st.text("'=+-@|% \t\r\n\x1b,;\"0123", max_size=6))
def test_any_label_comes_back(report: Report, label: str) -> None:
    table = report.tables[1]
    named = replace(table, rows=(replace(table.rows[0], label=label),))
    text = render(replace(report, tables=(named,)))
    assert not [c for c in text if c not in "\r\n\t" and not 0x20 <= ord(c) < 0x7F and ord(c) < 0xA0]
    (read_back,) = {line["row"] for line in read(text)}
    # An apostrophe is there exactly where a spreadsheet would compute, and taking it away gives the text.
    computes = read_back.lstrip("'").lstrip().startswith(tuple("=+-@|%＝＋－＠"))
    if read_back.startswith("'") and (computes or read_back.lstrip("'").startswith(("\t", "\n"))):
        read_back = read_back[1:]
    else:
        assert not computes or re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", read_back, re.I)
    assert read_back == visible(label)


@pytest.mark.parametrize("text", ["=1+1", "+1-1", "-1|x", "@SUM(A1)", "\t=1", "  =1", "\r=1", "'=1", "|x", "%0A"])
def test_what_a_spreadsheet_would_compute_is_marked_as_text(report: Report, text: str) -> None:
    table = report.tables[1]
    rows = (replace(table.rows[0], label=text, origin=text),)
    columns = tuple(replace(c, definition=text) for c in table.columns)
    for line in read(render(replace(report, suite=text, tables=(replace(table, rows=rows, columns=columns),)))):
        for field in ("suite", "row", "origin", "definition"):
            assert line[field].startswith("'")


def test_numbers_are_not_marked(report: Report) -> None:
    table = report.tables[1]
    cells = tuple(replace(cell, value=-0.5) for cell in table.rows[0].cells)
    rows = (replace(table.rows[0], label="-0.5", cells=cells),)
    lines = read(render(replace(report, tables=(replace(table, rows=rows),))))
    assert {(line["value"], line["row"]) for line in lines} == {("-0.5", "-0.5")}


def test_lines_end_as_in_rfc_4180(report: Report) -> None:
    lines = render(report).split("\r\n")
    assert lines[0] == ",".join(FIELDS)
    assert lines[-1] == ""
    assert len(lines) == 2 + sum(len(t.rows) * len(t.columns) for t in report.tables)
