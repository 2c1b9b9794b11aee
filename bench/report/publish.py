"""Results as a folder to give away: report, tables, figures, records and the suite, readable without a store.

``publication.json`` names the suite, the commit and the SHA-256 of each file, so that a reader knows whether what was
published is what lies there. Weights, per-item arrays and plug-ins are not needed to read it and are not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import DamagedFileError, NothingSelectedError, RequestError
from bench.files.atomic import write_atomically, write_json
from bench.report.files import write_report
from bench.report.formats.json import from_dict
from bench.report.model import Report
from bench.report.page import provenance_of, sources_of
from bench.suite.settings import find_profile

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.plan.jobs import Plan

__all__ = ["MANIFEST", "publish", "read_published"]

MANIFEST = "publication.json"
_TABLES = "tables.json"
_SCHEMA = 1


def publish(bench: Bench, plan: Plan, profile: str | None, folder: Path) -> Path:
    """Write the results of a suite into a folder, and return the path of its page, ``index.html``.

    The folder has the report, the tables in every format, the figures as PNG and PDF, the record of every job below
    ``records/``, the files of suite and profile, and `MANIFEST`. A publication of the same suite is replaced.

    Args:
        bench: The harness.
        plan: The whole plan of the suite.
        profile: Name or path of the profile, as the user gave it.
        folder: The folder; it is new, empty, or a publication of this suite.

    Raises:
        NothingSelectedError: No job of the suite has a result.
        RequestError: The folder holds something else.
        OSError: The folder cannot be written; what it held is unchanged.
    """
    name = plan.suite.name + (f"@{plan.suite.profile}" if plan.suite.profile else "")
    _check(folder, name)
    folder = folder.resolve()
    records = {job.id: record for job in plan.jobs if (record := bench.store.folder(job.key).record_json()) is not None}
    if not records:
        raise NothingSelectedError(f"suite {name} has no results to publish; run it first: bench run {plan.suite.path}")
    page, *files = write_report(bench, plan, bench.report(plan), profile)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        shutil.copyfile(page, new / "index.html")
        for file in files:
            shutil.copyfile(file, new / file.name)
        for source, text in sources_of(plan.suite, find_profile(profile, bench.settings) if profile else None):
            write_atomically(new / "suite" / source, text.encode())
        for job, record in records.items():
            write_json(new / "records" / f"{_file_name(job)}.json", record)
        facts = {
            "schema": _SCHEMA,
            "suite": name,
            "title": plan.suite.title,
            "provenance": provenance_of(plan, bench.store),
            "files": {str(path.relative_to(new)): _sha256(path) for path in sorted(_files(new))},
        }
        write_json(new / MANIFEST, facts)
        new.chmod(0o755)
        _replace(folder, new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return folder / "index.html"


def read_published(folder: Path) -> Report:
    """The tables of a publication, whose plug-ins need not be installed.

    Raises:
        RequestError: The folder is no publication.
        DamagedFileError: The manifest or the tables are not as they were published.
    """
    facts = _manifest(folder)
    path = folder / _TABLES
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != facts["files"].get(_TABLES):
        raise DamagedFileError(path, f"is not the file that was published: its SHA-256 is not the one in {MANIFEST}")
    try:
        return from_dict(json.loads(content))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedFileError(path, f"holds no tables of this version: {type(error).__name__} {error}") from None


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise RequestError(f"{folder} is no publication: it has no {MANIFEST}; make one: bench publish SUITE DIR")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"cannot be read: {error}") from None
    if not isinstance(facts, dict) or facts.get("schema") != _SCHEMA or not isinstance(facts.get("files"), dict):
        raise DamagedFileError(path, f"is no manifest of this version: schema {_SCHEMA} was expected")
    return facts


def _check(folder: Path, name: str) -> None:
    """Raises RequestError if publishing would overwrite anything but a publication of the suite."""
    if not folder.exists():
        return
    if folder.resolve() == Path.cwd():
        raise RequestError(f"{folder} is the working folder, which cannot be replaced; name another one")
    if not folder.is_dir():
        raise RequestError(f"{folder} is a file; name a folder")
    if not any(folder.iterdir()):
        return
    if not (folder / MANIFEST).is_file():
        raise RequestError(f"{folder} has files that are no publication; name a new or empty folder")
    facts = _manifest(folder)
    if facts.get("suite") != name:
        raise RequestError(f"{folder} is a publication of {facts.get('suite')}, not of {name}; name another folder")
    own = {MANIFEST, *facts["files"]}
    for path in _files(folder):
        if str(path.relative_to(folder)) not in own:
            raise RequestError(f"{path} is no file of the publication, which is replaced as a whole; move it first")


def _replace(folder: Path, new: Path) -> None:
    """Put a new folder in the place of an old one, which stays if the new one cannot take its place."""
    if not folder.exists():
        new.rename(folder)
        return
    old = new.with_name(f"{new.name}.old")
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _file_name(job: str) -> str:
    """The id of a job as a path; the argument of its evaluation, such as ``8/255``, is a part of the last name."""
    name, at, argument = job.partition("@")
    return name + at + argument.replace("/", "-")


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
