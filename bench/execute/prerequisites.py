"""Files with published checksums that jobs need: verified once, before any of the jobs runs. Light.

Loaders verify the bytes that they parse again. The check before the run gives one message in place of a failure in
every job. Verified files are remembered in the results folder by path, size, times and inode, so that an unchanged file
is read only once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.data.registry import DATASETS
from bench.data.spec import DatasetSpec
from bench.errors import DamagedFileError, PrerequisiteError, RequestError
from bench.evaluate.base import EVALUATIONS, Evaluation
from bench.files.atomic import write_json
from bench.files.checksums import Checksum
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask, PredictTask
from bench.store.checked import mark

__all__ = ["FILE", "Needed", "Verified", "needed", "of_dataset", "require"]

FILE = "verified.json"
"""Name of the file in the results folder; after its deletion the files are read once more."""

Progress = Callable[[Checksum, int, int], None]
"""Called before a file is read, with the file, its number from 0 and the number of files."""


@dataclass(frozen=True)
class Needed:
    """A file with a checksum, and the name of the component that needs it, in words."""

    file: Checksum
    owner: str


class Verified:
    """The files that were verified before, so that they need not be read again.

    Args:
        path: File with this list. If it is missing, damaged or cannot be written, files are read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[int]] = {}
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and isinstance(found.get("files"), dict):
                self._known = dict(found["files"])

    def holds(self, file: Checksum) -> bool:
        """Whether a file was verified against this digest and has the same size, times and inode as then."""
        looks = _looks(file.path)
        return looks is not None and self._known.get(_name(file)) == looks

    def verify(self, file: Checksum) -> str | None:
        """Read a file and return what is wrong with it, as the end of a sentence that begins with its name, or None.

        The result is stored only by ``keep``.
        """
        before = _looks(file.path)
        try:
            file.read()
        except DamagedFileError as error:
            self._known.pop(_name(file), None)
            return error.problem
        if before is not None and before == _looks(file.path):
            self._known[_name(file)] = before
        return None

    def keep(self) -> None:
        """Store the list of verified files."""
        with contextlib.suppress(OSError):
            write_json(self._path, {"schema": 1, "files": dict(sorted(self._known.items()))})


def of_dataset(spec: DatasetSpec, data_root: Path) -> list[Needed]:
    """The files of a data set that have published checksums; empty if the data set is missing."""
    if spec.find(data_root) is not None:
        return []
    return [Needed(file, f"data set {spec.name!r}") for file in spec.checksums(data_root)]


def needed(jobs: Iterable[Job], data_root: Path, weights_root: Path) -> list[Needed]:
    """The files with published checksums that jobs read, without duplicates.

    A user's own data are not among them: planning has just read them.

    Args:
        jobs: The jobs to run.
        data_root: Where data sets are.
        weights_root: Where foreign weights are.
    """
    sets: dict[str, None] = {}
    found: dict[Checksum, Needed] = {}
    for job in jobs:
        evaluation = _evaluation(job)
        if job.kind != "evaluate" or evaluation is None or evaluation.reads_model:
            sets[job.task.train.data.dataset] = None
        if isinstance(job.task, PredictTask) and job.task.ood is not None:
            sets[job.task.ood.dataset] = None
        if isinstance(job.task, EvaluateTask):
            sets |= dict.fromkeys(job.task.sets)
        if evaluation is not None:
            for file in evaluation.checksums(weights_root):
                found.setdefault(file, Needed(file, f"evaluation {evaluation.name!r}"))
    for name in sets:
        if "/" not in name and not name.endswith(".npz"):
            for one in of_dataset(DATASETS.get(name), data_root):
                found.setdefault(one.file, one)
    return list(found.values())


def require(files: Iterable[Needed], verified: Verified, progress: Progress | None = None) -> None:
    """Verify the files that were not verified before.

    Raises:
        PrerequisiteError: Files are damaged; the message names each with its expected and found checksum.
    """
    todo = [one for one in files if not verified.holds(one.file)]
    damaged = []
    for place, one in enumerate(todo):
        if progress is not None:
            progress(one.file, place, len(todo))
        problem = verified.verify(one.file)
        if problem is not None:
            damaged.append(f"{one.file.path} {problem} ({one.owner})")
    if todo:
        verified.keep()
    if damaged:
        shown = "\n  ".join(damaged)
        raise PrerequisiteError(
            f"nothing was run: what this run needs is damaged\n  {shown}\n"
            "get the files again; or remove them, and what needs them is n/a"
        )


def _evaluation(job: Job) -> Evaluation | None:
    """The evaluation of an evaluate job; None for other jobs and for an unknown evaluation, which the job reports."""
    if not isinstance(job.task, EvaluateTask):
        return None
    try:
        return EVALUATIONS.get(job.task.evaluation)
    except RequestError:
        return None


def _name(file: Checksum) -> str:
    return f"{file.path.absolute()} {file.algorithm} {file.digest} {'packed' if file.packed else 'plain'}"


def _looks(path: Path) -> list[int] | None:
    """What changes when a file is replaced, as it is stored; None if the file cannot be reached."""
    try:
        return list(mark(path))
    except OSError:
        return None
