"""The store: one folder per job, content-addressed by the job's key, written atomically.

The state of a job is derived from its files; no status is stored: ``record.json`` = done, ``error.json`` = failed,
a held lock = running, none of these = pending. ``record.json`` is written last, so the files that it names are
complete. A lock is an operating-system lock: it ends with the process that holds it, even if that process is killed.
A lease beside it (`bench.store.lease`) speaks where such locks say nothing across machines.

A record holds a digest of itself and of every file that belongs to the result. Every reader checks these files against
their digests. A result with a missing or changed file is *damaged*: it counts as no result, and the job runs again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from bench.errors import DamagedFileError
from bench.files.atomic import json_bytes, write_atomically, write_json
from bench.keys import canonical, file_digest
from bench.store import lease
from bench.store.checked import DIGEST, checked_record, examined, mark, own_digest, read_json, read_seals, remembered
from bench.store.records import SCHEMA, PlannedJob, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    *("HISTORY", "ITEMS", "JOURNAL", "LOG", "OUTPUTS", "OWN_FILES", "STATE", "WEIGHTS"),
    *("JobFolder", "State", "Store"),
]

State = Literal["done", "diverged", "failed", "running", "pending"]

RECORD, ERROR, LOCK, CLAIM, LOG, JOB, PROGRESS, CHECKED = (
    "record.json",
    "error.json",
    "lock",
    "claim",
    "log.txt",
    "job.json",
    "progress.json",
    "checked.json",
)
WEIGHTS, STATE, HISTORY = "weights.safetensors", "state.safetensors", "history.json"
"""Files of training: the selected weights, the state of the sampler, and the history."""
OUTPUTS, ITEMS = "outputs.npz", "items.npz"
"""Arrays of predictions, and of evaluations."""
GLANCE = 0.1
"""Seconds after which a held lock means a process at work: a process that only looks holds it for less."""
JOURNAL = "journal"
"""Folder with the partial work of a job, so that a killed job can continue; removed when the job is done."""
OWN_FILES = frozenset(
    {RECORD, ERROR, LOCK, CLAIM, LOG, JOB, PROGRESS, CHECKED, WEIGHTS, STATE, HISTORY, OUTPUTS, ITEMS, JOURNAL}
)
"""File names that the harness itself uses in job folders, without those of checkpoints."""


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold: whole numbers in JSON may be larger."""
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest


