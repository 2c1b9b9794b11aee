"""The context of a running job: the machine, the store, the job's folder, and its progress reports."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import RequestError
from bench.store import JobFolder, Record, Store
from bench.store.folder import PROGRESS

__all__ = ["CHECKPOINT_EVERY", "Progress", "Site", "Work"]

PROGRESS_EVERY = 0.4
"""Least seconds between two progress reports of a job; reading the loss for a report makes a GPU wait."""


def _checkpoint_every() -> float:
    text = os.environ.get("BENCH_CHECKPOINT_SECONDS", "15")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RequestError(f"BENCH_CHECKPOINT_SECONDS={text}: expected seconds, such as 15")
    return seconds


CHECKPOINT_EVERY = _checkpoint_every()
"""Seconds of training or attacking that a kill may cost, unless an epoch or a batch is longer, or saving takes long.

The variable ``BENCH_CHECKPOINT_SECONDS`` sets it; the default is 15. With 0 training saves after every epoch. It
changes no number: a job that continues from a checkpoint has the same result.
"""


@dataclass(frozen=True)
class Site:
    """Where and how jobs run. No field may change a number, except for what provenance records.

    Attributes:
        store: Root of the store.
        data: Data root.
        weights: Root of foreign weights.
        device: ``"cpu"`` or ``"cuda:<i>"``.
        command: The command that the user typed.
        share: The part in (0, 1] of the device's memory that the job may fill; less than 1 if jobs share a GPU.
    """

    store: Path
    data: Path
    weights: Path
    device: str
    command: str
    share: float = 1.0


class Progress:
    """Writes the progress reports of a job, at most one every ``PROGRESS_EVERY`` seconds."""

    def __init__(self, folder: JobFolder) -> None:
        self._path = folder.file(PROGRESS)
        self._began = time.time()
        self._last = 0.0

    def __call__(self, facts: Mapping[str, Any]) -> None:
        """Report texts and numbers by name."""
        now = time.monotonic()
        if now - self._last < PROGRESS_EVERY:
            return
        self._last = now
        plain = {k: (float(v) if hasattr(v, "item") else v) for k, v in facts.items()}
        # Not synced to disk: a power cut or a full disk may lose a report.
        temporary = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"began": self._began, **plain}), encoding="utf-8")
            temporary.replace(self._path)


@dataclass(frozen=True)
class Work:
    """A running job.

    Attributes:
        site: Where the job runs.
        store: Store of the inputs.
        folder: Folder of the job.
        progress: Takes the job's progress reports.
        record: The fields that every record has; the job adds its result.
    """

    site: Site
    store: Store
    folder: JobFolder
    progress: Progress
    record: Record


Result = tuple[Record, list[str]]
"""The record with the job's result, and the names of the files that belong to it."""
