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
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.api import Bench
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask
from bench.store import Measured, Number, Prediction, Provenance, Record, Store, Training
from bench.store.checked import DIGEST, own_digest

COMMANDS = ("check", "plan", "status", "table")
EVALUATIONS = 20


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
    """Leave a result of every job of a suite."""
    plan = bench.plan(suite)
    kinds = {evaluation.id: evaluation for evaluation in plan.suite.evaluations}
    for job in plan.jobs:
        measured = Measured()
        if isinstance(job.task, EvaluateTask):
            resolved = kinds[job.evaluation]
            columns = resolved.evaluation.columns(resolved.config)
            wanted = [c for c in columns if job.argument in ("", c.argument)]
            numbers = [
                Number(metric=c.metric, argument=c.argument, value=0.5, n=397, definition=c.definition) for c in wanted
            ]
            measured = Measured(kind=job.task.evaluation, config=job.task.config, numbers=tuple(numbers))
        _write(bench.store, job, measured)


def _write(store: Store, job: Job, measured: Measured) -> None:
    train = job.task.train
    record = Record(
        job=job.id,
        kind=job.kind,
        model=job.model,
        family=train.model.family,
        backbone=train.model.backbone,
        dataset=train.data.dataset,
        evaluation=job.evaluation,
        argument=job.argument,
        seed=job.seed,
        weights="0" * 64,
        passes=job.passes,
        seconds=1.0,
        finished="2026-01-01T00:00:00Z",
        provenance=Provenance(device="cpu"),
        measured=measured,
        training=Training(),
        prediction=Prediction(),
    )
    _put(store, job.key, record.as_json())


def _put(store: Store, key: str, facts: dict[str, Any]) -> None:
    """Write a record as `JobFolder.finish` does, without waiting for the disk."""
    folder = store.folder(key)
    folder.path.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps({**facts, "key": key}))
    folder.file("record.json").write_text(json.dumps({**plain, DIGEST: own_digest(plain)}))


def fill(store: Store, records: int) -> None:
    """Copies of one evaluation under other keys, until the store has so many results."""
    folders = list(store.folders())
    base = next(f.record_json() for f in folders if (found := f.record()) is not None and found.kind == "evaluate")
    assert base is not None
    for number in range(records - len(folders)):
        key = hashlib.sha256(str(number).encode()).hexdigest()[:40]
        _put(store, key, {name: value for name, value in base.items() if name != DIGEST})


def cost(arguments: list[str], home: Path) -> tuple[float, float]:
    """CPU seconds and largest memory in MB of a command."""
    command = [sys.executable, "-c", _MEASURED, *arguments]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
    seconds, kilobytes = done.stderr.splitlines()[-1].split()
    return float(seconds), float(kilobytes) / 1024


_MEASURED = """
import resource, sys
from bench.cli.main import cli
try:
    cli.main(sys.argv[1:], prog_name="bench")
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
