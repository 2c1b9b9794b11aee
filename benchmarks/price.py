"""How well ``bench plan`` tells the time of a suite on which nothing was measured before.

    python benchmarks/price.py [digits] [--profile NAME]

Measures the speed of the suite's networks, as ``bench doctor --speed`` does, runs the suite in this process on one
thread into an empty store, and compares the CPU time of every job with what was expected of it: per family and kind of
job the measured seconds, their ratio to the expected ones, and for attacks the ratio to the bound and to the
expectation from the first finished job of the attack.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from allocator import restart_with_settings

from bench.api import Bench
from bench.commands.speed import measure_speed
from bench.execute.displays import Display
from bench.execute.estimate import Rates
from bench.execute.price import Estimate, Pricing
from bench.execute.states import Status
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask
from bench.store import Record


class Watch(Display):
    """Takes the CPU time of every job that ran in this process."""

    def __init__(self) -> None:
        self.began = 0.0
        self.seconds: dict[str, float] = {}

    def started(self, job: Job) -> None:  # noqa: ARG002 - as of every display
        """Begin."""
        self.began = time.process_time()

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """Take the time of a job with a result."""
        if record is not None and status.state == "done":
            self.seconds[job.key] = time.process_time() - self.began


def kind(job: Job) -> str:
    """The group of a job in the table."""
    if isinstance(job.task, EvaluateTask):
        return f"{job.task.evaluation}{' (attack)' if job.task.at_most else ''}"
    return f"train {job.task.train.model.family}" if job.kind == "train" else f"predict {job.id.rpartition('/')[2]}"


def show(
    jobs: list[Job], seconds: Mapping[str, float], guessed: Mapping[str, Estimate], shared: Mapping[str, Estimate]
) -> None:
    """Print a line for each group of jobs, and the sums."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        if job.key in seconds and guessed[job.key].counted is not None:
            groups.setdefault(kind(job), []).append(job)
    print("| jobs | n | measured, CPU time | expected | measured / expected | measured / expected from the first job |")
    print("|---|---:|---:|---:|---:|---:|")
    whole, before, after = 0.0, 0.0, 0.0
    for name, group in groups.items():
        took = sum(seconds[job.key] for job in group)
        told = sum(guessed[job.key].counted or 0.0 for job in group)
        known = [job for job in group if shared[job.key].share is not None]
        later = sum(shared[job.key].seconds or 0.0 for job in known)
        second = f"{sum(seconds[job.key] for job in known) / later:.2f} (n {len(known)})" if known else "-"
        whole, before = whole + took, before + told
        after += sum(shared[job.key].counted or 0.0 for job in group)
        print(f"| {name} | {len(group)} | {took:.1f} s | {told:.1f} s | {took / told:.2f} | {second} |")
    print(
        f"| all | {sum(map(len, groups.values()))} | {whole:.1f} s | {before:.1f} s | {whole / before:.2f} |"
        f" {whole / after:.2f} |"
    )
    rest = [seconds[job.key] for job in jobs if job.key in seconds and guessed[job.key].counted is None]
    if rest:
        print(f"jobs without network passes: {len(rest)}, {sum(rest):.1f} s, median {median(rest):.2f} s")


def main() -> None:
    """Calibrate, guess, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", default="digits")
    parser.add_argument("--profile")
    parser.add_argument("--results", type=Path, help="Keep the results here.")
    asked = parser.parse_args()
    restart_with_settings(OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        os.environ["BENCH_RESULTS"] = str(asked.results or Path(folder) / "results")
        bench = Bench.here()
        made = measure_speed(bench, asked.suite, asked.profile, "cpu", lambda network: print(f"measuring {network}"))
        plan = bench.plan(asked.suite, profile=asked.profile)
        jobs = list({job.key: job for job in plan.jobs}.values())
        blind = Pricing(plan, bench.store, Rates(), made)
        guessed = {job.key: blind.estimate(job) for job in jobs}
        watch = Watch()
        bench.run(asked.suite, profile=asked.profile, device="cpu", in_process=True, display=watch)
        # Of what has run, only the shares of the attacks' first jobs.
        told = Pricing(plan, bench.store, replace(Rates.from_store(bench.store, "cpu"), _exact={}), made)
        show(jobs, watch.seconds, guessed, {job.key: told.estimate(job) for job in jobs})


if __name__ == "__main__":
    main()
