"""Files about runs below the results folder, which later commands read.

``last.json`` names the suite that was run last. ``runs/<suite>[@<profile>]/plan.json`` lists the jobs of the last plan
of a suite, so that a script can tell current results from those of former configurations. ``tables.json`` beside it
holds the tables of the run, so that they can be printed if the suite cannot be read, for example because a plug-in that
it names is not installed.

A running command holds the lock and the lease of a file of its own in ``running``; results of jobs that the file lists
may not be deleted. The lock ends with the process, so a file without a held lock or a lease is a leftover.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.errors import DamagedFileError, RequestError
from bench.files.atomic import write_json
from bench.plan.jobs import Plan
from bench.report.formats.json import as_dict, from_dict
from bench.report.model import Report
from bench.report.numbers import Names
from bench.store import lease
from bench.suite.schema import Suite
from bench.suite.settings import is_path

__all__ = [
    "LAST",
    "RUNS",
    "RememberedPlan",
    "Running",
    "StoredTables",
    "announced",
    "namesake",
    "plans",
    "read_last",
    "running_commands",
    "tables",
    "write_last",
    "write_plan",
    "write_tables",
]

LAST, RUNS, PLAN, TABLES, RUNNING = "last.json", "runs", "plan.json", "tables.json", "running"
_SCHEMA = 1


def write_last(results: Path, home: Path, suite: Path, profile: str | None) -> None:
    """Remember which suite was run, with which profile.

    Args:
        results: The results folder.
        home: The project folder. If it contains both the file and the results folder, the path of the file is stored
            relative to the results folder, so that the project can be moved.
        suite: The suite file.
        profile: Name or path of the profile, as the user gave it.
    """
    if profile is not None and is_path(profile):
        profile = _portable(Path(profile), results, home)
    write_json(results / LAST, {"suite": _portable(suite, results, home), "profile": profile})


def read_last(results: Path) -> tuple[str, str | None]:
    """Path of the suite that was run last, and name or path of its profile.

    Raises:
        RequestError: No suite was run yet, or the suite file no longer exists.
        DamagedFileError: ``last.json`` is not valid.
    """
    path = results / LAST
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        suite, profile = facts["suite"], facts["profile"]
        if not isinstance(suite, str) or not isinstance(profile, str | None) or not suite:
            raise ValueError("suite and profile are no names")
    except FileNotFoundError:
        text = f"no suite was run yet in {results}; name one, or run one first: bench run"
        raise RequestError(text) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, f"does not say which suite was run last ({error}); name the suite") from None
    found = _located(suite, results)
    if not found.is_file():
        raise RequestError(f"the suite last run, {found}, is not there any more (says {path}); name one")
    if profile is not None and is_path(profile):
        profile = str(_located(profile, results))
    return str(found), profile


def _portable(path: Path, results: Path, home: Path) -> str:
    # Links are not followed: a results folder may be a link to another disk.
    whole, below, root = (Path(os.path.normpath(p.absolute())) for p in (path, results, home))
    if whole.is_relative_to(root) and below.is_relative_to(root):
        return str(Path(os.path.relpath(whole, below)))
    return str(whole)


def _located(name: str, results: Path) -> Path:
    return Path(os.path.normpath(results.absolute() / name))


@dataclass(frozen=True)
class RememberedPlan:
    """The last plan of a suite.

    Attributes:
        suite: Name of the suite.
        profile: Name of its profile, or None.
        file: The suite file; it may no longer exist.
        jobs: The names of each job in the plan, by key.
        labels: Label of each model by its name; empty in plans of former versions.
        features: Keys of the features of real images that its evaluations share.
    """

    suite: str
    profile: str | None
    file: Path
    jobs: Mapping[str, Names]
    labels: Mapping[str, str] = field(default_factory=dict)
    features: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StoredTables:
    """The tables of a suite as a run stored them, and the time, such as ``2026-11-28T13:37:38Z``."""

    report: Report
    written: str


def write_plan(results: Path, home: Path, plan: Plan) -> None:
    """Store the jobs of a whole plan, and the path of the suite file as ``write_last`` does."""
    jobs = {
        job.key: {
            "job": job.id,
            "kind": job.kind,
            "model": job.model,
            "seed": job.seed,
            "evaluation": job.evaluation,
            "argument": job.argument,
        }
        for job in reversed(plan.jobs)  # of several jobs with one key the first
    }
    facts = {
        "schema": _SCHEMA,
        "suite": plan.suite.name,
        "file": _portable(plan.suite.path, results, home),
        "profile": plan.suite.profile,
        "written": _now(),
        "labels": {model.name: model.label for leaf in plan.suite.leaves for model in leaf.models},
        "jobs": jobs,
        "features": sorted(plan.keys - jobs.keys()),
    }
    write_json(_folder(results, plan.suite.name, plan.suite.profile) / PLAN, facts)


def plans(results: Path) -> list[RememberedPlan]:
    """The last plan of every suite, with and without profiles, in order of their names.

    Raises:
        DamagedFileError: A plan file is not valid, so the current results are unknown.
    """
    found = []
    for path in sorted((results / RUNS).glob(f"*/{PLAN}")):
        facts = _read(path)
        try:
            jobs = {str(key): Names(*(job[name] for name in _NAMES)) for key, job in facts["jobs"].items()}
            file = _located(str(facts["file"]), results)
            labels = {str(name): str(label) for name, label in facts.get("labels", {}).items()}
            features = frozenset(map(str, facts.get("features", ())))  # plans of former versions have none
            found.append(RememberedPlan(facts["suite"], facts["profile"], file, jobs, labels, features))
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(path, f"is no plan that a run left: {type(error).__name__} {error}") from None
    return found


def namesake(results: Path, suite: Suite) -> Path | None:
    """The file of another suite that was run last under the name and profile of a suite; None if there is none, if that
    file is gone, or if its content is the same.
    """
    with contextlib.suppress(OSError, DamagedFileError, KeyError):
        file = _located(str(_read(_folder(results, suite.name, suite.profile) / PLAN)["file"]), results)
        if not file.samefile(suite.path) and file.read_bytes() != suite.path.read_bytes():
            return file
    return None


_NAMES = tuple(one.name for one in fields(Names))


def write_tables(results: Path, report: Report, suite: Path, profile: Path | None) -> None:
    """Store tables, with digests of the suite and profile that they were made from."""
    facts = {
        "schema": _SCHEMA,
        "written": _now(),
        "made_from": _digests(suite, profile),
        "report": as_dict(report),
    }
    write_json(_folder(results, report.suite, report.profile) / TABLES, facts)


def tables(results: Path, suite: Path, profile: Path | None) -> StoredTables | None:
    """The tables that a run of these files stored; None if there are none, or if a file has been edited since.

    Raises:
        DamagedFileError: The stored tables cannot be read.
    """
    wanted = _digests(suite, profile)
    for path in sorted((results / RUNS).glob(f"*/{TABLES}")):
        facts = _read(path)
        if facts.get("made_from") != wanted:
            continue
        try:
            return StoredTables(from_dict(facts["report"]), str(facts["written"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(path, f"holds no tables that a run left: {type(error).__name__} {error}") from None
    return None


def _folder(results: Path, suite: str, profile: str | None) -> Path:
    return results / RUNS / (suite if profile is None else f"{suite}@{profile}")


def _digests(suite: Path, profile: Path | None) -> dict[str, str]:
    files = {"suite": suite} if profile is None else {"suite": suite, "profile": profile}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"cannot be read: {error}") from None
    if not isinstance(facts, dict) or facts.get("schema") != _SCHEMA:
        raise DamagedFileError(path, f"is none that a run of this version left: schema {_SCHEMA} was expected")
    return facts


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True)
class Running:
    """A running command.

    Attributes:
        began: When it began, in seconds since the epoch.
        keys: Keys of the jobs of its plan.
        readable: Whether its file could be read; if not, no result may be deleted.
    """

    began: float
    keys: frozenset[str]
    readable: bool = True


@contextlib.contextmanager
def announced(results: Path, keys: Iterable[str]) -> Iterator[None]:
    """Announce that this process is at work on jobs while the context lasts; remove files that killed commands left.

    Raises:
        OSError: The results folder cannot be written.
    """
    running_commands(results)
    folder = results / RUNNING
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    with path.open("x", encoding="utf-8") as file:
        lease.flock(file, fcntl.LOCK_EX)
        token = lease.write(path, began=time.time(), keys=sorted(set(keys)))
        try:
            with lease.beating(path, token, empty=False):
                yield
        finally:
            path.unlink(missing_ok=True)


def running_commands(results: Path) -> list[Running]:
    """The running commands; files that killed commands left are removed."""
    found = []
    for path in sorted((results / RUNNING).glob("*.json")):
        with contextlib.suppress(FileNotFoundError), path.open("r+", encoding="utf-8") as file:
            try:
                running = lease.held(path, locks=lease.flock(file, fcntl.LOCK_EX))
            except BlockingIOError:
                running = True
            if running:
                found.append(_announced(path, file.read()))
            else:
                path.unlink(missing_ok=True)
    return found


def _announced(path: Path, text: str) -> Running:
    """Read the file of a command. If it is not complete, the command has just begun, and no result may be deleted."""
    try:
        facts = json.loads(text)
        return Running(float(facts["began"]), frozenset(map(str, facts["keys"])))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Running(path.stat().st_mtime, frozenset(), readable=False)
