"""What runs on a node of a cluster: one job in a worker of its own, which is ended before the allocation is.

The worker is that of a local run (`bench.execute.executors.Pool`): the same environment, threads and signals, so the
same bits. How it ended is written beside the store, for the command that submitted the job or a later one.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.execute.context import Site
from bench.execute.executors import Pool
from bench.execute.submitted import folder_of
from bench.files.atomic import write_json
from bench.plan.jobs import Job
from bench.store import Store

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

__all__ = ["Attempt", "Outcome", "outcome_of"]

_USER = (signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Outcome:
    """How a worker ended, as in `bench.execute.executors.Ended`."""

    died: str | None
    held: bool


def outcome_of(folder: Path, number: str) -> Outcome | None:
    """How the worker of a submitted job ended; None if that is not known.

    Args:
        folder: The folder of the files about submitted jobs.
        number: Id in the queue.
    """
    try:
        found = json.loads((folder / f"{number}_ended.json").read_text(encoding="utf-8"))
        return Outcome(None if found["died"] is None else str(found["died"]), bool(found["held"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Attempt:
    """A job to run on another machine; it can be pickled, and submitit calls it there.

    Args:
        job: The job.
        site: Where it finds its inputs and writes its results, with the device as the node names it.
    """

    def __init__(self, job: Job, site: Site) -> None:
        self._job, self._site = job, site
        self._pool: Pool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}

    def __call__(self) -> None:
        """Run the job in a worker and wait until it ends.

        Raises:
            RuntimeError: The node does not see the store.
        """
        from submitit import JobEnvironment

        number, host, site = JobEnvironment().job_id, socket.gethostname(), self._site
        if not site.store.is_dir():
            raise RuntimeError(f"{host} does not see the store {site.store}: results must be on a shared file system")
        self._pool = Pool(site, [site.device])
        with _user_signals_later():
            self._pool.start(self._job)
        while not (ended := self._pool.ended(1.0)):
            pass
        died = ended[0].died
        if died is not None:
            died = f"{died}, on {host} (Slurm job {number})"
            self._fail(died)
        write_json(folder_of(site.store) / f"{number}_ended.json", {"died": died, "held": ended[0].held})

    def _fail(self, died: str) -> None:
        """Write that the worker died. Here its lock is free at once; elsewhere its lease has to expire."""
        folder = Store(self._site.store).folder(self._job.key)
        with contextlib.suppress(OSError), folder.lock(wait=False) as own:
            if own and folder.record() is None:
                folder.fail({"job": self._job.id, "type": "WorkerDied", "message": died, "traceback": ""})

    def checkpoint(self) -> DelayedSubmission:
        """End the worker, which saves a checkpoint if it trains, and say what runs when the job starts again.

        submitit calls this before the time is over and before a preemption.
        """
        from submitit.helpers import DelayedSubmission

        if self._pool is not None:
            self._pool.stop()
        return DelayedSubmission(Attempt(self._job, replace(self._site)))


@contextlib.contextmanager
def _user_signals_later() -> Iterator[None]:
    """Block the signals by which Slurm announces the end of an allocation. It sends them to every process: those that
    start meanwhile inherit the block, and are ended by ``checkpoint`` in good order.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _USER)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
