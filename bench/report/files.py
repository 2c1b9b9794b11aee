"""The files that a run writes for people: tables in every format, figures and one html report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import DamagedFileError
from bench.files.atomic import write_atomically
from bench.report.cells import Results
from bench.report.figures import figures_of
from bench.report.formats import FORMATS
from bench.report.formats.html import Picture, render
from bench.report.model import Figure, Report
from bench.store import Store

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.plan.jobs import Plan

__all__ = ["pictures", "provenance_summary", "report_folder", "write_figures", "write_report"]


def write_report(bench: Bench, plan: Plan, report: Report) -> Path:
    """Write tables, figures and report into the folder of a report and return the html file's path.

    The chart of a table and each ``[[figure]]`` are ``<id>.png`` and ``<id>.pdf``.
    """
    folder = report_folder(bench, report.suite, report.profile)
    for name, format_ in FORMATS.items():
        if name != "html":  # report.html holds the tables
            write_atomically(folder / f"tables.{format_.ending}", format_(report).encode())
    found = figures_of(plan.suite.figures, Results(plan, bench.store, bench.states(plan)))
    drawn: dict[str, Figure] = {name: figure for name, figure in found.items() if not isinstance(figure, str)}
    write_figures(folder, {**{table.id: table.chart for table in report.tables}, **dict.fromkeys(found), **drawn})
    page = folder / "report.html"
    meta = provenance_summary(plan, bench.store)
    write_atomically(page, render(report, pictures(plan, bench.store), meta, drawn).encode())
    return page


def report_folder(bench: Bench, suite: str, profile: str | None) -> Path:
    """``<results>/reports/<suite>[-<profile>]/``."""
    return bench.settings.results / "reports" / (suite + (f"-{profile}" if profile else ""))


def write_figures(folder: Path, figures: Mapping[str, Figure | None]) -> list[Path]:
    """Write the PNG and PDF file of each figure, and return their paths.

    Args:
        folder: The folder of the report.
        figures: The figures by id; the files of an earlier run of one that is None are outdated and deleted.
    """
    written = []
    for name, figure in figures.items():
        png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
        if figure is None:
            png.unlink(missing_ok=True)
            pdf.unlink(missing_ok=True)
        else:
            write_atomically(png, figure.png)
            write_atomically(pdf, figure.pdf)
            written += [png, pdf]
    return written


def pictures(plan: Plan, store: Store) -> tuple[Picture, ...]:
    """The pictures that evaluations stored, labelled by model and seed."""
    found = []
    labels = {model.name: model.label for model in plan.suite.models}
    for job in plan.jobs:
        if job.kind != "evaluate":
            continue
        folder = store.folder(job.key)
        record = folder.record()
        for name in record.measured.files if record is not None else ():
            if not name.endswith(".png"):
                continue
            try:
                content = folder.read(name)
            except DamagedFileError:  # the job's cells say so
                folder.distrust()
                continue
            label = f"{labels[job.model]}, seed {job.seed}"
            what = name.removesuffix(".png")
            caption = f"{job.evaluation}: {what}; {_READ.get(what, 'rows are classes')}"
            found.append(Picture(label, caption, content))
    return tuple(found)


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
        "data set": f"{plan.suite.dataset.name}, data seed {plan.suite.data.seed}",
        "devices": ", ".join(sorted(devices)),
        "worker time": f"{seconds:,.0f} s",
        "commands": "; ".join(sorted(commands)),
        "versions": ", ".join(f"{name} {' and '.join(sorted(v))}" for name, v in sorted(versions.items())),
    }
