"""Runs the jobs of a plan in order of their inputs. A failing job does not stop the others.

Several runs may share a store, on one machine or on several. A job that another run has locked waits: this run takes
its result when it exists, and runs the job itself if the other run ends without a result.

A job that runs out of memory beside others runs once more, alone, when no other job is left that could run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bench.errors import tells_of_memory
from bench.execute.displays import Display, Summary, guarded
from bench.execute.executors import PERHAPS_MEMORY, Ended, Executor, Selective
from bench.execute.states import Status, job_states, own_status, passed_on, ready
from bench.plan.jobs import Job, Plan
from bench.store import Record, Store

__all__ = ["by_urgency", "run_plan", "to_do"]

POLL = 0.25
TRIES = 3
"""How often a job runs again because an input was lost while it ran."""


def run_plan(
    plan: Plan,
    store: Store,
    executor: Callable[[], Executor],
    display: Display,
    before: Callable[[list[Job]], None] = lambda _: None,
) -> Summary:
    """Run the jobs that are not settled yet.

    Args:
        plan: The jobs.
        store: Where results are read and written.
        executor: Makes the executor; called only if there are jobs to run.
        display: Told of every event; if it raises, the run continues without it.
        before: Called once with the jobs that have to run, if there are any, before the first starts; its exceptions
            end the run.
    """
    began = time.monotonic()
    display = guarded(display)
    states = job_states(plan, store)
    todo = to_do(plan, states)
    summary = Summary(states)
    if todo:
        before(todo)
    display.begin(plan, states, todo)
    if todo:
        _run(plan, store, executor(), display, summary, todo)
    summary.seconds = time.monotonic() - began
    display.end(summary)
    return summary


def to_do(plan: Plan, states: Mapping[str, Status]) -> list[Job]:
    """Jobs to run: all without a valid result, but predictions that are missing only if a job to run reads them."""
    wanted: set[str] = set()
    todo: dict[str, Job] = {}
    for job in reversed(plan.jobs):
        state = states[job.key].state
        if states[job.key].settled or state == "n/a":
            continue
        if job.kind != "predict" or job.key in wanted or state == "damaged":
            wanted.update(job.inputs)
            todo[job.key] = job  # of several jobs with one key the first
    return list(todo.values())[::-1]


def _run(plan: Plan, store: Store, executor: Executor, display: Display, summary: Summary, todo: list[Job]) -> None:
    work = _Work(plan, store, executor, display, summary)
    for job in todo:
        if summary.states[job.key].state in ("failed", "damaged"):
            summary.states[job.key] = Status("pending")
    work.waiting = {job.key: job for job in by_urgency(todo)}
    try:
        while work.waiting or work.running:
            work.begin()
            work.collect()
            display.tick({key: store.folder(key).progress() or {} for key in work.running})
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        executor.stop()
    if summary.interrupted:
        summary.states.update(job_states(plan, store))


@dataclass
class _Work:
    """The jobs of a run that are left to do.

    Attributes:
        waiting: Jobs by key that have not started.
        running: Jobs by key that this run is at work on.
        held: Keys of waiting jobs that another run is at work on.
        tries: By key, how often a job started again because an input was lost.
        alone: Keys of jobs that ran out of memory beside others: they run again, with no other job at the same time.
    """

    plan: Plan
    store: Store
    executor: Executor
    display: Display
    summary: Summary
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Start the jobs that are ready, settle those that cannot run, and take results that another run finished."""
        states = self.summary.states
        for job in list(self.waiting.values()):
            blocked = passed_on(job, states)
            if blocked is not None:
                del self.waiting[job.key]
                self._settle(job, blocked, None)
            elif ready(job, states) and self._has_room(job):
                self._begin(job)

    def _has_room(self, job: Job) -> bool:
        if job.key in self.alone or self.alone & self.running.keys():
            return not self.running
        if len(self.running) >= self.executor.capacity:
            return False
        return not isinstance(self.executor, Selective) or self.executor.admits(job)

    def _begin(self, job: Job) -> None:
        folder = self.store.folder(job.key)
        if folder.locked():
            self._hold(job)
            return
        self.held.discard(job.key)
        del self.waiting[job.key]
        now = own_status(job, self.store)
        if now.settled:  # another run has finished the job since this one looked
            self._settle(job, now, folder.record())
            return
        self.running[job.key] = job
        self.summary.states[job.key] = Status("running")
        self.display.started(job)
        self.executor.start(job)

    def _hold(self, job: Job) -> None:
        if job.key not in self.held:
            self.held.add(job.key)
            self.display.held(job, self.store.folder(job.key).holder())

    def collect(self) -> None:
        """Take the results of jobs that ended."""
        for ended in self.executor.ended(POLL):
            job = self.running.pop(ended.job.key)
            if ended.held:  # another run took the lock first, and may have finished the job since
                self.summary.states[job.key] = Status("pending")
                self.waiting[job.key] = job
                if self.store.folder(job.key).locked():
                    self._hold(job)
                continue
            status = _outcome(job, self.store, ended.died)
            if status.state == "failed" and (self._inputs_anew(job) or self._without_company(ended)):
                continue
            self.summary.ran.append(job)
            self._settle(job, status, self.store.folder(job.key).record())

    def _without_company(self, ended: Ended) -> bool:
        """Queue a job that ran out of memory beside others to run once more, alone; whether it was queued."""
        job = ended.job
        if not ended.shared or job.key in self.alone or not _out_of_memory(job, self.store, ended.died):
            return False
        self.alone.add(job.key)
        self.summary.states[job.key] = Status("pending")
        self._add([job])
        return True

    def _settle(self, job: Job, status: Status, record: Record | None) -> None:
        self.summary.states[job.key] = status
        self.display.ended(job, status, record)
        if job.kind == "train" and status.state in ("done", "diverged"):
            begun = {*self.running, *(done.key for done in self.summary.ran)}
            self._add(_outdated(self.plan, self.store, self.summary.states, self.waiting, begun))

    def _inputs_anew(self, job: Job) -> bool:
        """Queue a failed job again if an input is missing or damaged, after these inputs; whether it was queued."""
        now = job_states(self.plan, self.store)
        lost = {key for key in job.inputs if key in now and not now[key].settled and now[key].state != "failed"}
        if not lost or self.tries.get(job.key, 0) >= TRIES:
            return False
        self.tries[job.key] = self.tries.get(job.key, 0) + 1
        # An input of a lost input may be lost, too.
        for other in reversed(self.plan.jobs):
            if other.key in lost:
                lost.update(k for k in other.inputs if k in now and now[k].state in ("damaged", "stale", "pending"))
        again = {other.key: other for other in self.plan.jobs if other.key in lost and other.key not in self.running}
        for key in (*again, job.key):
            self.summary.states[key] = Status("pending")
        self._add([*(other for key, other in again.items() if key not in self.waiting), job])
        return True

    def _add(self, jobs: list[Job]) -> None:
        if jobs:
            self.display.added(jobs)
        self.waiting.update((job.key, job) for job in jobs)


