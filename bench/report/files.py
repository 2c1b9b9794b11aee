"""The files that a run leaves for people: tables in every format, charts and one html report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import DamagedFileError
from bench.files.atomic import write_atomically
from bench.report.draw import draw_all
from bench.report.formats import FORMATS
from bench.report.model import Report
from bench.report.page import Picture, render
from bench.store import Store

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.plan.jobs import Plan

__all__ = ["pictures", "provenance_summary", "write_report"]

_ENDINGS = {"markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}


def write_report(bench: Bench, plan: Plan, report: Report) -> Path:
    """Write tables, charts and report below ``<results>/reports/<suite>[-<profile>]/`` and return the html file.

    The chart of a table is ``<id of the table>.png``.
    """
    name = report.suite + (f"-{report.profile}" if report.profile else "")
    folder = bench.settings.results / "reports" / name
    for format_, ending in _ENDINGS.items():
        write_atomically(folder / f"tables.{ending}", FORMATS[format_](report).encode())
    charts = draw_all(report)
    for table in report.tables:
        if table.id in charts:
            write_atomically(folder / f"{table.id}.png", charts[table.id])
        else:  # what an earlier run drew is not true any more
            (folder / f"{table.id}.png").unlink(missing_ok=True)
    page = folder / "report.html"
    meta = provenance_summary(plan, bench.store)
    write_atomically(page, render(report, pictures(plan, bench.store), meta, charts).encode())
    return page


def pictures(plan: Plan, store: Store) -> tuple[Picture, ...]:
    """The pictures that evaluations left, labelled by model."""
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
    """What all records of a plan have in common, for the foot of a report."""
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
