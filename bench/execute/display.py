"""The interface of displays of a run, and a guard that keeps a failing display from stopping the run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from bench.execute.states import Status
from bench.plain import plain
from bench.plan.jobs import Job, Plan
from bench.store import Record

__all__ = ["Display", "Summary", "guarded"]


class Display(Protocol):
    """Shows a run to the user."""

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """The run starts; ``todo`` are the jobs that have to run."""
        ...

    def added(self, jobs: list[Job]) -> None:
        """These jobs have to run, too: their results were made with other weights, or their inputs were lost."""
        ...

    def started(self, job: Job) -> None:
        """A job is at work."""
        ...

    def held(self, job: Job, holder: str) -> None:
        """Another run is at work on a job; this run continues with other jobs and takes the result when it exists."""
        ...

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """The last progress reports of the running jobs, by key."""
        ...

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """A job has a result, or failed."""
        ...

    def end(self, summary: Summary) -> None:
        """The run is over."""
        ...


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        states: Status of every job of the plan by key.
        ran: Jobs that were run.
        seconds: Wall time.
        interrupted: Whether it was stopped before the end.
    """

    states: dict[str, Status]
    ran: list[Job] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        counts: dict[str, int] = {}
        for status in self.states.values():
            counts[status.state] = counts.get(status.state, 0) + 1
        return counts


class _Guarded:
    def __init__(self, display: Any) -> None:
        self._display = display
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        """A method of the display that does not raise; after the first failure no method does anything."""
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._display, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if self._failed:
                return None
            try:
                return method(*arguments, **options)
            except Exception as error:  # no failure of a display may stop the jobs
                self._failed = True
                self._give_up(error)
                return None

        return call

    def _give_up(self, error: Exception) -> None:
        with contextlib.suppress(Exception):
            close = getattr(self._display, "close", None)
            if close is not None:
                close()
        # Standard error itself may be the closed pipe.
        with contextlib.suppress(Exception):
            text = plain(f"{type(error).__name__}: {error}")
            sys.stderr.write(f"bench: the display of the run failed ({text}); the run goes on without it\n")
            sys.stderr.flush()


def guarded(display: Display) -> Display:
    """Wrap a display so that its first exception ends the display and not the run.

    Examples are a closed pipe, a terminal that cannot show a character, or a defect of the display. A keyboard
    interrupt passes through. If the display has a method ``close``, it is called to restore the terminal.
    """
    return cast("Display", _Guarded(display))
