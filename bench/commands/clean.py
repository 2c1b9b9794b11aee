"""Maintenance of a machine: what is installed and found, and which results and files may be deleted."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench import runs as remembered
from bench.commands.data import INCEPTION, published_states
from bench.data.decoded import decoded_folder
from bench.errors import BenchError, SuiteError
from bench.execute.devices import cpu_cores, gpu_count
from bench.execute.prerequisites import Progress
from bench.runs import running_commands
from bench.store import JobFolder
from bench.suite.document import read
from bench.suite.settings import find_profile, suite_folders
from bench.train.checkpoint_files import files_of, remove_orphans

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["Leftover", "examine", "orphaned", "remove", "remove_orphaned", "unreferenced"]

_PACKAGES = (
    "torch",
    "torchvision",
    "torchattacks",
    "pytorch-fid",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
)


@dataclass(frozen=True)
class Leftover:
    """Files of a job that may be deleted: a result that no suite refers to, or files that no checkpoint needs."""

    folder: JobFolder
    name: str
    size: int


def unreferenced(bench: Bench, keep: Sequence[str]) -> list[Leftover]:
    """Results in the store that no suite refers to, with or without any profile, and that no running command uses.

    Args:
        bench: Settings and store.
        keep: Further suites, by path or name.

    Raises:
        BenchError: A suite, a profile or the file about the last run cannot be read. The results that it refers to are
            unknown, so none may be called unreferenced.
    """
    commands = running_commands(bench.settings.results)
    if not all(command.readable for command in commands):
        raise BenchError("a command that has just begun does not say yet which results it refers to; try again")
    wanted = _referred_to(bench, keep).union(*(command.keys for command in commands))
    oldest = min((command.began for command in commands), default=None)
    found = []
    for folder in bench.store.folders():
        if folder.key in wanted or folder.locked() or (oldest is not None and _changed(folder) >= oldest):
            continue
        found.append(Leftover(folder, _name(folder), folder.size()))
    return found


def _referred_to(bench: Bench, keep: Sequence[str]) -> set[str]:
    """Keys of all jobs of the suites in the suite folders, of ``keep``, of the suite last run and of stored plans."""
    folders = suite_folders(bench.settings)
    pairs: dict[tuple[str, str | None], bool] = {}
    profiles = [str(path) for folder in folders for path in sorted((folder / "profiles").glob("*.toml"))]
    suites = [str(path) for folder in folders for path in sorted(folder.glob("*.toml"))] + list(keep)
    if bench.has_run:
        last, profile = bench.last()
        suites.append(last)
        profiles += [profile] if profile else []
    for suite in suites:
        pairs[suite, None] = True
        pairs.update(((suite, profile), False) for profile in profiles)
    wanted: set[str] = set()
    for (suite, overlay), must in pairs.items():
        try:
            wanted.update(bench.plan(suite, profile=overlay).keys)
        except SuiteError:
            # A profile that a suite cannot take was never run with it; each is also read without the other.
            if must:
                raise
    for overlay in dict.fromkeys(profiles):
        read(find_profile(overlay, bench.settings))
    # A suite elsewhere that was run here keeps the results of its last plan as long as its file exists.
    for plan in remembered.plans(bench.settings.results):
        if plan.file.is_file():
            wanted.update(plan.jobs)
            wanted.update(plan.features)
    return wanted


def _changed(folder: JobFolder) -> float:
    """The time of the last write to a file in a folder, in seconds since the epoch."""
    newest = 0.0
    for path in (folder.path, *folder.path.iterdir()):
        with contextlib.suppress(OSError):
            newest = max(newest, path.stat().st_mtime)
    return newest


def _name(folder: JobFolder) -> str:
    """The name of a job for users, from its files."""
    record, planned = folder.record(), folder.job()
    return (record.job if record is not None else "") or (planned.id if planned is not None else "") or "unknown job"


def remove(bench: Bench, leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Delete leftovers and return those that were deleted. Results that a command has begun to use meanwhile stay, and
    so do running jobs.
    """
    commands = running_commands(bench.settings.results)
    wanted = frozenset[str]().union(*(command.keys for command in commands))
    safe = [item for item in leftovers if item.folder.key not in wanted]
    if not all(command.readable for command in commands):
        return []
    return [item for item in safe if bench.store.remove(item.folder)]


def orphaned(bench: Bench) -> list[Leftover]:
    """Files in the folders of jobs that none of their checkpoints needs, left by kills.

    A job that continues training deletes them itself.
    """
    found = []
    for folder in bench.store.folders():
        files = files_of(folder.path).orphans
        if files and not folder.locked():
            found.append(Leftover(folder, _name(folder), _size(files)))
    return found


def remove_orphaned(leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Delete the files of ``orphaned`` and return the leftovers that were deleted; a job that began meanwhile keeps its
    files.
    """
    gone = []
    for item in leftovers:
        with item.folder.lock(wait=False) as held:
            if held:
                remove_orphans(item.folder.path)
                gone.append(item)
    return gone


def examine(bench: Bench, *, verify: bool = False, progress: Progress | None = None) -> dict[str, dict[str, str]]:
    """Facts about this machine by section, each a mapping from name to text.

    Args:
        bench: Settings and store.
        verify: Read every file with a published checksum, also files that were verified before.
        progress: Called before each such file is read.
    """
    settings = bench.settings
    states = published_states(bench, verify=verify, progress=progress)
    return {
        "versions": {name: _version(name) for name in ("gmmc-bench", *_PACKAGES)},
        "devices": {"CPU cores": str(cpu_cores()), "CUDA GPUs": str(gpu_count())},
        "folders": {
            "project": str(settings.home),
            "data": f"{settings.data} ({settings.sources['data']})",
            "results": f"{settings.results} ({settings.sources['results']}), {_space(bench)}",
            "checkpoints": _checkpoints(bench),
            "weights": f"{settings.weights} ({settings.sources['weights']})",
            "decoded pictures": f"{decoded_folder()}, {_size(decoded_folder().glob('*')) / 1e6:.1f} MB;"
            " may be deleted at any time",
        },
        "data sets": {state.name: state.text for state in states if state.name != INCEPTION},
        "weights": {"Inception (FID, IS)": next(state.text for state in states if state.name == INCEPTION)},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _space(bench: Bench) -> str:
    used = sum(folder.size() for folder in bench.store.folders())
    home = next(path for path in (bench.settings.results, *bench.settings.results.parents) if path.exists())
    return f"{used / 1e6:.1f} MB used by the store, {shutil.disk_usage(home).free / 1e9:.1f} GB free"


def _checkpoints(bench: Bench) -> str:
    """The size of the checkpoints of unfinished training, in words."""
    every = [files_of(folder.path) for folder in bench.store.folders()]
    jobs = sum(bool(files.checkpoints) for files in every)
    whole, rows, orphans = (
        sum(_size(getattr(files, kind)) for files in every) / 1e6 for kind in ("checkpoints", "segments", "orphans")
    )
    text = f"{whole:.1f} MB for {jobs} jobs, and {rows:.1f} MB in segments of shared rows"
    return text + (f"; {orphans:.1f} MB being written, or left by a kill: see bench clean" if orphans else "")


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a job at work may have deleted it
            total += path.stat().st_size
    return total
