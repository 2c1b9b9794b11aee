"""Runs the jobs of a plan in order of their inputs. One failing job does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.execute.executors import Executor
from bench.execute.guarded import guarded
from bench.execute.states import Status, job_states, passed_on, ready
from bench.jobs import Job, Plan
from bench.store import Store

__all__ = ["Display", "Summary", "run_plan"]

POLL = 0.25


class Display(Protocol):
    """Shows a run to a person."""

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """The run starts; ``todo`` are the jobs that have to run."""
        ...

    def added(self, jobs: list[Job]) -> None:
        """These jobs have to run, too: training left other weights than those that their results were made with."""
        ...

    def started(self, job: Job) -> None:
        """A job is at work."""
        ...

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """What running jobs (by key) last said of themselves."""
        ...

    def ended(self, job: Job, status: Status, record: Mapping[str, Any] | None) -> None:
        """A job has a result, or failed."""
        ...

    def end(self, summary: Summary) -> None:
        """The run is over."""
        ...


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        states: Status of every job of the plan by key.
        ran: Jobs that were run.
        seconds: Wall time.
        interrupted: Whether it was stopped before the end.
    """

    states: dict[str, Status]
    ran: list[Job] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        counts: dict[str, int] = {}
        for status in self.states.values():
            counts[status.state] = counts.get(status.state, 0) + 1
        return counts


def run_plan(
    plan: Plan,
    store: Store,
    executor: Callable[[], Executor],
    display: Display,
) -> Summary:
    """Run what is not settled yet.

    Args:
        plan: The jobs.
        store: Where results are and go.
        executor: Makes the executor; called only if there is something to run.
        display: Told of everything; if it raises, the run goes on without it.
    """
    began = time.monotonic()
    display = guarded(display)
    states = job_states(plan, store)
    todo = _todo(plan, states)
    summary = Summary(states)
    display.begin(plan, states, todo)
    if todo:
        _run(plan, store, executor(), display, summary, todo)
    summary.seconds = time.monotonic() - began
    display.end(summary)
    return summary


def _todo(plan: Plan, states: Mapping[str, Status]) -> list[Job]:
    """Jobs to run: results that are missing, and predictions only if something that is missing reads them."""
    wanted: set[str] = set()
    todo: dict[str, Job] = {}
    for job in reversed(plan.jobs):
        if states[job.key].settled or states[job.key].state == "n/a":
            continue
        if job.kind != "predict" or job.key in wanted:
            wanted.update(job.inputs)
            todo[job.key] = job  # of several jobs with one key the first
    return list(todo.values())[::-1]


def _run(plan: Plan, store: Store, executor: Executor, display: Display, summary: Summary, todo: list[Job]) -> None:
    states = summary.states
    for job in todo:
        if states[job.key].state == "failed":
            states[job.key] = Status("pending")
    waiting = {job.key: job for job in _by_urgency(todo)}
    running: dict[str, Job] = {}
    try:
        while waiting or running:
            for job in list(waiting.values()):
                blocked = passed_on(job, states)
                if blocked is not None:
                    states[job.key] = blocked
                    del waiting[job.key]
                    display.ended(job, blocked, None)
                elif len(running) < executor.capacity and ready(job, states):
                    del waiting[job.key]
                    if states[job.key].state == "stale":
                        store.folder(job.key).forget()
                    running[job.key] = job
                    states[job.key] = Status("running")
                    display.started(job)
                    executor.start(job)
            for ended in executor.ended(POLL):
                job = running.pop(ended.job.key)
                summary.ran.append(job)
                states[job.key] = _outcome(job, store, ended.died)
                display.ended(job, states[job.key], store.folder(job.key).record())
                if job.kind == "train":
                    late = _outdated(plan, store, states, waiting, {*running, *(done.key for done in summary.ran)})
                    if late:
                        display.added(late)
                    waiting.update((other.key, other) for other in late)
            display.tick({key: store.folder(key).progress() or {} for key in running})
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        executor.stop()
    if summary.interrupted:
        states.update(job_states(plan, store))


def _outdated(
    plan: Plan, store: Store, states: dict[str, Status], waiting: Mapping[str, Job], begun: set[str]
) -> list[Job]:
    """Jobs whose results were made with other weights than training has just left, and predictions that they read.

    A record that was there before the weights were counts as done until then: if training comes to the same bits,
    which is the rule, nothing else has to run.

    Args:
        plan: The jobs.
        store: Where results are.
        states: Of all jobs by key; brought up to date.
        waiting: The jobs that wait.
        begun: Keys of the jobs that run or have run.
    """
    now = job_states(plan, store)
    found: dict[str, Job] = {}
    for job in reversed(plan.jobs):
        if job.key in waiting or job.key in begun:
            continue
        if states[job.key].state == "done" and now[job.key].state in ("stale", "diverged"):
            states[job.key] = now[job.key]
        readers = (*waiting.values(), *found.values())
        wanted = job.kind != "predict" or any(job.key in reader.inputs for reader in readers)
        absent = job.kind == "predict" and states[job.key].state in ("pending", "failed")
        if wanted and (absent or states[job.key].state == "stale"):
            states[job.key] = Status("pending") if absent else states[job.key]
            found[job.key] = job
    return list(found.values())[::-1]


def _by_urgency(todo: list[Job]) -> list[Job]:
    """Long training first, so that the last worker is not left alone with it; then what has waited longest."""
    order = {"train": 0, "predict": 1, "evaluate": 1}
    return sorted(todo, key=lambda job: (order[job.kind], -job.passes if job.kind == "train" else 0.0))


def _outcome(job: Job, store: Store, died: str | None) -> Status:
    folder = store.folder(job.key)
    record = folder.record()
    if record is not None:
        if record.get("status") == "diverged":
            return Status("diverged", str(record.get("reason", "")))
        return Status("done")
    error = folder.error()
    if died is not None:
        # The worker could not say so itself.
        folder.fail({"job": job.id, "type": "WorkerDied", "message": died, "traceback": ""})
        return Status("failed", died)
    if error is not None:
        return Status("failed", f"{error['type']}: {error['message']}")
    return Status("failed", "the worker left no result")
