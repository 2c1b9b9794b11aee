"""What a job will cost in seconds, where earlier runs on this store tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.plan.jobs import Job
from bench.store import Store

__all__ = ["Rates"]

_Kind = tuple[str, str, str, str]


@dataclass
class Rates:
    """Seconds per network pass by kind of job, network and data; unknown is None, never 0."""

    _exact: dict[_Kind, list[float]] = field(default_factory=dict)

    @classmethod
    def from_store(cls, store: Store, device: str) -> Rates:
        """Rates of finished jobs on the same kind of device."""
        rates = cls()
        for folder in store.folders():
            record = folder.record()
            if record is None:
                continue
            used = str(record.get("provenance", {}).get("device", ""))
            if used.partition(":")[0] in (device.partition(":")[0], "none"):
                rates.learn(record)
        return rates

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take a finished job into account."""
        seconds = float(record.get("seconds", 0.0))
        # Jobs that only read predictions have no passes: for them the time itself is the rate.
        passes = float(record.get("passes") or 1.0)
        self._exact.setdefault(_kind_of_record(record), []).append(seconds / passes)

    def seconds(self, job: Job) -> float | None:
        """Expected seconds on one worker, or None if no earlier run tells."""
        known = self._exact.get(_kind_of_job(job))
        return None if not known else median(known) * (job.passes or 1.0)

    def total(self, jobs: Iterable[Job]) -> float | None:
        """Expected seconds of all jobs one after the other; None if any is unknown."""
        parts = [self.seconds(job) for job in jobs]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


def _kind_of_record(record: Mapping[str, Any]) -> _Kind:
    what = str(record.get("evaluation_kind") or record.get("family"))
    return str(record["kind"]), what, str(record.get("backbone")), str(record.get("dataset"))


def _kind_of_job(job: Job) -> _Kind:
    what = str(job.spec.get("evaluation") or job.spec["family"])
    return job.kind, what, str(job.spec["backbone"]), str(job.spec["data"]["dataset"])
