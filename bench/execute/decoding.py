"""Decodes pictures before jobs hold a GPU, which would wait for a CPU meanwhile."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from bench.data.job import JobData, OodData, job_ood
from bench.data.registry import find_dataset, own_path
from bench.errors import BenchError
from bench.execute.devices import cpu_cores
from bench.execute.executors import hidden_main
from bench.execute.worker import end_with_parent, free_stdout
from bench.plan.jobs import Job
from bench.plan.tasks import PredictTask

__all__ = ["decode", "pictures_of"]


def pictures_of(jobs: Iterable[Job]) -> list[tuple[JobData, OodData]]:
    """The sets of pictures that jobs read, each once, with the in-distribution data whose shape they take."""
    found: dict[tuple[str, str], tuple[JobData, OodData]] = {}
    for job in jobs:
        if isinstance(job.task, PredictTask) and job.task.ood is not None and job.task.absent is None:
            inside, outside = job.task.train.data, job.task.ood
            found.setdefault((inside.dataset, outside.dataset), (inside, outside))
    return [both for both in found.values() if _decodes(both[1].dataset)]


def _decodes(dataset: str) -> bool:
    """Whether a data set keeps decoded pictures; a user's own data, which planning has read, do not."""
    nowhere = Path("/")
    with contextlib.suppress(BenchError, ValueError, OSError):  # a set that vanished: the job will say so
        return own_path(dataset, nowhere) is None and find_dataset(dataset, nowhere).decoded
    return False


def decode(jobs: Iterable[Job], data_root: Path, tell: Callable[[list[str]], None] = lambda _: None) -> None:
    """Decode the sets of pictures that jobs read into the user's cache, each in a process, as many at once as there are
    cores.

    Sets that are there are only read. Errors are left to the jobs, which report them.

    Args:
        jobs: The jobs.
        data_root: Where data sets are.
        tell: Called with the names of the sets before the first is read, if there are any.
    """
    wanted = pictures_of(jobs)
    if wanted:
        tell(list(dict.fromkeys(outside.dataset for _, outside in wanted)))
    # Not forked from the server of the workers: it would begin without what `Pool` has it import.
    context = multiprocessing.get_context("spawn")
    running: list[SpawnProcess] = []
    try:
        while wanted or running:
            while wanted and len(running) < cpu_cores():
                process = context.Process(target=_load, args=(*wanted.pop(0), data_root), daemon=True)
                with hidden_main():
                    process.start()
                running.append(process)
            wait([process.sentinel for process in running])
            running = [process for process in running if process.is_alive()]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _load(inside: JobData, outside: OodData, data_root: Path) -> None:
    end_with_parent()
    free_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends this process
    with contextlib.suppress(Exception):
        job_ood(inside, outside, data_root)
