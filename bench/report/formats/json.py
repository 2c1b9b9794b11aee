"""JSON, schema 1: for scripts. Fractions stay in [0, 1]. The output is ASCII, so any text is read back unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.metrics.intervals import IfCalibrated, Interval
from bench.report.model import Block, Cell, Report, Table, TableColumn, TableRow
from bench.report.text import column_name

__all__ = ["ENDING", "SCHEMA", "as_dict", "from_dict", "render"]

ENDING = "json"

SCHEMA = 1


def render(report: Report) -> str:
    """The report as indented JSON."""
    return json.dumps(as_dict(report), indent=1, allow_nan=False) + "\n"


def as_dict(report: Report) -> dict[str, Any]:
    """The report as plain values that JSON can hold; figures are left out."""
    return {
        "schema": SCHEMA,
        "suite": report.suite,
        "title": report.title,
        "profile": report.profile,
        "stored": report.stored,
        "budget": report.budget,
        "substitutions": [list(pair) for pair in report.substitutions],
        "deviations": list(report.deviations),
        **({"remarks": list(report.remarks)} if report.remarks else {}),
        **({"comparison": True} if report.comparison else {}),
        "tables": [
            {
                "id": table.id,
                "title": table.title,
                "columns": [
                    {
                        "id": column.id,
                        "label": column_name(column),
                        "group": column.group,
                        "direction": column.direction,
                        "unit": column.unit,
                        "definition": column.definition,
                        "tested": column.tested,
                    }
                    for column in table.columns
                ],
                "rows": [
                    {
                        "label": row.label,
                        "family": row.family,
                        "source": row.source,
                        "origin": row.origin,
                        "made_with": row.made_with,
                        **({"group": row.group} if row.group else {}),
                        "cells": [_cell(cell) for cell in row.cells],
                    }
                    for row in table.rows
                ],
                "notes": list(table.notes),
                **({"blocks": [asdict(block) for block in table.blocks]} if table.blocks else {}),
                **({"transposed": True} if table.transposed else {}),
            }
            for table in report.tables
        ],
    }


def from_dict(facts: Mapping[str, Any]) -> Report:
    """The report, without figures, of which ``as_dict`` made these values.

    Raises:
        KeyError, TypeError, ValueError: If the values do not have the shape that ``as_dict`` gives.
    """
    if facts["schema"] != SCHEMA:
        raise ValueError(f"schema {facts['schema']!r}, expected {SCHEMA}")
    return Report(
        suite=facts["suite"],
        title=facts["title"],
        profile=facts["profile"],
        substitutions=tuple((original, substitute) for original, substitute in facts["substitutions"]),
        deviations=tuple(facts["deviations"]),
        tables=tuple(_table(table) for table in facts["tables"]),
        budget=facts["budget"],
        stored=facts["stored"],
        remarks=tuple(facts.get("remarks", ())),
        comparison=facts.get("comparison", False),
    )


def _table(facts: Mapping[str, Any]) -> Table:
    columns = tuple(TableColumn(**{**column, "label": _own_label(column)}) for column in facts["columns"])
    rows = tuple(TableRow(**{**row, "cells": tuple(map(_read_cell, row["cells"]))}) for row in facts["rows"])
    return Table(
        facts["id"],
        facts["title"],
        columns,
        rows,
        tuple(facts["notes"]),
        blocks=tuple(Block(block["title"], tuple(block["columns"])) for block in facts.get("blocks", ())),
        transposed=facts.get("transposed", False),
    )


def _own_label(column: Mapping[str, Any]) -> str:
    """The label of a column without the group that ``column_name`` puts before it."""
    label: str = column["label"]
    return label.removeprefix(f"{column['group']}: ") if column["group"] else label


def _read_cell(facts: Mapping[str, Any]) -> Cell:
    tuples = {name: tuple(facts[name]) for name in ("seeds", "not_measured", "records")}
    calibrated = facts.get("if_calibrated")
    read = {
        "interval": Interval(**facts["interval"]) if facts["interval"] else None,
        "if_calibrated": IfCalibrated(**calibrated) if calibrated else None,
    }
    return Cell(**{**facts, **tuples, **read})


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "column": cell.column,
        "value": cell.value,
        "n": cell.n,
        "n_most": cell.n_most,
        "n_common": cell.n_common,
        "seeds": list(cell.seeds),
        "sd": cell.sd,
        "interval": asdict(cell.interval) if cell.interval else None,
        **({"if_calibrated": asdict(cell.if_calibrated)} if cell.if_calibrated else {}),
        "status": cell.status,
        "reason": cell.reason,
        "best": cell.best,
        "verdict": cell.verdict,
        **({"decimals": cell.decimals} if cell.decimals is not None else {}),
        "flags": dict(cell.flags),
        "not_measured": list(cell.not_measured),
        "records": list(cell.records),
        **({"text": cell.text} if cell.text is not None else {}),
        **({"signed": True, "p": cell.p, "p_corrected": cell.p_corrected} if cell.signed else {}),
    }
