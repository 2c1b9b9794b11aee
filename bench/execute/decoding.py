"""Decodes pictures before jobs hold a GPU, which would wait for a CPU meanwhile."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.data.job import JobData, OodData, job_ood
from bench.data.registry import find_dataset
from bench.errors import BenchError
from bench.execute.devices import cpu_cores
from bench.execute.executors import hidden_main
from bench.plan.jobs import Job
from bench.plan.tasks import PredictTask

__all__ = ["decode", "pictures_of"]


def pictures_of(jobs: Iterable[Job]) -> list[tuple[JobData, OodData]]:
    """The sets of pictures that jobs read, each once, with the in-distribution data whose shape they take."""
    found: dict[tuple[str, str], tuple[JobData, OodData]] = {}
    for job in jobs:
        if isinstance(job.task, PredictTask) and job.task.ood is not None:
            inside, outside = job.task.train.data, job.task.ood
            with contextlib.suppress(BenchError):  # a set that vanished: the job will say so
                if find_dataset(outside.dataset, Path("/")).decoded:
                    found.setdefault((inside.dataset, outside.dataset), (inside, outside))
    return list(found.values())


def decode(jobs: Iterable[Job], data_root: Path) -> None:
    """Decode the sets of pictures that jobs read into the user's cache, beside each other in processes.

    Sets that are there are only read. Errors are left to the jobs, which report them.
    """
    wanted = pictures_of(jobs)
    if not wanted:
        return
    workers = min(len(wanted), cpu_cores())
    # Not the server that workers are forked from: it would begin without what `Pool` has it import.
    with hidden_main(), ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(_load, inside, outside, data_root) for inside, outside in wanted]:
            done.exception()


def _load(inside: JobData, outside: OodData, data_root: Path) -> None:
    job_ood(inside, outside, data_root)
