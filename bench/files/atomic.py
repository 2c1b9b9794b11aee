"""Writes files atomically: at any time a file is absent, old, or new and complete."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["json_bytes", "write_atomically", "write_json"]


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file so that at any time it is absent, old, or new and complete.

    Args:
        path: The file; its folder is created if necessary.
        content: The bytes, or several pieces of them, so that large content need not be in memory at once.

    Raises:
        OSError: The file cannot be written, for example on a full disk; the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # the error of a full disk names no file
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def json_bytes(value: Any) -> bytes:
    """JSON as `write_json` writes it. NaN and infinity raise ValueError, since JSON has neither."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Surrogates that cannot be encoded (in a file name, a message of a library) become escapes, which are valid JSON.
    return text.encode("utf-8", "backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN and infinity raise ValueError, since JSON has neither."""
    write_atomically(path, json_bytes(value))
