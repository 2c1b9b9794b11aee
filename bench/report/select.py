"""Parts of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import RequestError, did_you_mean
from bench.report.model import Report

__all__ = ["only_tables", "without_definitions"]


def without_definitions(report: Report) -> Report:
    """The report without what each column is: for a narrow page."""
    tables = (
        replace(table, columns=tuple(replace(column, definition="") for column in table.columns))
        for table in report.tables
    )
    return replace(report, tables=tuple(tables))


def only_tables(report: Report, ids: Sequence[str]) -> Report:
    """The report with the named tables alone, in the order of the suite; all of them for no names.

    Raises:
        RequestError: The suite has no table of a name.
    """
    if not ids:
        return report
    known = [table.id for table in report.tables]
    for name in ids:
        if name not in known:
            raise RequestError(f"suite {report.suite} has no table {name!r}; {did_you_mean(name, known)}")
    return replace(report, tables=tuple(table for table in report.tables if table.id in ids))
