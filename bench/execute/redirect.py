"""Redirection of standard output and error at the level of file descriptors, which C libraries and children use."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_stdout", "into"]


def free_stdout() -> None:
    """Redirect the standard output of this process to standard error, from now on.

    Standard output belongs to the command, which may print JSON there.
    """
    with contextlib.suppress(OSError):  # standard error is closed: there is nowhere to write to
        os.dup2(2, 1)


@contextlib.contextmanager
def into(path: Path) -> Iterator[None]:
    """Redirect standard output and error to a file, which is overwritten; restore them when the context ends.

    C libraries and child processes write to descriptors 1 and 2, so the descriptors themselves are redirected.
    Characters that cannot be encoded are escaped.
    """
    with (
        # Line buffering keeps the output of Python and of others in the order in which it was written.
        path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        _descriptors(file.fileno()),
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # absent, closed, or without a reader
            stream.flush()
    kept = {}
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed: there is nothing to restore
            kept[number] = os.dup(number)
        os.dup2(target, number)
        os.set_inheritable(number, True)  # a file that took the number of a closed stream is not inheritable by default
    try:
        yield
    finally:
        for number in (1, 2):
            if number in kept:
                os.dup2(kept[number], number)
                os.close(kept[number])
            else:
                os.close(number)
