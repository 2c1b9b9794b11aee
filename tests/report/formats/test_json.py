"""JSON holds every fact of a report, so that a publication and the tables of a run are read back as they were."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields
from typing import Any

from bench.metrics.intervals import IfCalibrated, Interval
from bench.report.formats.json import from_dict, render
from bench.report.model import Block, Cell, Report, Table, TableColumn, TableRow

CELL = Cell(
    column="c",
    value=0.5,
    n=100,
    n_most=300,
    n_common=90,
    decimals=4,
    seeds=(1, 2),
    interval=Interval(0.4, 0.6, 0.95, "wilson"),
    if_calibrated=IfCalibrated(0.02, 0.03, 0.95, 0.5),
    sd=0.01,
    status="ok",
    reason="a remark",
    best=True,
    verdict="masked",
    flags={"GRAD0": "no gradient"},
    not_measured=("ITER",),
    records=("key",),
    signed=True,
    p=0.01,
    p_corrected=0.02,
    text="Adam",
)
COLUMN = TableColumn("c", "label", "group", "up", "fraction", "definition", tested=True)
ROW = TableRow("label", "family", "literature", (CELL,), "Paper", "torch 2", "Hybrid")
TABLE = Table("t", "Title", (COLUMN,), (ROW,), ("A note.",), blocks=(Block("Block", (0,)),), transposed=True)
REPORT = Report(
    "s", "S", "smoke", (("a", "b"),), ("differs",), (TABLE,), "cost", "stored", ("remark",), comparison=True
)


def default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def test_every_field_is_read_back() -> None:
    for part in (CELL, COLUMN, ROW, TABLE, REPORT):
        # A field that is added to the model has to get a value here.
        unset = [field.name for field in fields(part) if getattr(part, field.name) == default(field)]
        assert unset == (["chart"] if part is TABLE else [])
    assert from_dict(json.loads(render(REPORT))) == REPORT
