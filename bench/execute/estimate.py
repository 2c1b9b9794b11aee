"""Expected seconds of jobs and of a run, from earlier runs on the same store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.execute.times import Kind, Took, finished_jobs, kind_of
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask
from bench.store import Record, Store

__all__ = ["Clock", "Rates", "number_in"]

_Attack = tuple[str, str, str]

ALIKE = 4.0
"""Jobs whose passes differ by up to this factor count as equally large."""


@dataclass
class Rates:
    """Seconds by kind of job, network and data; an unknown time is None, never 0.

    A job of a few passes takes the time in which it starts, and not that of its passes: a job is therefore compared
    with those of about as many passes, `ALIKE`, if there are any.
    """

    _exact: dict[Kind, list[tuple[float, float]]] = field(default_factory=dict)
    _first: dict[_Attack, tuple[str, str, str]] = field(default_factory=dict)
    _took: dict[str, float] = field(default_factory=dict, repr=False, compare=False)
    _known: dict[tuple[Kind, float], float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_store(cls, store: Store, device: str) -> Rates:
        """Rates of finished jobs on the same kind of device."""
        rates, kinds = cls(), (device.partition(":")[0], "none")
        for took in finished_jobs(store):
            rates._took[took.key] = took.seconds
            if took.device.partition(":")[0] in kinds:
                rates._add(took)
        return rates

    def learn(self, record: Record) -> None:
        """Add the rate of a finished job."""
        self._add(Took.of(record))

    def _add(self, took: Took) -> None:
        # Jobs that only read predictions have no passes.
        self._exact.setdefault(took.like, []).append((took.passes or 1.0, took.seconds))
        self._known.clear()
        if took.kind == "evaluate" and took.passes:
            attack = took.what, took.dataset, took.argument
            found = took.finished, took.key, took.job
            self._first[attack] = min(found, self._first.get(attack, found))

    def first(self, job: Job) -> tuple[str, str] | None:
        """Key and id of the first finished job with the evaluation, data set and part of a job, of any model."""
        if not isinstance(job.task, EvaluateTask):
            return None
        found = self._first.get((job.task.evaluation, job.task.train.data.dataset, job.argument))
        return None if found is None else found[1:]

    def seconds(self, job: Job) -> float | None:
        """Expected seconds on one worker, or None if there was no such job yet."""
        kind, passes = kind_of(job), job.passes or 1.0
        if kind not in self._exact:
            return None
        if (kind, passes) not in self._known:
            found = self._exact[kind]
            like = [one for one in found if passes / ALIKE <= one[0] <= passes * ALIKE]
            self._known[kind, passes] = median(seconds / size for size, seconds in like or found) * passes
        return self._known[kind, passes]

    def smaller(self, job: Job) -> tuple[float, float] | None:
        """Passes and seconds of the largest of the like jobs if all have far fewer passes than the job; else None."""
        found = self._exact.get(kind_of(job), [])
        return max(found) if found and max(found)[0] < job.passes / ALIKE else None

    def took(self, job: Job) -> float | None:
        """The seconds that a job itself took, on whatever device, if it was in the store."""
        return self._took.get(job.key)

    def total(self, jobs: Iterable[Job]) -> float | None:
        """Expected seconds of all jobs one after the other; None if any is unknown."""
        parts = [self.seconds(job) for job in jobs]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


class Clock:
    """Estimates the time left from the durations of earlier runs and of the finished jobs of this one.

    Args:
        rates: Durations of earlier runs.
        workers: How many jobs run at once.

    Attributes:
        total: Number of jobs of the run.
    """

    def __init__(self, rates: Rates, workers: int) -> None:
        self._rates, self._workers = rates, workers
        self._left: dict[str, Job] = {}
        self.total = 0

    def begin(self, todo: list[Job]) -> None:
        """Start with the jobs to run."""
        self._left = {job.key: job for job in todo}
        self.total = len(todo)

    def added(self, jobs: list[Job]) -> None:
        """Add jobs that have to run, too, or again."""
        self.total += sum(job.key not in self._left for job in jobs)
        self._left.update((job.key, job) for job in jobs)

    def ended(self, job: Job, record: Record | None) -> None:
        """Take note of a job that is over, and of its rate."""
        self._left.pop(job.key, None)
        if record is not None:
            self._rates.learn(record)

    @property
    def done(self) -> int:
        """Number of jobs that are over."""
        return self.total - len(self._left)

    def left(self, running: Mapping[str, Mapping[str, Any]]) -> float | None:
        """Estimated seconds left, or None while the duration of some job is unknown."""
        total = 0.0
        for key, job in self._left.items():
            said = running.get(key, {})
            done, whole, began = (number_in(said, name) for name in ("done", "total", "began"))
            if done and whole and began and 0 < done <= whole and job.kind == "train":
                total += max(time.time() - began, 0.0) * (whole - done) / done
                continue
            seconds = self._rates.seconds(job)
            if seconds is None:
                return None
            total += seconds
        return total / self._workers


def number_in(said: Mapping[str, Any], name: str) -> float | None:
    """A number from a progress report, or None if the value is no number: the file may be damaged."""
    value = said.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
