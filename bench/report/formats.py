"""The formats that a report can be written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.report import as_json, csv_table, latex, markdown, page
from bench.report.model import Report

__all__ = ["FORMATS"]

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "markdown": markdown.render,
    "latex": latex.render,
    "html": page.render,
    "csv": csv_table.render,
    "json": as_json.render,
}
"""By name; each gives the text of one file, to be encoded as UTF-8."""
