"""Where a job is at work: the machine, the store, its folder, and how it says how far it is."""

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
"""Seconds between two reports of a job; reading the loss for one makes a GPU wait."""


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
"""Seconds of training or attacking that a kill may cost, unless an epoch or a batch is longer, or saving takes long:
15, or the variable ``BENCH_CHECKPOINT_SECONDS``; with 0 training saves after every epoch. It changes no number: what
goes on from a checkpoint is what would have been.
"""


@dataclass(frozen=True)
class Site:
    """Where and how jobs run: nothing here may change a number beyond what provenance records.

    Attributes:
        store: Root of the store.
        data: Data root.
        weights: Root of foreign weights.
        device: ``"cpu"`` or ``"cuda:<i>"``.
        command: What a person typed.
    """

    store: Path
    data: Path
    weights: Path
    device: str
    command: str


class Progress:
    """Writes what a job says of itself, at most so often."""

    def __init__(self, folder: JobFolder) -> None:
        self._path = folder.file(PROGRESS)
        self._began = time.time()
        self._last = 0.0

    def __call__(self, facts: Mapping[str, Any]) -> None:
        """Take texts and numbers by name."""
        now = time.monotonic()
        if now - self._last < PROGRESS_EVERY:
            return
        self._last = now
        plain = {k: (float(v) if hasattr(v, "item") else v) for k, v in facts.items()}
        # Not synced to disk: a report that a power cut or a full disk loses is no loss.
        temporary = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"began": self._began, **plain}), encoding="utf-8")
            temporary.replace(self._path)


@dataclass(frozen=True)
class Work:
    """A job at work.

    Attributes:
        site: Where.
        store: Of the inputs.
        folder: Of the job.
        progress: Takes what the job says of itself.
        record: What every record says; the job adds what it finds.
    """

    site: Site
    store: Store
    folder: JobFolder
    progress: Progress
    record: Record


Result = tuple[Record, list[str]]
"""The record with what the job found, and the names of the files that belong to the result."""
