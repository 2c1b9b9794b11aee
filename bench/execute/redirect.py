"""Where a process writes that knows nothing of ``sys.stdout``: descriptors of the operating system."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_stdout", "into"]


def free_stdout() -> None:
    """What this process writes to standard output goes to standard error from now on.

    Standard output belongs to the command, which may print JSON there.
    """
    with contextlib.suppress(OSError):  # standard error is closed: there is nowhere to write to
        os.dup2(2, 1)


@contextlib.contextmanager
def into(path: Path) -> Iterator[None]:
    """Standard output and error go to a file, which is written anew, and afterwards to where they went before.

    C libraries and child processes write to descriptors 1 and 2, so the descriptors themselves lead to the file. What
    cannot be encoded becomes an escape.
    """
    with (
        # Line by line, so that what Python prints and what others write stand in the order in which it came.
        path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        _descriptors(file.fileno()),
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # absent, closed, or nobody reads it
            stream.flush()
    kept = {}
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed: there is nothing to go back to
            kept[number] = os.dup(number)
        os.dup2(target, number)
        os.set_inheritable(number, True)  # a file that took the number of a closed stream is not by itself
    try:
        yield
    finally:
        for number in (1, 2):
            if number in kept:
                os.dup2(kept[number], number)
                os.close(kept[number])
            else:
                os.close(number)
