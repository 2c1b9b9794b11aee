"""The files that a run writes for people: tables in every format, figures and one html report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.errors import NothingSelectedError, RequestError, did_you_mean
from bench.files.atomic import write_atomically
from bench.report.build import build_report
from bench.report.cells import Results
from bench.report.drawing import Drawing
from bench.report.figures import safely
from bench.report.formats import FORMATS
from bench.report.formats.html import render
from bench.report.kept import figures_in, keep
from bench.report.model import Figure, Report
from bench.report.page import Page, commands_of, models_of, pictures_of, provenance_of, sources_of
from bench.suite.figures import LearningEntry
from bench.suite.schema import ResolvedFigure
from bench.suite.settings import find_profile

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.plan.jobs import Plan

__all__ = ["charts_of", "plot", "report_folder", "write_report"]


def write_report(
    bench: Bench, plan: Plan, report: Report, profile: str | None, *, page: Path | None = None
) -> list[Path]:
    """Write tables, figures and report into the folder of the report and return all paths, the html file first.

    The chart of a table and each ``[[figure]]`` are ``<id>.png`` and ``<id>.pdf``. A figure whose inputs are those of
    the files in the folder is not drawn again.

    Args:
        bench: The harness.
        plan: The whole plan of the suite.
        report: Its tables.
        profile: Name or path of the profile, as the user gave it.
        page: The html file; None: ``report.html`` in the folder.
    """
    folder = report_folder(bench, report.suite, report.profile)
    written = []
    for name, format_ in FORMATS.items():
        if name != "html":  # report.html holds the tables
            written.append(folder / f"tables.{format_.ending}")
            write_atomically(written[-1], format_(report).encode())
    found, inputs = _figures_of(bench, folder, plan, (), training=True)
    charts = charts_of(report)
    written += _write_figures(folder, {**charts, **found})
    keep(folder, found, inputs)
    drawn = (replace(one, chart=None) if isinstance(charts[one.id], str) else one for one in report.tables)
    report = replace(report, tables=tuple(drawn))
    shown = Page(
        figures=found,
        pictures=pictures_of(plan, bench.store),
        models=models_of(plan, bench.store),
        facts=provenance_of(plan, bench.store),
        commands=commands_of(plan, bench.store, bench.settings.home, profile),
        sources=sources_of(plan.suite, find_profile(profile, bench.settings) if profile else None),
    )
    page = page or folder / "report.html"
    write_atomically(page, render(report, shown).encode())
    return [page, *written]


def plot(bench: Bench, results: Results, ids: Sequence[str], out: Path | None) -> list[str]:
    """Draw figures of a suite and charts of its tables, and return a line for each file or why there is none.

    Args:
        bench: The harness.
        results: The results of the suite.
        ids: Only these figures and tables; empty: all.
        out: The folder of the files; None: that of the report.

    Raises:
        RequestError: The suite has no figure or table of a name.
        NothingSelectedError: Nothing could be drawn.
    """
    suite = results.plan.suite
    tables = [table.id for table in suite.all_tables]
    known = [*tables, *(figure.id for leaf in suite.leaves for figure in leaf.figures)]
    for name in ids:
        if name not in known:
            raise RequestError(f"suite {suite.name} has no figure {name!r}; {did_you_mean(name, known)}")
    found: dict[str, Figure | str] = {}
    if not ids or set(ids) & set(tables):  # the tables are made for their charts alone
        charts = charts_of(build_report(results.plan, bench.store, bench.settings.literature))
        found |= {name: chart for name, chart in charts.items() if name in ids or (not ids and chart != _NO_CHART)}
    folder = out or report_folder(bench, suite.name, suite.profile)
    figures, inputs = _figures_of(bench, folder, results.plan, ids)
    found |= figures
    written = _write_figures(folder, found)
    keep(folder, figures, inputs)
    reasons = [f"{name}: {reason}" for name, reason in found.items() if isinstance(reason, str)]
    if not written:
        raise NothingSelectedError("; ".join(reasons) or f"suite {suite.name} has no figures")
    return [*map(str, written), *reasons]


def _figures_of(
    bench: Bench, folder: Path, plan: Plan, ids: Sequence[str], *, training: bool = False
) -> tuple[dict[str, Figure | str], dict[str, str]]:
    """The figures of all parts of a suite, with the digests of their inputs; of ``ids`` alone, if it names any.

    With ``training``, a suite without learning curves gets those of its models.
    """
    states = bench.states(plan)
    found: dict[str, Figure | str] = {}
    inputs: dict[str, str] = {}
    for part in plan.leaves:
        wanted = [figure for figure in part.suite.figures if not ids or figure.id in ids]
        curves = _curves_of(plan, part) if training else []
        drawn, of_drawn = figures_in(folder, [*wanted, *curves], Results(part, bench.store, states))
        # Nobody asked for these curves, so the report does not say why there are none.
        unasked = {curve.id for curve in curves}
        found |= {name: one for name, one in drawn.items() if not (name in unasked and isinstance(one, str))}
        inputs |= of_drawn
    return found, inputs


def _curves_of(plan: Plan, part: Plan) -> list[ResolvedFigure]:
    """The learning curves of a part of a suite, unless the suite or a part before it shows those of its models."""
    if any(figure.entry.kind == "learning" for leaf in plan.suite.leaves for figure in leaf.figures):
        return []
    leaves = plan.leaves
    shown = {key for leaf in leaves[: leaves.index(part)] for key in _trained(leaf)}
    if _trained(part) <= shown:
        return []
    name = f"training-{part.suite.name}" if plan.suite.parts else "training"
    title = f"Training, {part.suite.title}" if plan.suite.parts else "Training"
    entry = LearningEntry(id=name, kind="learning", title=title)
    return [ResolvedFigure(name, title, entry, part.suite.models)]


def _trained(plan: Plan) -> set[str]:
    return {job.key for job in plan.jobs if job.kind == "train"}


def charts_of(report: Report) -> dict[str, Figure | str]:
    """By id of a table, its chart, or why there is none."""
    return {table.id: _NO_CHART if table.chart is None else _drawn(table.chart) for table in report.tables}


_NO_CHART = "the table has no chart"


def _drawn(chart: Figure) -> Figure | str:
    made = safely(lambda: cast(Drawing, chart))
    return made if isinstance(made, str) else chart


def report_folder(bench: Bench, suite: str, profile: str | None) -> Path:
    """``<results>/reports/<suite>[-<profile>]/``."""
    return bench.settings.results / "reports" / (suite + (f"-{profile}" if profile else ""))


def _write_figures(folder: Path, figures: Mapping[str, Figure | str]) -> list[Path]:
    """Write the PNG and PDF file of each figure, and return their paths.

    The files that an earlier run left of a figure that cannot be drawn now are outdated and deleted.
    """
    written = []
    for name, figure in figures.items():
        png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
        if isinstance(figure, str):
            png.unlink(missing_ok=True)
            pdf.unlink(missing_ok=True)
        else:
            write_atomically(png, figure.png)
            write_atomically(pdf, figure.pdf)
            written += [png, pdf]
    return written
