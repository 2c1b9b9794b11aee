"""The engine `slurm`: jobs go into the queue of a cluster through submitit; results come from the store.

What is submitted stays in the queue when the command ends. ``cluster/<key>.json`` beside the store remembers the id in
the queue, so that no later command submits a job that still waits there.
"""

from __future__ import annotations

import contextlib
import pickle
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.errors import PrerequisiteError, first_line
from bench.execute import submitted
from bench.execute.attempt import Attempt, outcome_of
from bench.execute.context import Site
from bench.execute.engines import Request
from bench.execute.executors import Ended, Executor, signals_later
from bench.execute.kinds import uses_network
from bench.execute.queue import ACTIVE, Queue, cancel
from bench.plan.jobs import Job
from bench.store import Store

if TYPE_CHECKING:
    from bench.suite.cluster import Asked, Cluster

__all__ = ["SLURM", "Slurm", "SlurmEngine"]

LOOK = 1.0
"""Least seconds between two looks at the store: a shared file system feels every one of them."""
SETTLE = 15.0
"""Seconds for which the files of a job that left the queue may be on their way from one machine to another."""
WARNING = 90
"""Seconds between the announcement that the time of a job is over and its end; a worker needs up to 60 to save."""
_TAIL = 3


@dataclass
class _Submitted:
    """A job in the queue; ``gone`` is when it was first seen to have left it."""

    job: Job
    number: str
    gone: float | None = None


class Slurm:
    """Runs jobs through Slurm; an array for the jobs of one kind that are ready at the same time.

    Args:
        site: Where jobs run; each job gets the device that its kind asks for in place of the site's.
        cluster: What jobs ask for, and how many may be in the queue.
        cpu: Whether no job may use a GPU.

    Raises:
        PrerequisiteError: submitit or Slurm is not installed.
    """

    def __init__(self, site: Site, cluster: Cluster, *, cpu: bool = False, workers: int | None = None) -> None:
        _require()
        self._site, self._cluster, self._cpu = site, cluster, cpu
        self.capacity = min(cluster.jobs, workers or cluster.jobs)
        self._store = Store(site.store)
        self._folder = submitted.folder_of(site.store)
        self._queue = Queue(cluster.poll)
        self._new: list[Job] = []
        self._queued: dict[str, _Submitted] = {}
        self._refused: list[Ended] = []
        self._over: list[str] = []
        self._submitted = False

    def start(self, job: Job) -> None:
        """Keep a job for the next call of ``ended``, which submits all that were kept."""
        self._new.append(job)

    def ended(self, timeout: float) -> list[Ended]:
        """Submit what was started; return the jobs that ended since the last call. Looks at most once a second."""
        if self._new:
            self._submit()
        else:
            time.sleep(max(timeout, LOOK))
        refused, self._refused = self._refused, []
        return [*refused, *self._look()]

    def stop(self) -> None:
        """Leave the jobs in the queue: the next command takes their results."""
        self._new.clear()
        for number in self._over:  # what a node wrote after its result was taken
            self._remove_files(number)

    def left(self) -> list[str]:
        """Ids of the jobs that are still in the queue."""
        states = self._queue.states(now=True)
        return [one.number for one in self._queued.values() if states is None or states.get(one.number) in ACTIVE]

    def cancel(self) -> None:
        """Cancel the jobs that are in the queue."""
        cancel(self.left())
        for key in self._queued:
            submitted.forget(self._site.store, key)
        self._queued.clear()

    def _submit(self) -> None:
        """Submit the new jobs, by what they ask for, without those that an earlier command submitted and that wait."""
        new, self._new = self._new, []
        waves: dict[tuple[str, Asked], list[Job]] = {}
        for job in new:
            number = self._remembered(job)
            if number is not None:
                self._queued[job.key] = _Submitted(job, number)
                continue
            asked = self._cluster.asked(job.kind, network=uses_network(job.task))
            waves.setdefault((job.kind, asked.model_copy(update={"gpus": None}) if self._cpu else asked), []).append(
                job
            )
        for (kind, asked), jobs in waves.items():
            with signals_later():  # whatever is in the queue is remembered
                self._submit_wave(kind, asked, jobs)

    def _remembered(self, job: Job) -> str | None:
        """Id of a job that an earlier command submitted, if it is still in the queue."""
        number = submitted.number_of(self._site.store, job.key)
        if number is None:
            return None
        states = self._queue.states(now=True)
        return number if states is None or states.get(number) in ACTIVE else None

    def _submit_wave(self, kind: str, asked: Asked, jobs: list[Job]) -> None:
        site = replace(self._site, device="cuda:0" if asked.gpus else "cpu")
        attempts = {job.key: Attempt(job, site) for job in jobs}
        for job in list(jobs):
            try:
                pickle.dumps(attempts[job.key])
            except Exception as error:  # pickling a plug-in's object may raise anything
                self._refused.append(Ended(job, f"the job cannot be sent to another machine: {first_line(error)}"))
                jobs.remove(job)
        if not jobs:
            return
        self._store.root.mkdir(parents=True, exist_ok=True)
        executor = self._executor(kind, asked)
        try:
            with executor.batch():
                sent = [executor.submit(attempts[job.key]) for job in jobs]
            numbers = [str(one.job_id) for one in sent]
        except Exception as error:  # submitit raises several classes; the message is that of sbatch
            said = " ".join(str(error).split())
            if not self._submitted:
                raise PrerequisiteError(f"Slurm takes no job: {said}; see [cluster] of bench.toml") from None
            self._refused += [Ended(job, f"Slurm did not take the job: {said}") for job in jobs]
            return
        self._submitted = True
        for job, number in zip(jobs, numbers, strict=True):
            self._queued[job.key] = _Submitted(job, number)
            submitted.remember(self._site.store, job, number)

    def _executor(self, kind: str, asked: Asked) -> Any:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(self._folder, max_num_timeout=self._cluster.requeues)
        named = {"partition": asked.partition, "account": asked.account, "qos": asked.qos, "mem": asked.memory}
        executor.update_parameters(
            job_name=f"bench-{kind}",
            time=asked.time or self._cluster.time,
            cpus_per_task=asked.cpus or 1,
            gpus_per_node=asked.gpus or None,
            constraint=asked.constraint,
            setup=list(asked.setup or ()),
            array_parallelism=self.capacity,
            signal_delay_s=WARNING,
            wckey=None,
            additional_parameters={"requeue": True},
            **{name: value for name, value in named.items() if value is not None},
        )
        return executor

    def _look(self) -> list[Ended]:
        states = self._queue.states()  # before the store: what has left the queue by then has written its result
        return [found for one in list(self._queued.values()) if (found := self._found(one, states)) is not None]

    def _found(self, one: _Submitted, states: dict[str, str] | None) -> Ended | None:
        """How a job ended; None if it has not."""
        if self._store.folder(one.job.key).record() is not None:
            return self._forgotten(one, Ended(one.job))
        state = "unknown" if states is None else states.get(one.number, "gone")
        if states is None or state in ACTIVE:
            one.gone = None
            return None
        one.gone = one.gone or time.monotonic()
        outcome = outcome_of(self._folder, one.number)
        if state.startswith("CANCELLED"):
            return self._forgotten(one, Ended(one.job, f"its Slurm job {one.number} was cancelled"))
        if outcome is not None:
            return self._forgotten(one, Ended(one.job, outcome.died, held=outcome.held))
        if time.monotonic() - one.gone < SETTLE:
            return None
        return self._forgotten(one, Ended(one.job, self._how_it_died(one.number, state)))

    def _how_it_died(self, number: str, state: str) -> str:
        how = "left the queue" if state == "gone" else f"ended as {state}"
        for path in (self._folder / f"{number}_0_log.err", self._folder / f"{number}_0_log.out"):
            with contextlib.suppress(OSError):
                lines = [
                    line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
                ]
                if lines:
                    return f"its Slurm job {number} {how}: {' | '.join(lines[-_TAIL:])} ({path})"
        return (
            f"its Slurm job {number} {how} without a result and without a log; does the node see {self._folder}? "
            f"`scontrol show job {number}` tells for some minutes"
        )

    def _forgotten(self, one: _Submitted, ended: Ended) -> Ended:
        """Forget a job that ended, and the files about it unless it died."""
        del self._queued[one.job.key]
        submitted.forget(self._site.store, one.job.key)
        if ended.died is None:
            self._over.append(one.number)
            self._remove_files(one.number)
        return ended

    def _remove_files(self, number: str) -> None:
        array = number.partition("_")[0]
        waiting = any(other.number.partition("_")[0] == array for other in self._queued.values())
        for pattern in (f"{number}_*", *(() if waiting else (f"{array}_submission.sh",))):
            for path in self._folder.glob(pattern):
                path.unlink(missing_ok=True)


