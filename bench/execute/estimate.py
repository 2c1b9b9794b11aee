"""Expected seconds of jobs, from earlier runs on the same store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask
from bench.store import Record, Store

__all__ = ["Rates"]

_Kind = tuple[str, str, str, str]


@dataclass
class Rates:
    """Seconds per network pass by kind of job, network and data; an unknown rate is None, never 0."""

    _exact: dict[_Kind, list[float]] = field(default_factory=dict)

    @classmethod
    def from_store(cls, store: Store, device: str) -> Rates:
        """Rates of finished jobs on the same kind of device."""
        rates = cls()
        for folder in store.folders():
            record = folder.record()
            if record is None:
                continue
            if record.provenance.device.partition(":")[0] in (device.partition(":")[0], "none"):
                rates.learn(record)
        return rates

    def learn(self, record: Record) -> None:
        """Add the rate of a finished job."""
        # Jobs that only read predictions have no passes: their rate is their duration.
        self._exact.setdefault(_kind_of_record(record), []).append(record.seconds / (record.passes or 1.0))

    def seconds(self, job: Job) -> float | None:
        """Expected seconds on one worker, or None if there was no such job yet."""
        known = self._exact.get(_kind_of_job(job))
        return None if not known else median(known) * (job.passes or 1.0)

    def total(self, jobs: Iterable[Job]) -> float | None:
        """Expected seconds of all jobs one after the other; None if any is unknown."""
        parts = [self.seconds(job) for job in jobs]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


def _kind_of_record(record: Record) -> _Kind:
    return record.kind, record.measured.kind or record.family, record.backbone, record.dataset


def _kind_of_job(job: Job) -> _Kind:
    train = job.task.train
    what = job.task.evaluation if isinstance(job.task, EvaluateTask) else train.model.family
    return job.kind, what, train.model.backbone, train.data.dataset
