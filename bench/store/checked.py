"""Reads records with their digests, and tells whether a file has changed since it was last looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.keys import canonical
from bench.store.records import Record

__all__ = ["DIGEST", "checked_record", "mark", "own_digest", "read_json"]

DIGEST = "digest"
"""Field of a record that holds the SHA-256 of its other fields."""


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None if the file is absent, cannot be read or holds no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def own_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record as it is read from JSON, without the field ``DIGEST``."""
    content = canonical({name: value for name, value in record.items() if name != DIGEST})
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _problem_of(record: Mapping[str, Any] | None, key: str) -> str | None:
    """Why a record is not valid, or None.

    Records of training from before records had digests are valid: training again is expensive, and their weights have
    a digest.
    """
    if record is None:
        return "is not readable"
    if record.get("key") != key:
        return "is the record of another job"
    if DIGEST not in record and record.get("schema") == 1 and record.get("kind") == "train":
        return None
    if DIGEST not in record and record.get("schema") == 1:
        return "was written before records had digests"
    if record.get(DIGEST) != own_digest(record):
        return "does not have the content that was written (another digest)"
    return None


@lru_cache(maxsize=20_000)
def checked_record(path: Path, _mark: tuple[int, ...]) -> tuple[Record | None, str | None]:
    """A record, or None and what is wrong with it; checked once for each state of its file."""
    content = read_json(path)
    problem = _problem_of(content, path.parent.name)
    if problem is not None or content is None:
        return None, problem
    try:
        return Record.from_json(content), None
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return None, f"is no record that this version can read ({error})"


def mark(path: Path) -> tuple[int, ...]:
    """Size, times and inode of a file, which change when it is written.

    Raises:
        OSError: The file does not exist or cannot be reached.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
