"""Where every job of a plan stands, told from the store and from the plan alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.plan.jobs import Job, Plan
from bench.store import Record, Store

__all__ = ["JobState", "Status", "job_states", "own_status", "passed_on", "ready"]

_INPUT_FAILED = "an input failed: "

JobState = Literal["done", "diverged", "n/a", "failed", "running", "stale", "damaged", "pending"]


@dataclass(frozen=True)
class Status:
    """State of a job and, where it has no result, why; ``inherited`` if it never ran because an input had none."""

    state: JobState
    reason: str = ""
    inherited: bool = field(default=False, compare=False)

    @property
    def settled(self) -> bool:
        """Whether running the plan would leave the job as it is."""
        return self.state in ("done", "diverged", "n/a")

    @property
    def of_input(self) -> bool:
        """Whether the failure is that of an input: the job itself never ran."""
        return self.state == "failed" and self.reason.startswith(_INPUT_FAILED)


def job_states(plan: Plan, store: Store, *, thorough: bool = False) -> dict[str, Status]:
    """Status by key. Inputs come before what reads them, so one pass tells all.

    Args:
        plan: The jobs.
        store: Where results are.
        thorough: Hash every file of every result, also those whose size and times are as they were.
    """
    states: dict[str, Status] = {}
    for job in plan.jobs:
        if job.key not in states:
            states[job.key] = _status(job, store, states, thorough)
    return states


def passed_on(job: Job, states: Mapping[str, Status]) -> Status | None:
    """The status that an input without a result gives to what reads it, or None if every input may still come."""
    found = [(key, states[key]) for key in job.inputs if key in states]
    for key, upstream in found:
        if upstream.state == "n/a" or (upstream.state == "diverged" and not _tolerated(job, upstream)):
            other = job.task.other(key)
            if other is not None:  # the model that the job measures did not diverge
                return Status("n/a", f"{other}: {upstream.reason}", inherited=True)
            return replace(upstream, inherited=True)
    for key, upstream in found:
        if upstream.state == "failed":
            other, reason = job.task.other(key), upstream.reason.removeprefix(_INPUT_FAILED)
            return Status("failed", f"{_INPUT_FAILED}{reason if other is None else f'{other}: {reason}'}")
    return None


def _tolerated(job: Job, upstream: Status) -> bool:
    """Whether a job can read an input that diverged: if it wants to, and if the input itself ran."""
    return job.task.tolerates_divergence and not upstream.inherited


def ready(job: Job, states: Mapping[str, Status]) -> bool:
    """Whether every input has left what the job reads."""
    found = [states[key] for key in job.inputs if key in states]
    return all(
        upstream.state == "done" or (upstream.state == "diverged" and _tolerated(job, upstream)) for upstream in found
    )


def own_status(job: Job, store: Store, *, thorough: bool = False) -> Status:
    """What the job's own folder says, whatever its inputs are."""
    folder = store.folder(job.key)
    damage = folder.damage(thorough=thorough)
    if damage is not None:
        return Status("running", damage) if folder.locked() else Status("damaged", damage)
    record = folder.record()
    if record is None:
        state = folder.state()
        error = folder.error() if state == "failed" else None
        return Status(state, f"{error['type']}: {error['message']}" if error else "")
    if record.diverged:
        return Status("diverged", record.reason or "training diverged")
    if any(_changed(job, record, key, store) for key in job.inputs):
        return Status("stale", "made with weights that the store no longer holds")
    return Status("done")


def _status(job: Job, store: Store, states: Mapping[str, Status], thorough: bool) -> Status:
    if job.blocked:
        return Status("n/a", job.blocked)
    inherited = passed_on(job, states)
    if inherited is not None and inherited.state != "failed":
        return inherited
    own = own_status(job, store, thorough=thorough)
    return inherited if inherited is not None and own.state in ("pending", "failed") else own


def _changed(job: Job, record: Record, key: str, store: Store) -> bool:
    """Whether an input has other weights than those that the result was made with."""
    upstream = store.folder(key).record()
    now = None if upstream is None else upstream.weights
    if now is None:
        return False  # not there, or diverged: there are no weights that could have changed
    if key == job.task.train.key:
        return now != record.weights
    # The model that training started from; a judge, another model that an attack went through.
    made_with = record.training.init_from if job.kind == "train" else record.measured.read.get(key)
    return made_with is not None and made_with != now
