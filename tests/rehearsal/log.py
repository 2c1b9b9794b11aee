"""What a GPU pays for, counted by the line of our code that asked for it.

Copies to the device and to the host; synchronisations, in which the host waits for the device; kernels.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

__all__ = ["KERNEL", "SYNC", "TO_DEVICE", "TO_HOST", "Event", "Log", "callers"]

TO_DEVICE, TO_HOST, SYNC, KERNEL = "copy to the device", "copy to the host", "synchronisation", "kernel"

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / name}/" for name in ("bench", "models"))
SILENT = (f"{Path(torch.__file__).parent}/", *(str(Path(__file__).with_name(n)) for n in ("log.py", "device.py")), "<")
"""Files whose frames ask for nothing of their own accord: torch, this device, generated code."""


@dataclass(frozen=True)
class Event:
    """Something that a GPU pays for.

    Attributes:
        kind: ``TO_DEVICE``, ``TO_HOST``, ``SYNC`` or ``KERNEL``.
        operation: The operator of torch.
        caller: File and line of our code, or of the caller if none of our code is on the stack.
        through: File and line in a library that our code called, empty if it called torch itself.
    """

    kind: str
    operation: str
    caller: str
    through: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.operation} at {self.caller}{f' through {self.through}' if self.through else ''}"


@dataclass
class Log:
    """How often each event happened."""

    events: Counter[Event] = field(default_factory=Counter)

    def add(self, kind: str, operation: str) -> None:
        """Count an event of the code that runs now."""
        self.events[Event(kind, operation, *callers())] += 1

    def of(self, kind: str, caller: str = "") -> Counter[Event]:
        """The events of a kind whose caller begins like this."""
        return Counter({e: n for e, n in self.events.items() if e.kind == kind and e.caller.startswith(caller)})

    def count(self, kind: str, caller: str = "") -> int:
        """Number of these events."""
        return self.of(kind, caller).total()

    def told(self, kind: str) -> str:
        """The events of a kind, the most frequent first, for messages."""
        return "\n".join(f"{n:6d}  {event}" for event, n in self.of(kind).most_common()) or "none"

    def clear(self) -> None:
        """Forget all events."""
        self.events.clear()


def callers() -> tuple[str, str]:
    """The line of our code that is executed now, and the line of a library that it called, or an empty text."""
    frame, through = sys._getframe(1), ""
    while frame is not None:
        name, ours = _place(frame.f_code.co_filename)
        if ours:
            return f"{name}:{frame.f_lineno}", through
        if name and not through:
            through = f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return through, ""


@lru_cache(maxsize=None)  # noqa: UP033 - a cache of few files
def _place(file: str) -> tuple[str, bool]:
    """How a file is called, empty for torch and this device; whether it is ours."""
    if file.startswith(SILENT):
        return "", False
    path = Path(file).resolve()
    if str(path).startswith(OURS):
        return str(path.relative_to(ROOT)), True
    return file.rpartition("site-packages/")[2] if "site-packages" in file else path.name, False
