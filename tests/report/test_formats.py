from __future__ import annotations

import json

from bench.report import as_json, csv_table, latex, markdown, page
from bench.report.formats import FORMATS
from bench.report.model import Report


def test_each_name_gives_its_format(report: Report) -> None:
    modules = {"markdown": markdown, "latex": latex, "html": page, "csv": csv_table, "json": as_json}
    assert {name: FORMATS[name](report) for name in FORMATS} == {
        name: module.render(report)  # type: ignore[attr-defined]
        for name, module in modules.items()
    }
    assert json.loads(FORMATS["json"](report))["suite"] == "tiny_suite"
    assert FORMATS["html"](report).startswith("<!DOCTYPE html>")