def _artefacts(record: Record) -> dict[str, str]:
    if record.schema == 1:  # such records of training hold the digest of the weights alone
        return {WEIGHTS: record.weights} if record.weights else {}
    return dict(record.artefacts)


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

    def record(self, *, remember: bool = True) -> Record | None:
        """The record of the job, or None if there is none or it is not valid (see ``damage``).

        Args:
            remember: Keep it in memory, for who asks again while its file does not change.
        """
        path = f"{self.path}/{RECORD}"
        try:
            marked = mark(path)
        except OSError:
            return None
        found = remembered(path, marked)
        if found is None:
            found = checked_record(path, marked, self._beside().get(RECORD), remember=remember)
        return found.record

    def _beside(self) -> dict[str, Any]:
        """What earlier looks found: the seal of the record, and the marks of the other files of the result."""
        return read_seals(f"{self.path}/{CHECKED}")

    def record_json(self) -> dict[str, Any] | None:
        """The record as it is stored, including fields that this version does not know, for printing."""
        content = read_json(self.path / RECORD) if self.record() is not None else None
        return None if content is None else dict(json.loads(canonical(content)))

    def artefacts(self) -> dict[str, str]:
        """SHA-256 by name of the files that belong to the result."""
        record = self.record()
        return {} if record is None else _artefacts(record)

    def damage(self, *, thorough: bool = False) -> str | None:
        """The damaged file and what is wrong with it; None if the result is intact or there is no result.

        Arguments and errors are those of ``examine``.
        """
        return self.examine(thorough=thorough)[1]

    def examine(self, *, thorough: bool = False) -> tuple[Record | None, str | None]:
        """The record, as ``record`` returns it, and what is damaged.

        A file is hashed if its size, times or inode changed since it was last hashed.

        Args:
            thorough: Hash every file.

        Returns:
            The record; and the damaged file with what is wrong with it, None if the result is intact or there is none.

        Raises:
            PermissionError: This process may not read the store.
        """
        path = f"{self.path}/{RECORD}"
        try:
            marked = mark(path)
        except (FileNotFoundError, NotADirectoryError):
            return None, None
        except PermissionError:
            raise  # a file without read permission is not damaged
        except OSError as error:
            return None, f"{path} cannot be read: {error.strerror}"
        before = {} if thorough else self._beside()
        record, problem, seal = checked_record(path, marked, before.get(RECORD), anew=thorough)
        if record is None:
            return None, f"{path} {problem}"
        now: dict[str, Any] = {} if seal is None else {RECORD: seal}
        for name, sha256 in _artefacts(record).items():
            file = f"{self.path}/{name}"
            try:
                now[name] = list(mark(file))
                if before.get(name) != now[name] and file_digest(Path(file)) != sha256:
                    return record, f"{file} does not have the content that was recorded (another SHA-256)"
            except FileNotFoundError:
                return record, f"{file} is missing"
            except PermissionError:
                raise
            except OSError as error:
                return record, f"{file} cannot be read: {error.strerror}"
        if now != before:
            with contextlib.suppress(OSError):  # in a read-only store files are hashed each time
                write_json(self.path / CHECKED, now)
        return record, None

    def distrust(self) -> None:
        """Make the next call of ``damage`` hash every file, after one of them could not be read."""
        with contextlib.suppress(OSError):
            (self.path / CHECKED).unlink(missing_ok=True)

    def error(self) -> dict[str, Any] | None:
        """The last failure, with ``type`` and ``message`` as texts; None if there is none or it cannot be read."""
        found = read_json(self.path / ERROR)
        if found is None or not all(isinstance(found.get(name), str) for name in ("type", "message")):
            return None
        return found

    def job(self) -> PlannedJob | None:
        """The job as it was planned, written when work on it began."""
        found = read_json(self.path / JOB)
        return None if found is None else PlannedJob.from_json(found)

    def progress(self) -> dict[str, Any] | None:
        """The last progress report of a running job: texts and finite numbers by name."""
        found = read_json(self.path / PROGRESS)
        if found is None:
            return None
        return {name: v for name, v in found.items() if isinstance(v, str) or _is_finite(v)}

    def read(self, name: str) -> bytes:
        """The content of a file that belongs to the result.

        Raises:
            DamagedFileError: The file is missing or does not have the recorded digest.
        """
        path = self.path / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedFileError(path, f"cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.artefacts().get(name):
            raise DamagedFileError(path, "does not have the content that was recorded (another SHA-256)")
        return content

    def arrays(
        self, name: str, *, sha256: str | None = None, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The arrays of a file that belongs to the result: ``OUTPUTS`` of predictions, ``ITEMS`` of evaluations.

        Args:
            name: Name of the file.
            sha256: Expected digest of the file; default: the recorded one.
            names: Only the arrays with these names, as far as there are any; None: all.

        Raises:
            DamagedFileError: The file is missing or does not have the expected digest.
        """
        from bench.files.arrays import load_arrays

        return load_arrays(self.path / name, sha256=sha256 or self.artefacts().get(name), names=names)

    def history(self) -> list[dict[str, Any]]:
        """The facts that training logged, one entry per epoch.

        Raises:
            DamagedFileError: The file is missing or does not have the recorded digest.
        """
        found: list[dict[str, Any]] = json.loads(self.read(HISTORY))
        return found

    def log(self) -> str:
        """The output of the job; empty if there is no log."""
        try:
            return (self.path / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def state(self) -> State:
        """The state of the job, derived from its files."""
        record = self.record()
        if record is not None:
            return "diverged" if record.diverged else "done"
        if self.locked():
            return "running"
        return "failed" if self.error() is not None else "pending"

    def locked(self) -> bool:
        """Whether a process, of this machine or of another, is at work on the job right now."""
        try:
            with (self.path / LOCK).open("r+") as file:
                # Shared: two processes that only look do not take each other for a worker.
                locks = lease.flock(file, fcntl.LOCK_SH)
        except BlockingIOError:
            return True
        except OSError:  # no such file, or no permission to write it
            return False
        return lease.held(self.path / LOCK, locks=locks)

    def holder(self) -> str:
        """The process that holds the lock, in words, as it is written in the lock file."""
        found = lease.facts(self.path / LOCK)
        if not {"pid", "host"} <= found.keys():
            return "another process"
        return f"process {found['pid']} on {found['host']}"

    @contextlib.contextmanager
    def lock(self, *, wait: bool = True, poll: float = 0.2) -> Iterator[bool]:
        """Hold the job's lock; yield False if another process holds it and ``wait`` is False."""
        # A process that only looks holds the lock for a moment.
        patience = time.monotonic() + GLANCE
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                opened = (self.path / LOCK).open("a+")
            except FileNotFoundError:  # another process has just removed the folder
                continue
            with opened as file:
                if self._try(file):
                    if not self._is_lock(file):
                        continue
                    token = self._lease(file)
                    if token is not None:
                        try:
                            with lease.beating(self.path / LOCK, token):
                                yield True
                        finally:
                            lease.flock(file, fcntl.LOCK_UN)
                        return
            if not wait and time.monotonic() > patience:
                yield False
                return
            time.sleep(poll if wait else GLANCE / 10)

    def _lease(self, file: IO[str]) -> str | None:
        """Become the holder by the lease, too; None if another machine is or becomes it. The caller has the lock."""
        path = self.path / LOCK
        try:
            with lease.claimed(self.path / CLAIM) as alone:
                if not alone or lease.held(path, locks=lease.flock(file, fcntl.LOCK_EX)):
                    return None
                return lease.write(path)
        except FileNotFoundError:  # another machine has just removed the folder
            return None

    def _is_lock(self, file: IO[str]) -> bool:
        """Whether an open file is still the lock: the folder may have been removed while this process waited."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), (self.path / LOCK).stat())
        except FileNotFoundError:
            return False

    @staticmethod
    def _try(file: IO[str]) -> bool:
        try:
            lease.flock(file, fcntl.LOCK_EX)
        except BlockingIOError:
            return False
        return True

    def fail(self, error: Mapping[str, Any]) -> None:
        """Write ``error.json``."""
        write_json(self.path / ERROR, dict(error))

    def finish(self, record: Record, artefacts: Iterable[str] = ()) -> None:
        """Write the record, after all other files, and remove a former failure.

        Args:
            record: Record of the job; its schema, its key and the digests of its files are set here.
            artefacts: Names of the files that belong to the result.
        """
        names = sorted(set(artefacts))
        digests = {name: file_digest(self.path / name) for name in names}
        whole = replace(record, schema=SCHEMA, key=self.key, artefacts=digests)
        # The digest is of the record as it will be read: keys are texts, tuples are lists.
        plain = json.loads(json.dumps(whole.as_json(), allow_nan=False))
        content = json_bytes({**plain, DIGEST: own_digest(plain)})
        seal = examined(content, f"{self.path}/{RECORD}").seal
        seen: dict[str, Any] = {} if seal is None else {RECORD: seal}
        write_json(self.path / CHECKED, seen | {name: list(mark(self.path / name)) for name in names})
        write_atomically(self.path / RECORD, content)
        for name in (ERROR, PROGRESS):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / JOURNAL, ignore_errors=True)

    def forget(self) -> None:
        """Remove the result and any checkpoint, so that the job runs again. The caller holds the lock."""
        # The record goes first: without it nothing else counts as a result.
        (self.path / RECORD).unlink(missing_ok=True)
        for item in self.path.iterdir() if self.path.is_dir() else ():
            if item.name not in (LOCK, CLAIM):
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove files that a killed process left half written. The caller holds the lock."""
        for path in self.path.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes on disk; files that are deleted meanwhile do not count."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(folder, name).lstat().st_size
        return total


def _folders_in(path: Path) -> list[str]:
    """Names of the folders in a folder, in order; empty if it is none."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


@lru_cache(maxsize=20_000)  # a table asks for the folder of each job several times, and a path costs as much as a look
def _folder(root: Path, key: str) -> JobFolder:
    return JobFolder(Path(root, key[:2], key))  # at once, which takes less time than one after the other


@dataclass(frozen=True)
class Store:
    """All job folders below ``<results>/store``."""

    root: Path

    def folder(self, key: str) -> JobFolder:
        """The folder of a key, existing or not."""
        return _folder(self.root, key)

    def folders(self) -> Iterator[JobFolder]:
        """Every job folder that exists; other folders in the store are ignored."""
        yield from map(self.folder, self.job_keys())

    def job_keys(self, beginning: str = "") -> Iterator[str]:
        """The keys of the job folders that exist, in order.

        Args:
            beginning: Only keys that begin with these letters, at least two if any.
        """
        prefixes = [beginning[:2]] if beginning else _folders_in(self.root)
        for prefix in prefixes:
            for name in _folders_in(self.root / prefix):
                if name[:2] == prefix and name.startswith(beginning):
                    yield name

    def marks(self) -> Iterator[tuple[str, list[int]]]:
        """The key of every job with a record, in order, and size, times and inode of the record."""
        root = str(self.root)
        for key in self.job_keys():
            try:
                marked = mark(f"{root}/{key[:2]}/{key}/{RECORD}")
            except OSError:
                continue
            yield key, list(marked)

    def containing(self, path: Path) -> JobFolder | None:
        """The job folder that contains a file, or None if the file lies outside of the job folders."""
        try:
            parts = path.absolute().relative_to(self.root.absolute()).parts
        except ValueError:
            return None
        return self.folder(parts[1]) if len(parts) > 2 and parts[1][:2] == parts[0] else None

    def remove(self, folder: JobFolder) -> bool:
        """Delete a folder unless a process is at work on it; whether it was deleted."""
        with folder.lock(wait=False) as held:
            if not held:
                return False
            (folder.path / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder.path)
        return True
