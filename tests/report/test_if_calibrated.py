"""The value of a calibrated model, from the record to the formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.metrics.intervals import IfCalibrated
from bench.report.cells import Measurement, aggregate
from bench.report.formats import FORMATS
from bench.report.formats.html import hover
from bench.report.formats.json import as_dict, from_dict
from bench.report.model import Cell, Report, Table, TableColumn, TableRow
from bench.report.text import calibrated_text
from bench.store import Number

if TYPE_CHECKING:
    from tests.conftest import Project

FACT = IfCalibrated(mean=0.0154, upper=0.02, level=0.95, p_value=0.0213)
CELL = Cell(column="calibration.ece", value=0.031, n=400, seeds=(1,), status="ok", if_calibrated=FACT)
COLUMN = TableColumn("calibration.ece", "T = 1", "ECE", "down", "fraction", "ece[w20]", False)


def report(cell: Cell) -> Report:
    row = TableRow("softmax", "softmax", "measured", (cell,))
    return Report("s", "S", None, (), (), (Table("t", "T", (COLUMN,), (row,)),))


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0213, ", p = .021"), (0.0002, ", p < .001"), (0.423, ", p = .42"), (1.0, ", p = 1.00"), (None, "")],
)
def test_the_text_is_in_percent_with_the_p_value(p: float | None, text: str) -> None:
    assert calibrated_text(replace(CELL, if_calibrated=replace(FACT, p_value=p))) == f"calibrated 1.5{text}"
    assert calibrated_text(replace(CELL, if_calibrated=None)) == ""


def test_html_shows_it_and_json_holds_it() -> None:
    made = report(CELL)
    assert "calibrated 1.5, p = .021" in hover(CELL, COLUMN, made.tables[0].rows[0])
    assert "calibrated 1.5, p = .021" in FORMATS["html"](made)
    facts = json.loads(json.dumps(as_dict(made)))
    assert facts["tables"][0]["rows"][0]["cells"][0]["if_calibrated"]["mean"] == 0.0154
    assert from_dict(facts) == made
    assert "if_calibrated" not in as_dict(report(replace(CELL, if_calibrated=None)))["tables"][0]["rows"][0]["cells"][0]


def test_a_record_keeps_it_and_records_without_it_are_read() -> None:
    number = Number(metric="ece", value=0.031, n=400, definition="ece", if_calibrated=FACT)
    assert Number.from_json(json.loads(json.dumps(number.as_json()))) == number
    older = replace(number, if_calibrated=None)
    assert "if_calibrated" not in older.as_json()
    assert Number.from_json(older.as_json()) == older


def test_of_several_seeds_the_cell_has_the_means_without_a_p_value(project: Project, tiny: str) -> None:
    plan = project.plan(tiny)
    (column,) = [c for table in plan.suite.tables for c in table.columns if c.id == "calibration.ece"]
    (job, *_) = [job for job in plan.jobs if job.evaluation == "calibration"]
    number = Number(metric="ece", value=0.03, n=400, definition="ece", if_calibrated=FACT)
    other = replace(number, value=0.05, if_calibrated=replace(FACT, mean=0.0254, upper=0.04))
    cell = aggregate(column, [Measurement(job, number), Measurement(job, other)], [])
    assert cell.if_calibrated is not None
    assert cell.if_calibrated == IfCalibrated(pytest.approx(0.0204), pytest.approx(0.03), 0.95, None)
    lacking = replace(other, if_calibrated=None)
    assert aggregate(column, [Measurement(job, number), Measurement(job, lacking)], []).if_calibrated is None
    assert aggregate(column, [Measurement(job, number)], []).if_calibrated == FACT
