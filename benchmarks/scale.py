"""Time and memory of ``check``, ``plan``, ``status`` and ``table`` for large suites and a large store.

    python benchmarks/scale.py [--models 75 150 300] [--records 100000] [--rounds 3] [--profile table]

Writes suites of so many models, each with 20 evaluations, and a store in which every job has a made-up result, and runs
each command as a process of its own: CPU time of the process, median of the rounds, in turns over the sizes, and the
largest memory. ``--records`` fills the store of the smallest suite with results that no suite refers to. ``--profile``
prints where one command spends its time on the largest suite.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import os
import pstats
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.api import Bench
from bench.evaluate.base import Column
from bench.execute.provenance import provenance
from bench.files.arrays import save_arrays
from bench.files.atomic import write_atomically, write_json
from bench.metrics.intervals import IfCalibrated, Interval
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask
from bench.store import (
    HISTORY,
    ITEMS,
    OUTPUTS,
    WEIGHTS,
    Measured,
    Number,
    Prediction,
    Record,
    Store,
    Training,
)

COMMANDS = ("check", "plan", "status", "table")
EVALUATIONS = 20
ITEM_COUNT = 397


def suite_text(models: int) -> str:
    """A suite on digits; every other evaluation is an attack, the rest read predictions."""
    parts = ['[suite]\nname = "scale"\n[data]\ndataset = "digits"\n']
    parts += [
        f'[[model]]\nname = "m{number}"\nlabel = "m{number}"\nfamily = "softmax"\nbackbone = "wrn-10-1"\n'
        f"lr = {(number + 1) * 1e-5}\n"
        for number in range(models)
    ]
    for number in range(EVALUATIONS // 2):
        parts.append(f'[[evaluation]]\nkind = "calibration"\nid = "calibration{number}"\nbins = {number + 5}\n')
        parts.append(f'[[evaluation]]\nkind = "pgd"\nid = "pgd{number}"\nsteps = {number + 1}\neps = ["8/255"]\n')
    columns = [f'"calibration{n}.ece", "pgd{n}@8/255"' for n in range(EVALUATIONS // 2)]
    parts.append(f'[[table]]\nid = "main"\ncolumns = [{", ".join(columns)}]\n')
    return "".join(parts)


def finish(bench: Bench, suite: Path) -> None:
    """Leave a result of every job of a suite, with the files and about the bytes that such a job leaves."""
    plan = bench.plan(suite)
    kinds = {evaluation.id: evaluation for evaluation in plan.suite.evaluations}
    draw = np.random.default_rng(0)
    with mock.patch("os.fsync"):  # the disk need not have it
        for job in plan.jobs:
            measured, files = (
                Measured(),
                {"train": [WEIGHTS, HISTORY], "predict": [OUTPUTS], "evaluate": [ITEMS]}[job.kind],
            )
            folder = bench.store.folder(job.key)
            if isinstance(job.task, EvaluateTask):
                resolved = kinds[job.evaluation]
                columns = resolved.evaluation.columns(resolved.config)
                wanted = [c for c in columns if job.argument in ("", c.argument)]
                measured, arrays = _measured(job.task, wanted, draw)
                save_arrays(folder.file(ITEMS), arrays)
            for name in files:
                if name != ITEMS:
                    write_atomically(folder.file(name), b"0" * 1000)
            write_json(folder.file("job.json"), job.as_json())
            folder.file("log.txt").touch()
            folder.file("lock").touch()
            folder.finish(_record(job, measured), files)


def _measured(
    task: EvaluateTask, columns: Sequence[Column], draw: np.random.Generator
) -> tuple[Measured, dict[str, NDArray[Any]]]:
    """Made-up numbers, and the arrays over items behind those that a paired test compares."""
    numbers: list[Number] = []
    arrays: dict[str, NDArray[Any]] = {"ids": np.arange(ITEM_COUNT)}
    for column in columns:
        value = float(draw.uniform(0.4, 0.6))
        if column.test is not None:
            arrays[column.metric] = draw.random(ITEM_COUNT) < value
            value = float(arrays[column.metric].mean())
        numbers.append(
            Number(
                metric=column.metric,
                argument=column.argument,
                value=value,
                n=ITEM_COUNT,
                definition=column.definition,
                interval=Interval(value - 0.05, value + 0.05, 0.95, "wilson"),
                if_calibrated=IfCalibrated(value / 2, value, 0.95, 0.5) if task.evaluation == "calibration" else None,
                items=column.metric if column.test is not None else None,
                verdict="no warning" if task.evaluation == "pgd" else None,
            )
        )
    if task.evaluation == "pgd":
        arrays["clean"] = np.ones(ITEM_COUNT, dtype=np.bool_)
    # Curves: about as much as a calibration keeps for its reliability diagram.
    details = {"curve": list(draw.random(500))} if task.evaluation == "calibration" else {}
    return Measured(
        kind=task.evaluation, config=task.config, numbers=tuple(numbers), items=ITEMS, details=details
    ), arrays


def _record(job: Job, measured: Measured) -> Record:
    train = job.task.train
    return Record(
        job=job.id,
        kind=job.kind,
        model=job.model,
        family=train.model.family,
        backbone=train.model.backbone,
        dataset=train.data.dataset,
        evaluation=job.evaluation,
        argument=job.argument,
        seed=job.seed,
        weights=hashlib.sha256(b"0" * 1000).hexdigest(),
        passes=job.passes,
        seconds=1.0,
        finished="2026-01-01T00:00:00Z",
        provenance=provenance("cpu" if job.passes else "none", "bench run scale.toml"),
        measured=measured,
        training=Training(history=HISTORY, epochs=1),
        prediction=Prediction(n=ITEM_COUNT, batch_size=100, file=OUTPUTS),
    )


def fill(store: Store, records: int) -> None:
    """Copies of one attack under other keys, until the store has so many results."""
    folders = list(store.folders())
    base, source = next(
        (found, f) for f in folders if (found := f.record()) is not None and found.measured.kind == "pgd"
    )
    content = source.file(ITEMS).read_bytes()
    with mock.patch("os.fsync"):
        for number in range(records - len(folders)):
            folder = store.folder(hashlib.sha256(str(number).encode()).hexdigest()[:40])
            write_atomically(folder.file(ITEMS), content)
            folder.finish(base, [ITEMS])


def cost(arguments: list[str], home: Path) -> tuple[float, float]:
    """CPU seconds and largest memory in MB of a command."""
    command = [sys.executable, "-c", _MEASURED, *arguments]
    # As an installed package: a variable of the shell may forbid that modules are kept compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True, env=environment)
    seconds, kilobytes = done.stderr.splitlines()[-1].split()
    return float(seconds), float(kilobytes) / 1024


_MEASURED = """
import resource, sys
from bench.cli.main import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    """Write suites and results, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[75, 150, 300])
    parser.add_argument("--records", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", choices=COMMANDS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        os.environ.pop("BENCH_RESULTS", None)
        homes: dict[int, Path] = {}
        for models in asked.models:
            home = homes[models] = root / str(models)
            home.mkdir()
            (home / "bench.toml").write_text('[paths]\nresults = "results"\n')
            (home / "scale.toml").write_text(suite_text(models))
            bench = Bench.here(home)
            finish(bench, home / "scale.toml")
            print(f"{models} models: {len(bench.plan(home / 'scale.toml').jobs)} jobs", flush=True)
        if asked.records:
            smallest = homes[min(homes)]
            fill(Bench.here(smallest).store, asked.records)
            print(f"{min(homes)} models: {asked.records} results in the store")
        if asked.profile:
            profile(homes[max(homes)], asked.profile)
            return
        seconds: dict[tuple[str, int], list[float]] = {}
        memory: dict[tuple[str, int], float] = {}
        for _ in range(asked.rounds):
            for command in COMMANDS:
                for models, home in homes.items():
                    took, used = cost([command, "scale.toml"], home)
                    seconds.setdefault((command, models), []).append(took)
                    memory[command, models] = max(used, memory.get((command, models), 0.0))
        print("| command |" + "".join(f" {models} models |" for models in homes))
        print("|---|" + "---:|" * len(homes))
        for command in COMMANDS:
            cells = [f" {median(seconds[command, m]):.2f} s, {memory[command, m]:.0f} MB |" for m in homes]
            print(f"| {command} |{''.join(cells)}", flush=True)


def profile(home: Path, command: str) -> None:
    """Print the functions of a command that take most time."""
    from click.testing import CliRunner

    from bench.cli.main import cli

    os.chdir(home)
    profiler = cProfile.Profile()
    profiler.enable()
    CliRunner().invoke(cli, [command, "scale.toml"], catch_exceptions=False)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
