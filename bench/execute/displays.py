"""The displays of a run: plain lines, JSON lines for scripts, or nothing; a failing display does not stop the run.

The panel on a terminal is in `bench.execute.live`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

from bench.execute.estimate import Clock, Rates, number_in
from bench.execute.states import Status
from bench.plain import plain, several
from bench.plan.jobs import Job, Plan
from bench.store import Record

__all__ = [
    *("ADDED", "Display", "JsonDisplay", "PlainDisplay", "Summary"),
    *("duration", "guarded", "progress_facts", "reasons", "result_text"),
]


MANY_YEARS = 1e9
"""Seconds from which a time is not told more precisely."""


def duration(seconds: float) -> str:
    """Format seconds as ``8 s``, ``3 min 20 s`` or ``2 h 05 min``; what nobody can wait for is ``many years``."""
    if not seconds < MANY_YEARS:
        return "many years"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


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

    def text(self) -> str:
        """The number of jobs by state, and how many ran in which time."""
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self.counts().items()))
        nothing = "no job ended" if self.interrupted else "nothing to run"
        ran = f"{len(self.ran)} run" if self.ran else nothing
        stopped = "interrupted; the same command continues. " if self.interrupted else ""
        return f"{stopped}{counts}; {ran} in {duration(self.seconds)}"


class Display:
    """Is told of the events of a run and shows nothing; a subclass shows the events whose methods it overrides."""

    def decoding(self, names: list[str]) -> None:
        """Before the run starts: these sets of pictures are decoded, or read if they were decoded before."""

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """The run starts; ``todo`` are the jobs that have to run."""

    def added(self, jobs: list[Job]) -> None:
        """These jobs have to run, too: their results were made with other weights, or their inputs were lost."""

    def started(self, job: Job) -> None:
        """A job is at work."""

    def held(self, job: Job, holder: str) -> None:
        """Another run is at work on a job; this run continues with other jobs and takes the result when it exists."""

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """The last progress reports of the running jobs, by key."""

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """A job has a result, or failed."""

    def end(self, summary: Summary) -> None:
        """The run is over."""

    def close(self) -> None:
        """Leave the terminal as it was; also called where a run ended by an error."""


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


ADDED = "their results were made with other weights than training has left now, or what they read was lost"
"""Why further jobs have to run."""


def decoding_text(names: list[str]) -> str:
    """What happens before a run takes a GPU."""
    return f"pictures of {', '.join(names)} are decoded, or read if they were decoded before, before a GPU is taken"


def reasons(states: Mapping[str, Status]) -> list[str]:
    """Why jobs cannot run, each reason once."""
    return list(dict.fromkeys(status.reason for status in states.values() if status.state == "n/a"))


def result_text(record: Record) -> str:
    """The main number of a record as text: the validation accuracy, or the first number that there is."""
    training = record.training
    if training.validation_accuracy is not None:
        return f" validation accuracy {training.validation_accuracy:.1%} at epoch {training.selected_epoch}"
    for number in record.measured.numbers:
        if number.value is not None:
            return f" {number.metric} {number.value:.4g}"
    return ""


FIRST_REPORT, LAST_PAUSE = 60.0, 1800.0
"""Seconds after which a log first tells how far a job is, and the longest time between two such lines: each pause is
twice the one before, so that neither a minute nor a week of training is a wall of lines."""


def progress_facts(said: Mapping[str, Any], seconds: float) -> list[str]:
    """How far a job is, from the time that it takes so far and its last progress report."""
    loss, accuracy = number_in(said, "loss"), number_in(said, "validation_accuracy")
    facts = [duration(seconds)]
    facts += [f"loss {loss:.3g}"] if loss is not None else []
    facts += [f"val {accuracy:.1%}"] if accuracy is not None and 0 <= accuracy <= 1 else []
    return facts


@dataclass
class _Reports:
    """When a log tells next how far a running job is.

    Attributes:
        job: The job.
        began: When it began, on the monotonic clock in seconds, as ``due``.
        due: When the next line is due.
        pause: Seconds from that line to the one after it.
    """

    job: Job
    began: float
    due: float = 0.0
    pause: float = FIRST_REPORT

    def __post_init__(self) -> None:
        self.due = self.began + FIRST_REPORT

    def facts(self, said: Mapping[str, Any], now: float) -> list[str]:
        done, total = number_in(said, "done"), number_in(said, "total")
        share = [f"{done / total:.0%}"] if done is not None and total is not None and 0 <= done <= total >= 1 else []
        return [*share, *progress_facts(said, now - self.began)]


class PlainDisplay(Display):
    """Writes one line per event, for logs and pipes. Finished predictions get none, and progress reports few."""

    def __init__(self, out: TextIO, rates: Rates, workers: int) -> None:
        self._out = out
        self._clock = Clock(rates, workers)
        self._began = time.monotonic()
        self._running: dict[str, _Reports] = {}

    def decoding(self, names: list[str]) -> None:
        """Write the names."""
        self._say(decoding_text(names))

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """Write the number of jobs to run, and the reasons of those that cannot run."""
        self._clock.begin(todo)
        self._began = time.monotonic()
        self._say(f"{plan.suite.name}: {several(len(plan.jobs), 'job')}, {len(todo)} to run")
        for reason in reasons(states):
            self._say(f"n/a: {reason}")

    def added(self, jobs: list[Job]) -> None:
        """Write the number of further jobs to run."""
        self._clock.added(jobs)
        self._say(f"{len(jobs)} more to run: {ADDED}")

    def started(self, job: Job) -> None:
        """Write a line for training, which takes long; other jobs get none when they start."""
        self._running[job.key] = _Reports(job, time.monotonic())
        if job.kind == "train":
            self._say(f"start {job.id}")

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """Write how far a job is that has run for a minute, and then more and more rarely."""
        now = time.monotonic()
        for key, said in running.items():
            reports = self._running.get(key)
            if reports is not None and now >= reports.due:
                reports.due = now + reports.pause
                reports.pause = min(2 * reports.pause, LAST_PAUSE)
                left = self._clock.left(running)
                more = [] if left is None else [f"about {duration(left)} left in all"]
                self._say(f"runs {reports.job.id}: {', '.join([*reports.facts(said, now), *more])}")

    def held(self, job: Job, holder: str) -> None:
        """Write which process is at work on the job."""
        self._say(f"held {job.id}: {holder} is at work on it; its result is taken when it is there")

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """Write the state of the job, its duration and its main number."""
        self._running.pop(job.key, None)
        self._clock.ended(job, record)
        if job.kind == "predict" and status.state == "done":
            return
        text = f"{status.state} {job.id}"
        if record is not None:
            text += f" ({duration(record.seconds)}){result_text(record)}"
        if status.reason:
            text += f": {status.reason}"
        left = self._clock.left({})
        if left is not None and left > 5:
            text += f"; about {duration(left)} left"
        self._say(text)

    def end(self, summary: Summary) -> None:
        """Write the number of jobs by state."""
        self._say(summary.text())

    def _say(self, text: str) -> None:
        self._out.write(f"[{time.monotonic() - self._began:6.1f} s] {plain(text)}\n")
        self._out.flush()


class JsonDisplay(Display):
    """Writes one JSON object per event and line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def decoding(self, names: list[str]) -> None:
        """Write the names of the sets."""
        self._say({"event": "decoding", "sets": names})

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:  # noqa: ARG002
        """Write the ids of the jobs to run."""
        self._say({"event": "begin", "jobs": len(plan.jobs), "todo": [job.id for job in todo]})

    def added(self, jobs: list[Job]) -> None:
        """Write the ids of further jobs to run."""
        self._say({"event": "added", "todo": [job.id for job in jobs]})

    def started(self, job: Job) -> None:
        """Write the id and key of a job that started."""
        self._say({"event": "started", "job": job.id, "key": job.key})

    def held(self, job: Job, holder: str) -> None:
        """Write which process is at work on a job."""
        self._say({"event": "held", "job": job.id, "key": job.key, "holder": holder})

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """Write the state of a job that ended."""
        facts = {"event": "ended", "job": job.id, "key": job.key, "state": status.state, "reason": status.reason}
        self._say({**facts, "seconds": record.seconds if record else None})

    def end(self, summary: Summary) -> None:
        """Write the number of jobs by state."""
        self._say({"event": "end", "counts": summary.counts(), "seconds": round(summary.seconds, 3)})

    def _say(self, event: Mapping[str, Any]) -> None:
        self._out.write(json.dumps(event) + "\n")
        self._out.flush()