def _outdated(
    plan: Plan, store: Store, states: dict[str, Status], waiting: Mapping[str, Job], begun: set[str]
) -> list[Job]:
    """Jobs whose results were made with other weights than training has just left, and predictions that they read.

    A result that is older than the weights counts as done until training ends: as a rule training gives the same bits
    again, and then no other job has to run.

    Args:
        plan: The jobs.
        store: Where results are.
        states: State of every job by key; updated here.
        waiting: The jobs that wait, by key.
        begun: Keys of the jobs that run or have run.
    """
    now = job_states(plan, store)
    found: dict[str, Job] = {}
    for job in reversed(plan.jobs):
        if job.key in waiting or job.key in begun:
            continue
        if states[job.key].state == "done" and now[job.key].state in ("stale", "damaged", "diverged"):
            states[job.key] = now[job.key]
        readers = (*waiting.values(), *found.values())
        wanted = job.kind != "predict" or any(job.key in reader.inputs for reader in readers)
        absent = job.kind == "predict" and states[job.key].state in ("pending", "failed")
        if wanted and (absent or states[job.key].state in ("stale", "damaged")):
            states[job.key] = Status("pending")
            found[job.key] = job
    return list(found.values())[::-1]


def by_urgency(todo: Iterable[Job]) -> list[Job]:
    """Training first, the longest at the beginning, so that it does not run alone at the end; then the other jobs in
    their order.
    """
    order = {"train": 0, "predict": 1, "evaluate": 1}
    return sorted(todo, key=lambda job: (order[job.kind], -job.passes if job.kind == "train" else 0.0))


def _out_of_memory(job: Job, store: Store, died: str | None) -> bool:
    """Whether a job failed for want of memory: an exception said so, or the system killed its worker."""
    if died is not None:
        return PERHAPS_MEMORY in died
    error = store.folder(job.key).error() or {}
    return tells_of_memory(str(error.get("type", "")), str(error.get("message", "")))


def _outcome(job: Job, store: Store, died: str | None) -> Status:
    folder = store.folder(job.key)
    record = folder.record()
    if record is not None:
        if record.diverged:
            return Status("diverged", record.reason or "")
        return Status("done")
    error = folder.error()
    if died is None and error is not None:
        return Status("failed", f"{error['type']}: {error['message']}")
    # The worker could not write the error itself.
    reason = died or "the worker ended without a result and without an error"
    # If not even this can be written, the other jobs still run.
    with contextlib.suppress(OSError), folder.lock(wait=False) as own:
        if own:
            folder.fail({"job": job.id, "type": "WorkerDied", "message": reason, "traceback": ""})
    return Status("failed", reason)
