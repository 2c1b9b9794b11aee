"""Reads records with their digests, and tells whether a file has changed since it was last looked at.

To check a record against its own digest takes longer than to read it, because the digest is of its content and not of
its bytes. A record that was found right is therefore remembered in ``checked.json`` by the SHA-256 of its bytes, its
*seal*: bytes with that digest are not checked again. Of every record the longest parts are read again when somebody
asks for them. A seal that is missing or wrong costs time alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bench.errors import DamagedFileError
from bench.keys import canonical, digest, file_digest
from bench.store import records
from bench.store.records import Record

__all__ = [
    "DIGEST",
    "Look",
    "checked_record",
    "examined",
    "mark",
    "own_digest",
    "read_json",
    "read_seals",
    "remembered",
]

DIGEST = "digest"
"""Field of a record that holds the SHA-256 of its other fields."""
LATER = ("numbers", "details")
"""Members of a record that can be long, and that most readers do not need."""
REMEMBERED = 20_000
"""Number of records that a process keeps in memory, without their ``LATER``."""


class Look(NamedTuple):
    """A record as a look at its file found it.

    Attributes:
        record: The record; None if it is not valid.
        problem: Why it is not valid; None if it is.
        seal: SHA-256 of its bytes and the fingerprint of the reader that found them right; None if it is not valid.
    """

    record: Record | None
    problem: str | None
    seal: list[str] | None = None


_LOOKS: dict[str, tuple[tuple[int, ...], Look]] = {}
"""By path, the state of its file and what was found; see `checked_record`."""


def _bytes(path: Path | str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - a Path costs as much as the file
        return file.read()


def read_json(path: Path | str) -> dict[str, Any] | None:
    """A JSON object, or None if the file is absent, cannot be read or holds no object."""
    try:
        value = json.loads(_bytes(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_seals(path: Path | str) -> dict[str, Any]:
    """What earlier looks left beside a record; empty if nothing that can be read."""
    try:
        value = orjson.loads(_bytes(path))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def own_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record as it is read from JSON, without the field ``DIGEST``."""
    content = canonical({name: value for name, value in record.items() if name != DIGEST})
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def remembered(path: str, marked: tuple[int, ...]) -> Look | None:
    """The last look at a file of this state, if it is in memory."""
    known = _LOOKS.get(path)
    return known[1] if known is not None and known[0] == marked else None


def checked_record(
    path: str, marked: tuple[int, ...], seal: Any = None, *, anew: bool = False, remember: bool = True
) -> Look:
    """A record, checked once for each state of its file.

    Args:
        path: The file.
        marked: Its ``mark``.
        seal: The seal that a former look left, if any.
        anew: Read the file even if its mark is that of the last look, and trust no seal.
        remember: Keep the record in memory.
    """
    known = None if anew else remembered(path, marked)
    if known is not None:
        return known
    try:
        content = _bytes(path)
    except OSError:
        return Look(None, "is not readable")
    look = examined(content, path, None if anew else seal, marked)
    if remember:
        if len(_LOOKS) >= REMEMBERED:
            with contextlib.suppress(StopIteration, RuntimeError, KeyError):  # another thread may do the same
                del _LOOKS[next(iter(_LOOKS))]
        _LOOKS[path] = marked, look
    return look


def examined(content: bytes, path: str, seal: Any = None, marked: tuple[int, ...] = ()) -> Look:
    """The record with these bytes.

    Args:
        content: The bytes of the file.
        path: The file; the name of its folder is the key of the job.
        seal: The seal that a former look left, if any.
        marked: The ``mark`` of the file before it was read; empty if it is not known.
    """
    seal_now = [hashlib.sha256(content).hexdigest(), _reader()]
    sealed = seal == seal_now
    whole, problem = _parsed(content, path, orjson.loads, sealed)
    parse: Callable[[bytes], Any] = orjson.loads
    if problem is not None:
        # orjson takes a quarter of the time. It reads whole numbers beyond 64 bits as floats, and refuses infinity, NaN
        # and halves of surrogate pairs: Python alone reads such a record as it was written, so that it gets no seal.
        whole, problem = _parsed(content, path, json.loads, sealed)
        parse = json.loads
    if problem is not None:
        return Look(None, problem)
    try:
        if not sealed:
            Record.from_json(whole)  # with all its members, to see that they can be read
        later = _Later(path, marked, seal_now[0], tuple(name for name in LATER if whole.get(name)), parse)
        head = {name: value for name, value in whole.items() if name not in later.names}
        return Look(Record.from_json(head, later), None, seal_now if parse is orjson.loads else None)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return Look(None, f"is no record that this version can read ({error})")


def _parsed(content: bytes, path: str, parse: Callable[[bytes], Any], sealed: bool) -> tuple[Any, str | None]:
    """A record as JSON, and why it cannot be trusted; None if it can."""
    try:
        whole = parse(content)
    except (ValueError, RecursionError):
        return None, "is not readable"
    return whole, _problem_of(whole, path) or (None if sealed else _digest_problem(whole))


@dataclass(frozen=True)
class _Later:
    """Reads the ``LATER`` of a record from its file when somebody asks for them, so that they take no memory before.

    Attributes:
        path: The file.
        marked: Its ``mark`` before the first look; empty if it is not known.
        sha256: Digest of its bytes at the first look, which tells where the mark does not.
        names: Those members that are not empty.
        parse: Reads the bytes as JSON.
    """

    path: str
    marked: tuple[int, ...]
    sha256: str
    names: tuple[str, ...]
    parse: Callable[[bytes], Any]

    def __call__(self, name: str) -> Any:
        """The value of a member.

        Raises:
            DamagedFileError: The file cannot be read any more, or has another content by now.
        """
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - as in `_bytes`
                same = _mark(os.fstat(file.fileno())) == self.marked
                content = file.read()
        except OSError as error:
            raise DamagedFileError(Path(self.path), f"cannot be read: {error.strerror}") from error
        if not same and hashlib.sha256(content).hexdigest() != self.sha256:
            raise DamagedFileError(Path(self.path), "was replaced while it was read")
        return self.parse(content)[name]


def _problem_of(record: Any, path: str) -> str | None:
    """Why a record is not that of the folder's job, or cannot be trusted whatever its digest; None if neither."""
    if not isinstance(record, dict):
        return "is not readable"
    if record.get("key") != path.split("/")[-2]:
        return "is the record of another job"
    if DIGEST not in record and record.get("schema") == 1 and record.get("kind") != "train":
        return "was written before records had digests"
    return None


def _digest_problem(record: Mapping[str, Any]) -> str | None:
    """Why a record does not have its own digest; None if it has.

    Records of training from before records had digests are valid: training again is expensive, and their weights have
    a digest.
    """
    if DIGEST not in record and record.get("schema") == 1:
        return None
    try:
        right = record.get(DIGEST) == own_digest(record)
    except (ValueError, RecursionError):  # NaN, or deeper than any record
        right = False
    return None if right else "does not have the content that was written (another digest)"


@cache
def _reader() -> str:
    """Fingerprint of the code that reads a record: what one version could read, another may not be able to."""
    from bench.metrics.intervals import IfCalibrated, Interval

    sources = [file_digest(Path(file)) for file in (records.__file__, __file__)]
    return digest([*sources, *([field.name for field in fields(one)] for one in (Interval, IfCalibrated))])[:16]


def mark(path: Path | str) -> tuple[int, ...]:
    """Size, times and inode of a file, which change when it is written.

    Raises:
        OSError: The file does not exist or cannot be reached.
    """
    return _mark(os.stat(path))  # noqa: PTH116 - a Path costs more than the look


def _mark(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
