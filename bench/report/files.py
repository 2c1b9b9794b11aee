"""The files that a run writes for people: tables in every format, figures and one html report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import DamagedFileError
from bench.files.atomic import write_atomically
from bench.report.figures import SUFFIXES
from bench.report.formats import FORMATS
from bench.report.formats.html import Picture, render
from bench.report.model import Report
from bench.store import Store

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.plan.jobs import Plan

__all__ = ["pictures", "provenance_summary", "write_report"]


def write_report(bench: Bench, plan: Plan, report: Report) -> Path:
    """Write tables, figures and report into ``<results>/reports/<suite>[-<profile>]/`` and return the html file's path.

    A figure of a table is ``<id of the table><suffix of the figure>.png``.
    """
    run = report.suite + (f"-{report.profile}" if report.profile else "")
    folder = bench.settings.results / "reports" / run
    for name, format_ in FORMATS.items():
        if name != "html":  # report.html holds the tables
            write_atomically(folder / f"tables.{format_.ending}", format_(report).encode())
    for table in report.tables:
        for suffix in SUFFIXES:
            png = folder / f"{table.id}{suffix}.png"
            if suffix in table.figures:
                write_atomically(png, table.figures[suffix].png)
            else:  # the figure of an earlier run is outdated
                png.unlink(missing_ok=True)
    page = folder / "report.html"
    meta = provenance_summary(plan, bench.store)
    write_atomically(page, render(report, pictures(plan, bench.store), meta).encode())
    return page


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
            caption = f"{job.evaluation}: {name.removesuffix('.png')}; rows are classes"
            found.append(Picture(label, caption, content))
    return tuple(found)


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
