"""What was submitted to the queue of a cluster and has not been collected: one file for each job, beside the store.

They lie on the file system that all machines share. So a later command does not submit a job again that still waits,
and `bench status` names its place in the queue.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from bench.files.atomic import write_json
from bench.plan.jobs import Job

__all__ = ["folder_of", "forget", "number_of", "numbers", "remember"]


def folder_of(store: Path) -> Path:
    """The folder of the files about submitted jobs, beside the root of a store."""
    return store.parent / "cluster"


def remember(store: Path, job: Job, number: str) -> None:
    """Keep the id of a job in the queue."""
    write_json(_file(store, job.key), {"job": job.id, "slurm": number, "submitted": time.time()})


def forget(store: Path, key: str) -> None:
    """Drop what is known of a job, if anything is."""
    _file(store, key).unlink(missing_ok=True)


def number_of(store: Path, key: str) -> str | None:
    """The id in the queue under which a job was submitted; None if it was not, or was collected."""
    try:
        return str(json.loads(_file(store, key).read_text(encoding="utf-8"))["slurm"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def numbers(store: Path) -> dict[str, str]:
    """The ids of all jobs that were submitted and not collected, by key."""
    found = {path.stem: number_of(store, path.stem) for path in folder_of(store).glob("*.json")}
    return {key: number for key, number in found.items() if number is not None}


def _file(store: Path, key: str) -> Path:
    return folder_of(store) / f"{key}.json"