def _require() -> None:
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError:
        raise PrerequisiteError('--on slurm needs submitit: pip install "gmmc-bench[slurm]"') from None
    for program in ("sbatch", "srun", "squeue"):
        if shutil.which(program) is None:
            raise PrerequisiteError(
                f"no program {program}: --on slurm works where jobs are submitted, such as a login node"
            )


class SlurmEngine:
    """The queue of a cluster."""

    name = "slurm"

    def slots(self, request: Request) -> list[str]:
        """As many as may be in the queue; the device is that of training.

        Raises:
            PrerequisiteError: A GPU was asked for, and the settings ask for none.
            RequestError: Fewer than one worker.
        """
        from bench.errors import RequestError

        cluster = request.cluster
        if request.workers is not None and request.workers < 1:
            raise RequestError(f"--workers is {request.workers}, expected at least 1")
        gpu = any(cluster.asked(kind).gpus for kind in ("train", "predict", "evaluate"))
        if request.device == "cuda" and not gpu:
            raise PrerequisiteError("--device cuda: [cluster] of bench.toml asks for no GPU; set gpus = 1 there")
        device = "cuda:0" if cluster.asked("train").gpus and request.device != "cpu" else "cpu"
        return [device] * min(cluster.jobs, request.workers or cluster.jobs)

    def executor(self, site: Site, devices: list[str], request: Request) -> Executor:
        """The queue."""
        return Slurm(site, request.cluster, cpu=request.device == "cpu", workers=len(devices))


SLURM = SlurmEngine()
