"""The state of every job of a plan, derived from the store and the plan alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.execute.submitted import numbers
from bench.plan.jobs import Job, Plan
from bench.store import Record, Store

__all__ = ["JobState", "Status", "job_states", "own_status", "passed_on", "ready"]

_INPUT_FAILED = "an input failed: "

JobState = Literal["done", "diverged", "n/a", "failed", "running", "stale", "damaged", "pending"]


@dataclass(frozen=True)
class Status:
    """State of a job and, if it has no result, the reason; ``inherited`` if an input without a result kept it from
    running.
    """

    state: JobState
    reason: str = ""
    inherited: bool = field(default=False, compare=False)

    @property
    def settled(self) -> bool:
        """Whether the job need not run: it has a result, or cannot have one."""
        return self.state in ("done", "diverged", "n/a")

    @property
    def of_input(self) -> bool:
        """Whether an input failed, so that the job itself never ran."""
        return self.state == "failed" and self.reason.startswith(_INPUT_FAILED)


def job_states(plan: Plan, store: Store, *, thorough: bool = False) -> dict[str, Status]:
    """Status by key. Inputs come before the jobs that read them, so one pass suffices.

    Args:
        plan: The jobs.
        store: Where results are.
        thorough: Hash every file of every result, also files whose size and times have not changed.
    """
    states: dict[str, Status] = {}
    seen: dict[str, Record | None] = {}
    for job in plan.jobs:
        if job.key not in states:
            states[job.key] = _status(job, store, states, thorough, seen)
    for key, number in numbers(store.root).items():
        if key in states and states[key].state == "pending":
            states[key] = Status("pending", f"submitted to the queue as {number}")
    return states


def passed_on(job: Job, states: Mapping[str, Status]) -> Status | None:
    """The status of a job that follows from an input without a result; None if every input has or may get one."""
    found = [(key, states[key]) for key in job.inputs if key in states]
    for key, upstream in found:
        if upstream.state == "n/a" or (upstream.state == "diverged" and not _tolerated(job, upstream)):
            other = job.task.other(key)
            if other is not None:  # another model than the measured one diverged or is n/a
                return Status("n/a", f"{other}: {upstream.reason}", inherited=True)
            return replace(upstream, inherited=True)
    for key, upstream in found:
        if upstream.state == "failed":
            other, reason = job.task.other(key), upstream.reason.removeprefix(_INPUT_FAILED)
            return Status("failed", f"{_INPUT_FAILED}{reason if other is None else f'{other}: {reason}'}")
    return None


def _tolerated(job: Job, upstream: Status) -> bool:
    """Whether a job can read an input that diverged: its task tolerates divergence, and the input itself ran."""
    return job.task.tolerates_divergence and not upstream.inherited


def ready(job: Job, states: Mapping[str, Status]) -> bool:
    """Whether every input has the result that the job reads."""
    found = [states[key] for key in job.inputs if key in states]
    return all(
        upstream.state == "done" or (upstream.state == "diverged" and _tolerated(job, upstream)) for upstream in found
    )


def own_status(
    job: Job, store: Store, *, thorough: bool = False, seen: dict[str, Record | None] | None = None
) -> Status:
    """The status that follows from the job's own folder and the weights of its inputs, not from their states.

    Args:
        job: The job.
        store: Where results are.
        thorough: As in ``job_states``.
        seen: By key, the records that this pass over a plan has read, so that each is read once; the job's own is
            added.
    """
    seen = {} if seen is None else seen
    folder = store.folder(job.key)
    record, damage = folder.examine(thorough=thorough)
    seen[job.key] = record
    if damage is not None:
        return Status("running", damage) if folder.locked() else Status("damaged", damage)
    if record is None:
        state = folder.state()
        error = folder.error() if state == "failed" else None
        return Status(state, f"{error['type']}: {error['message']}" if error else "")
    if record.diverged:
        return Status("diverged", record.reason or "training diverged")
    if any(_changed(job, record, key, store, seen) for key in job.inputs):
        return Status("stale", "made with weights that the store no longer holds")
    return Status("done")


def _status(
    job: Job, store: Store, states: Mapping[str, Status], thorough: bool, seen: dict[str, Record | None]
) -> Status:
    if job.blocked:
        return Status("n/a", job.blocked)
    inherited = passed_on(job, states)
    if inherited is not None and inherited.state != "failed":
        return inherited
    own = own_status(job, store, thorough=thorough, seen=seen)
    return inherited if inherited is not None and own.state in ("pending", "failed") else own


def _changed(job: Job, record: Record, key: str, store: Store, seen: dict[str, Record | None]) -> bool:
    """Whether an input has other weights than those that the result was made with."""
    if key not in seen:
        seen[key] = store.folder(key).record()
    upstream = seen[key]
    now = None if upstream is None else upstream.weights
    if now is None:
        return False  # training has no result, or diverged: there are no weights that could have changed
    if key == job.task.train.key:
        return now != record.weights
    # The model that training started from, a judge, or another model of the suite.
    made_with = record.training.init_from if job.kind == "train" else record.measured.read.get(key)
    return made_with is not None and made_with != now
