"""The whole report as one HTML file: tables, pictures, differences from the paper, provenance.

The page loads no other file and runs no script but its own, which sorts tables: its content security policy names the
digest of that script. It follows the reader's light or dark scheme, and can be read on a phone, in print and without
scripts. The templates are beside this module; all text that they print passes ``bench.plain.plain`` and is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.plain import plain
from bench.report import text
from bench.report.layout import grid_of, neighbours
from bench.report.model import Cell, Report, Table, TableColumn, TableRow
from bench.report.page import Page
from bench.report.summary import caveats, findings, gaps

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ENDING", "render"]

ENDING = "html"

_FOLDER = Path(__file__).parent / "templates"


def render(report: Report, page: Page | None = None) -> str:
    """The report as the text of one self-contained HTML file, to be encoded as UTF-8.

    Args:
        report: The report.
        page: What it shows beside its tables.
    """
    page = page or Page()
    cost = {"cost": report.budget} if report.budget else {}
    script = (_FOLDER / "sort.js").read_text(encoding="utf-8")
    return (
        _templates()
        .get_template("page.html")
        .render(
            report=report,
            page=page,
            facts={**cost, **page.facts},
            findings=findings(report),
            caveats=caveats(report),
            gaps=gaps(report, page.figures),
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )


@cache
def _templates() -> Environment:
    # Imported here, so that other formats do not wait for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        finalize=_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    functions = (anchor, data_uri, facts_of, grid_of, hover, neighbours, png_width)
    environment.globals |= {name: getattr(text, name) for name in text.__all__}
    environment.globals |= {function.__name__: function for function in functions}
    return environment


def _one_line(value: Any) -> Any:
    """A value as a template prints it: text in one line; markup, which macros return, unchanged."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def anchor(table: str) -> str:
    """The id of the section of a table in the page, from the id of the table."""
    return f"table-{'-'.join(plain(table).split())}"


def data_uri(png: bytes) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def png_width(png: bytes) -> int:
    """Width of a PNG file in pixels, from its header."""
    return int.from_bytes(png[16:20], "big")


def hover(cell: Cell, column: TableColumn, row: TableRow) -> list[str]:
    """The lines shown when the pointer is on a cell: definition, exact value, origin and the facts of `_facts`."""
    lines = [column.definition] if column.definition else []
    if cell.value is not None:
        lines.append(f"value {cell.value:.6g}" + (f", sd over seeds {cell.sd:.3g}" if cell.sd is not None else ""))
    if row.source == "literature":
        lines.append(f"quoted from {row.origin}")
    return lines + _facts(cell)


def facts_of(table: Table, column: int) -> list[tuple[str, str]]:
    """The facts of the measured cells of a column, as (fact, rows); rows with the same fact share an entry.

    Args:
        table: The table.
        column: Index of the column.
    """
    measured = [row for row in table.rows if row.source == "measured"]
    found: dict[str, list[str]] = {}
    for row in measured:
        for fact in _facts(row.cells[column]):
            found.setdefault(fact, []).append(row.label)
    return [(fact, text.row_names(labels, len(measured))) for fact, labels in found.items()]


def _facts(cell: Cell) -> list[str]:
    """Items, seeds and interval of a cell; the value of a calibrated model; its reason; its verdict, raised flags and
    checks that were not made.
    """
    facts = [_basis(cell)] if cell.n is not None or cell.seeds else []
    facts += [text.calibrated_text(cell)] if cell.if_calibrated else []
    if cell.status != "ok":
        facts.append(f"{cell.status}: {cell.reason}" if cell.reason else cell.status)
    elif cell.reason:
        facts.append(cell.reason)
    facts += [f"verdict: {cell.verdict}"] if cell.verdict else []
    facts += [f"{name}: {flag}" for name, flag in cell.flags.items()]
    return facts + ([f"not checked: {', '.join(cell.not_measured)}"] if cell.not_measured else [])


def _basis(cell: Cell) -> str:
    """Sample size, seeds and kind of the interval: ``n = 200, seed 1, 95% interval: wilson``."""
    several = len(cell.seeds) > 1
    parts = []
    if cell.n is not None:
        parts.append(f"n = {text.n_text(cell.n, cell.n_most)}" + (" for each seed" if several else ""))
    if cell.seeds:
        parts.append(f"seed{'s' if several else ''} {', '.join(map(str, cell.seeds))}")
    interval = cell.interval
    kind = "no interval" if interval is None else f"{100 * interval.level:g}% interval: {interval.kind}"
    return ", ".join([*parts, kind])
