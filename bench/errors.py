"""The errors of the harness; each class has the exit code with which a command ends."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BenchError",
    "DamagedFileError",
    "NothingSelectedError",
    "PrerequisiteError",
    "Problem",
    "RequestError",
    "SuiteError",
    "did_you_mean",
    "first_line",
    "nearest",
    "shortened",
    "tells_of_memory",
]

_MEMORY_SIGNS = (
    *("out of memory", "ALLOC_FAILED"),  # CUDA, cuDNN and cuBLAS
    *("DefaultCPUAllocator: not enough memory", "DefaultCPUAllocator: can't allocate memory"),
)


class BenchError(Exception):
    """Base of every error for users; it is shown as a message, without a traceback."""

    exit_code = 1


class RequestError(BenchError):
    """The request itself was wrong: an unknown name, an impossible option, an invalid suite (exit code 2)."""

    exit_code = 2


class NothingSelectedError(BenchError):
    """The filters left no job to do (exit code 3)."""

    exit_code = 3


class PrerequisiteError(BenchError):
    """Nothing could run because data, weights or a device are missing (exit code 5)."""

    exit_code = 5


class DamagedFileError(BenchError):
    """A file is missing, damaged, or differs from its record (exit code 5).

    Args:
        path: The file.
        problem: What is wrong with it, as the end of a sentence that begins with its name.
    """

    exit_code = 5

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(path, problem)

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


@dataclass(frozen=True)
class Problem:
    """One mistake in a file, with its place.

    Attributes:
        message: What is wrong and what was expected.
        key: Dotted path of the key, such as ``model[1].sampler.steps``; empty for the file as a whole.
        file: The file with the mistake.
        line: Line from 1, or None if the file has no such line.
        column: Column from 1, or None.
        hint: The nearest valid name or the next thing to try; empty if there is none.
    """

    message: str
    key: str = ""
    file: Path | None = None
    line: int | None = None
    column: int | None = None
    hint: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = ": ".join(part for part in (place, self.key, self.message) if part)
        return f"{text}; {self.hint}" if self.hint else text


class SuiteError(RequestError):
    """A suite, profile or settings file has mistakes; all of them are reported together."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        # A value of a profile applies to many models; its mistake is reported once.
        found = dict.fromkeys(problems)
        self.problems = tuple(sorted(found, key=lambda p: (str(p.file), p.line or 0, p.column or 0)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to ``name`` in spelling, or an abbreviation of it (``lr``); None if none is close."""
    candidates = sorted(set(valid))
    folded = {candidate.lower(): candidate for candidate in candidates}
    initials = "".join(word[0] for word in re.split(r"[-_ ]+", name.lower()) if word)
    if len(initials) > 1 and initials in folded:
        return folded[initials]
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.55)
    return folded[close[0]] if close else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint for an unknown name: the valid names that it is the first part of, as ``jem`` is of ``jem/digits``; else
    the nearest valid name, or the list of all valid names if it is short.
    """
    names = sorted(set(valid))
    within = [one for one in names if name and one.startswith(f"{name}/")]
    if within:
        return f"did you mean {', '.join(map(repr, within[:3]))}{', …' if len(within) > 3 else ''}?"
    close = nearest(name, names)
    if close is not None:
        return f"did you mean {close!r}?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"valid: {shown}"


def first_line(error: BaseException, most: int | None = 200) -> str:
    """The first line of an exception's message, at most ``most`` characters, or its class if the message is empty."""
    return (str(error).splitlines() or [""])[0][:most] or type(error).__name__


def tells_of_memory(kind: str, message: str) -> bool:
    """Whether an exception says that memory is short.

    Args:
        kind: Name of its class, such as MemoryError, NumPy's _ArrayMemoryError or torch's OutOfMemoryError.
        message: Its text.

    >>> tells_of_memory("RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
    True
    """
    return kind.endswith("MemoryError") or any(sign in message for sign in _MEMORY_SIGNS)


def shortened(text: str, most: int = 200) -> str:
    """At most ``most`` characters of a text: its beginning and its end."""
    return text if len(text) <= most else f"{text[: most - most // 4 - 3]} … {text[-(most // 4) :]}"
