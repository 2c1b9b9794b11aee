"""What finished jobs took, for all results of a store without reading them all each time.

A store of 100,000 results takes many seconds to read, and a plan needs a few facts of each. They are kept in a file
beside the store, each with size, times and inode of the record that it comes from, and hold while these are the same.
The file may be lost or deleted at any time; a result that it lacks is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.files.atomic import write_atomically
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask
from bench.store import Record, Store

__all__ = ["FILE", "WORTH", "Kind", "Took", "finished_jobs", "kind_of"]

Kind = tuple[str, str, str, str]
"""Jobs that take about the same: kind of job, evaluation or family, backbone, data set."""

FILE = "times.json"
"""Name of the file in the results folder: a line with the SHA-256 of the rest, then JSON."""
WORTH = 1_000
"""Number of records read anew from which the file is written again."""


class Took(NamedTuple):
    """What a finished job took, and what kind of job it was.

    Attributes:
        kind: ``"train"``, ``"predict"`` or ``"evaluate"``.
        what: Reference of the evaluation, else the family.
        backbone: Backbone of the model.
        dataset: The in-distribution data set.
        argument: The part of the evaluation.
        passes: Cost in network passes.
        seconds: Wall time.
        finished: Time of the end in UTC.
        job: Id of the job.
        device: Torch device, or ``"none"``.
        key: Key of the job.
        device_memory: Memory of the GPU in bytes; None on a CPU, as the next two.
        peak_memory: The most of it that the job held, in bytes.
        memory_share: The part of it that the job was allowed to plan with.
    """

    kind: str
    what: str
    backbone: str
    dataset: str
    argument: str
    passes: float
    seconds: float
    finished: str
    job: str
    device: str
    key: str
    device_memory: int | None = None
    peak_memory: int | None = None
    memory_share: float | None = None

    @property
    def like(self) -> Kind:
        """The jobs that take about the same."""
        return self.kind, self.what, self.backbone, self.dataset

    @classmethod
    def of(cls, record: Record) -> Took:
        """What a record says."""
        ran = record.provenance
        return cls(
            kind=record.kind,
            what=record.measured.kind or record.family,
            backbone=record.backbone,
            dataset=record.dataset,
            argument=record.argument,
            passes=record.passes,
            seconds=record.seconds,
            finished=record.finished,
            job=record.job,
            device=ran.device,
            key=record.key,
            device_memory=ran.device_memory,
            peak_memory=ran.peak_memory,
            memory_share=ran.memory_share,
        )


_FIELDS = Took._fields
"""What the file says of each job; another version may say other things."""


def kind_of(job: Job) -> Kind:
    """The jobs that take about as much as a job."""
    train = job.task.train
    what = job.task.evaluation if isinstance(job.task, EvaluateTask) else train.model.family
    return job.kind, what, train.model.backbone, train.data.dataset


def finished_jobs(store: Store, worth: int = WORTH) -> Iterator[Took]:
    """What every job with a valid record took, in the order of their keys.

    Args:
        store: The store.
        worth: Number of records read anew from which the file beside the store is written again.
    """
    path = store.root.parent / FILE
    known, read = _stored(path), 0
    for key, marked in store.marks():
        entry = known.get(key)
        if entry is None or entry[0] != marked:
            known.pop(key, None)
            record = store.folder(key).record(remember=False)
            if record is None:
                continue
            known[key], read = [marked, list(Took.of(record))], read + 1
            entry = known[key]
        yield Took._make(entry[1])
    if read >= worth:
        _keep(path, {key: known[key] for key in store.job_keys() if key in known})


def _stored(path: Path) -> dict[str, list[Any]]:
    """By key, the mark of a record and what its job took, as the last command left them; empty if that is damaged."""
    try:
        sha256, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if hashlib.sha256(content).hexdigest().encode() != sha256:
        return {}
    found = json.loads(content)
    return dict(found["jobs"]) if found["fields"] == list(_FIELDS) else {}


def _keep(path: Path, jobs: dict[str, list[Any]]) -> None:
    content = json.dumps({"fields": _FIELDS, "jobs": jobs}, ensure_ascii=True).encode()
    with contextlib.suppress(OSError):  # of a store that may not be written, records are read each time
        write_atomically(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
