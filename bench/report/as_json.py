"""JSON, schema 1: for scripts. Fractions stay in [0, 1]."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bench.report.model import Cell, Report

__all__ = ["SCHEMA", "as_dict", "render"]

SCHEMA = 1


def render(report: Report) -> str:
    """The report as indented JSON."""
    return json.dumps(as_dict(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_dict(report: Report) -> dict[str, Any]:
    """The report as plain values, in the shape that the documentation promises."""
    return {
        "schema": SCHEMA,
        "suite": report.suite,
        "profile": report.profile,
        "substitutions": [list(pair) for pair in report.substitutions],
        "deviations": list(report.deviations),
        "tables": [
            {
                "id": table.id,
                "title": table.title,
                "columns": [
                    {
                        "id": column.id,
                        "label": f"{column.group}: {column.label}" if column.group else column.label,
                        "direction": column.direction,
                        "unit": column.unit,
                        "definition": column.definition,
                    }
                    for column in table.columns
                ],
                "rows": [
                    {
                        "label": row.label,
                        "family": row.family,
                        "source": row.source,
                        "origin": row.origin,
                        "cells": [_cell(cell) for cell in row.cells],
                    }
                    for row in table.rows
                ],
                "notes": list(table.notes),
            }
            for table in report.tables
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "column": cell.column,
        "value": cell.value,
        "n": cell.n,
        "n_common": cell.n_common,
        "seeds": list(cell.seeds),
        "sd": cell.sd,
        "interval": asdict(cell.interval) if cell.interval else None,
        "status": cell.status,
        "reason": cell.reason,
        "best": cell.best,
        "verdict": cell.verdict,
        "flags": dict(cell.flags),
        "not_measured": list(cell.not_measured),
        "records": list(cell.records),
    }
