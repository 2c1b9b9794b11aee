"""The files that a run writes for people: tables in every format, figures and one html report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.errors import DamagedFileError, NothingSelectedError, RequestError, did_you_mean
from bench.files.atomic import write_atomically
from bench.report.build import build_report
from bench.report.cells import Results
from bench.report.drawing import Drawing
from bench.report.figures import safely
from bench.report.formats import FORMATS
from bench.report.formats.html import Picture, render
from bench.report.kept import figures_in, keep
from bench.report.model import Figure, Report
from bench.store import Store

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.plan.jobs import Plan

__all__ = ["charts_of", "pictures", "plot", "provenance_summary", "report_folder", "write_report"]


def write_report(bench: Bench, plan: Plan, report: Report) -> Path:
    """Write tables, figures and report into the folder of a report and return the html file's path.

    The chart of a table and each ``[[figure]]`` are ``<id>.png`` and ``<id>.pdf``. A figure whose inputs are those of
    the files in the folder is not drawn again.
    """
    folder = report_folder(bench, report.suite, report.profile)
    for name, format_ in FORMATS.items():
        if name != "html":  # report.html holds the tables
            write_atomically(folder / f"tables.{format_.ending}", format_(report).encode())
    found, inputs = _figures_of(bench, folder, plan, ())
    charts = charts_of(report)
    _write_figures(folder, {**charts, **found})
    keep(folder, found, inputs)
    shown = (replace(one, chart=None) if isinstance(charts[one.id], str) else one for one in report.tables)
    report = replace(report, tables=tuple(shown))
    page = folder / "report.html"
    meta = provenance_summary(plan, bench.store)
    write_atomically(page, render(report, pictures(plan, bench.store), meta, found).encode())
    return page


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
    bench: Bench, folder: Path, plan: Plan, ids: Sequence[str]
) -> tuple[dict[str, Figure | str], dict[str, str]]:
    """The figures of all parts of a suite, with the digests of their inputs; of ``ids`` alone, if it names any."""
    states = bench.states(plan)
    found: dict[str, Figure | str] = {}
    inputs: dict[str, str] = {}
    for part in plan.leaves:
        wanted = [figure for figure in part.suite.figures if not ids or figure.id in ids]
        drawn, of_drawn = figures_in(folder, wanted, Results(part, bench.store, states))
        found |= drawn
        inputs |= of_drawn
    return found, inputs


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


def pictures(plan: Plan, store: Store) -> tuple[Picture, ...]:
    """The pictures that evaluations stored, labelled by model and seed."""
    found: dict[tuple[str, str], Picture] = {}
    for part in plan.leaves:
        labels = {model.name: model.label for model in part.suite.models}
        for job in part.jobs:
            if job.kind != "evaluate":
                continue
            folder = store.folder(job.key)
            record = folder.record()
            for name in record.measured.files if record is not None else ():
                if not name.endswith(".png") or (job.key, name) in found:
                    continue
                try:
                    content = folder.read(name)
                except DamagedFileError:  # the job's cells say so
                    folder.distrust()
                    continue
                on = f", {part.suite.on}" if part.suite.on else ""
                label = f"{labels[job.model]}{on}, seed {job.seed}"
                what = name.removesuffix(".png")
                caption = f"{job.evaluation}: {what}; {_READ.get(what, 'rows are classes')}"
                found[job.key, name] = Picture(label, caption, content)
    return tuple(found.values())


_READ = {
    "noise": "images, adversarial images, and the noise, each enlarged to the whole range (grey is none)",
    "closest": "rows are classes, nearest to the center of the class first",
    "farthest": "rows are classes, farthest from the center of the class first",
}
"""How to read a picture, by its name; others are grids with a row for each class."""


def provenance_summary(plan: Plan, store: Store) -> dict[str, str]:
    """The provenance of all records of a plan together, as name → text, for the foot of a report."""
    versions: dict[str, set[str]] = {}
    devices: set[str] = set()
    commands: set[str] = set()
    seconds = 0.0
    for job in plan.jobs:
        record = store.folder(job.key).record()
        if record is None:
            continue
        made = record.provenance
        for package, version in made.versions.items():
            versions.setdefault(package, set()).add(version)
        devices.add(made.device_name or made.device)
        commands.add(made.command)
        seconds += record.seconds
    devices.discard("none")
    return {
        "suite": str(plan.suite.path.name),
        "data set": "; ".join(
            dict.fromkeys(f"{leaf.dataset.name}, data seed {leaf.data.seed}" for leaf in plan.suite.leaves)
        ),
        "devices": ", ".join(sorted(devices)),
        "worker time": f"{seconds:,.0f} s",
        "commands": "; ".join(sorted(commands)),
        "versions": ", ".join(f"{name} {' and '.join(sorted(v))}" for name, v in sorted(versions.items())),
    }
