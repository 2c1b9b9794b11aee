"""Which commands are at work on a results folder: what they refer to may not be deleted.

Each command holds the lock of a file of its own while it runs. The lock ends with the process, however that ended, so a
file whose lock nobody holds is a leftover.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Running", "announced", "running_commands"]

FOLDER = "running"


@dataclass(frozen=True)
class Running:
    """A command at work.

    Attributes:
        began: When, in seconds since the epoch.
        keys: Of the jobs of its plan.
        readable: Whether the file says all this: else the command protects everything.
    """

    began: float
    keys: frozenset[str]
    readable: bool = True


@contextlib.contextmanager
def announced(results: Path, keys: Iterable[str]) -> Iterator[None]:
    """Say that this process is at work on jobs, as long as the context lasts; sweep what killed commands left.

    Raises:
        OSError: The results folder cannot be written.
    """
    running_commands(results)
    folder = results / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    with path.open("x", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid(), "began": time.time(), "keys": sorted(set(keys))}, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running_commands(results: Path) -> list[Running]:
    """The commands at work; what killed ones left is removed."""
    found = []
    for path in sorted((results / FOLDER).glob("*.json")):
        with contextlib.suppress(FileNotFoundError), path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(_read(path, file.read()))
            else:
                path.unlink(missing_ok=True)
    return found


def _read(path: Path, text: str) -> Running:
    """What a command said of itself; one that is about to say it has just begun, and protects everything."""
    try:
        facts = json.loads(text)
        return Running(float(facts["began"]), frozenset(map(str, facts["keys"])))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Running(path.stat().st_mtime, frozenset(), readable=False)
