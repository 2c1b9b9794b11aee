"""The store: one folder per job, content-addressed by the job's key, written atomically.

State is derived from files, never from a status that somebody had to write: ``record.json`` = done,
``error.json`` = failed, a held lock = running, nothing = pending. ``record.json`` is written last, so what it
names is whole. A lock is an operating-system lock: it ends with the process that held it, however that ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from bench.atomic import write_atomically, write_json

__all__ = ["JobFolder", "State", "Store", "write_atomically", "write_json"]

State = Literal["done", "diverged", "failed", "running", "pending"]

RECORD, ERROR, LOCK, LOG, JOB, PROGRESS = (
    "record.json",
    "error.json",
    "lock",
    "log.txt",
    "job.json",
    "progress.json",
)
JOURNAL = "journal"
"""Folder of what a job keeps for the case that it is killed; gone when it is done."""


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, json.JSONDecodeError):
        return None  # damaged by something other than us: as good as absent, the job runs again
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class JobFolder:
    """The output folder of one job."""

    path: Path

    @property
    def key(self) -> str:
        """The job's key."""
        return self.path.name

    def file(self, name: str) -> Path:
        """Path of an artefact."""
        return self.path / name

    def record(self) -> dict[str, Any] | None:
        """The record that the job left, or None."""
        return _read_json(self.path / RECORD)

    def error(self) -> dict[str, Any] | None:
        """The last failure, or None."""
        return _read_json(self.path / ERROR)

    def job(self) -> dict[str, Any] | None:
        """The job as it was planned, written when work on it began."""
        return _read_json(self.path / JOB)

    def progress(self) -> dict[str, Any] | None:
        """What a running job last said of itself."""
        return _read_json(self.path / PROGRESS)

    def log(self) -> str:
        """What the job printed."""
        try:
            return (self.path / LOG).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def state(self) -> State:
        """What the files say."""
        record = self.record()
        if record is not None:
            return "diverged" if record.get("status") == "diverged" else "done"
        if self.locked():
            return "running"
        return "failed" if self.error() is not None else "pending"

    def locked(self) -> bool:
        """Whether some process works on the job right now."""
        try:
            with (self.path / LOCK).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(file, fcntl.LOCK_UN)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextlib.contextmanager
    def lock(self, *, wait: bool = True, poll: float = 0.2) -> Iterator[bool]:
        """Hold the job's lock; yields False if it is held elsewhere and ``wait`` is False."""
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / LOCK).open("a+") as file:
                while not self._try(file):
                    if not wait:
                        yield False
                        return
                    time.sleep(poll)
                if not self._is_lock(file):
                    continue
                file.seek(0)
                file.truncate()
                json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}, file)
                file.flush()
                try:
                    yield True
                finally:
                    fcntl.flock(file, fcntl.LOCK_UN)
                return

    def _is_lock(self, file: IO[str]) -> bool:
        """Whether an open file is still the lock: the folder may have been removed while this process waited."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), (self.path / LOCK).stat())
        except FileNotFoundError:
            return False

    @staticmethod
    def _try(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fail(self, error: Mapping[str, Any]) -> None:
        """Leave a failure."""
        write_json(self.path / ERROR, dict(error))

    def finish(self, record: Mapping[str, Any]) -> None:
        """Leave the result: the last file written; a former failure no longer speaks."""
        write_json(self.path / RECORD, dict(record))
        for name in (ERROR, PROGRESS):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / JOURNAL, ignore_errors=True)

    def forget(self) -> None:
        """Remove the result, so that the job runs again; a checkpoint goes too."""
        # The record goes first: without it nothing else counts as a result.
        (self.path / RECORD).unlink(missing_ok=True)
        for item in self.path.iterdir() if self.path.is_dir() else ():
            if item.name != LOCK:
                shutil.rmtree(item) if item.is_dir() else item.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(item.stat().st_size for item in self.path.rglob("*") if item.is_file())


@dataclass(frozen=True)
class Store:
    """All job folders below ``<results>/store``."""

    root: Path

    def folder(self, key: str) -> JobFolder:
        """The folder of a key, existing or not."""
        return JobFolder(self.root / key[:2] / key)

    def folders(self) -> Iterator[JobFolder]:
        """Every folder that exists."""
        if self.root.is_dir():
            for prefix in sorted(self.root.iterdir()):
                if prefix.is_dir():
                    for path in sorted(prefix.iterdir()):
                        yield JobFolder(path)

    def remove(self, folder: JobFolder) -> bool:
        """Delete a folder unless some process works on it; whether it went."""
        with folder.lock(wait=False) as held:
            if not held:
                return False
            (folder.path / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder.path)
        return True
