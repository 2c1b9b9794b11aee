"""The displays of a run: a live panel on a terminal, plain lines elsewhere, JSON lines for scripts, or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from bench.execute.display import Summary
from bench.execute.estimate import Rates
from bench.execute.panel import Panel, PanelRow, head_facts
from bench.execute.states import Status
from bench.plain import plain
from bench.plan.jobs import Job, Plan
from bench.store import Record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

__all__ = ["JsonDisplay", "LiveDisplay", "PlainDisplay", "SilentDisplay", "duration"]


def duration(seconds: float) -> str:
    """Format seconds as ``8 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


_ADDED = "their results were made with other weights than training has left now, or what they read was lost"


class SilentDisplay:
    """Shows nothing."""

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """Ignore the start of the run."""

    def added(self, jobs: list[Job]) -> None:
        """Ignore further jobs."""

    def started(self, job: Job) -> None:
        """Ignore the start of a job."""

    def held(self, job: Job, holder: str) -> None:
        """Ignore a job that another run holds."""

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """Ignore progress reports."""

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """Ignore the end of a job."""

    def end(self, summary: Summary) -> None:
        """Ignore the end of the run."""


class _Clock:
    """Estimates the time left from the durations of earlier runs and of the finished jobs of this one."""

    def __init__(self, rates: Rates, workers: int) -> None:
        self._rates, self._workers = rates, workers
        self._left: dict[str, Job] = {}
        self.total = 0

    def begin(self, todo: list[Job]) -> None:
        self._left = {job.key: job for job in todo}
        self.total = len(todo)

    def added(self, jobs: list[Job]) -> None:
        self.total += sum(job.key not in self._left for job in jobs)
        self._left.update((job.key, job) for job in jobs)

    def ended(self, job: Job, record: Record | None) -> None:
        self._left.pop(job.key, None)
        if record is not None:
            self._rates.learn(record)

    @property
    def done(self) -> int:
        return self.total - len(self._left)

    def left(self, running: Mapping[str, Mapping[str, Any]]) -> float | None:
        """Estimated seconds left, or None while the duration of some job is unknown."""
        total = 0.0
        for key, job in self._left.items():
            said = running.get(key, {})
            done, whole, began = (_number(said, name) for name in ("done", "total", "began"))
            if done and whole and began and job.kind == "train":
                total += (time.time() - began) * (whole - done) / done
                continue
            seconds = self._rates.seconds(job)
            if seconds is None:
                return None
            total += seconds
        return total / self._workers


class PlainDisplay:
    """Writes one line per event, for logs and pipes. Finished predictions get no line."""

    def __init__(self, out: TextIO, rates: Rates, workers: int) -> None:
        self._out = out
        self._clock = _Clock(rates, workers)
        self._began = time.monotonic()

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """Write the number of jobs to run, and the reasons of those that cannot run."""
        self._clock.begin(todo)
        self._began = time.monotonic()
        self._say(f"{plan.suite.name}: {len(plan.jobs)} jobs, {len(todo)} to run")
        for reason in dict.fromkeys(status.reason for status in states.values() if status.state == "n/a"):
            self._say(f"n/a: {reason}")

    def added(self, jobs: list[Job]) -> None:
        """Write the number of further jobs to run."""
        self._clock.added(jobs)
        self._say(f"{len(jobs)} more to run: {_ADDED}")

    def started(self, job: Job) -> None:
        """Write a line for training, which takes long; other jobs get none when they start."""
        if job.kind == "train":
            self._say(f"start   {job.id}")

    def held(self, job: Job, holder: str) -> None:
        """Write which process is at work on the job."""
        self._say(f"held    {job.id}: {holder} is at work on it; its result is taken when it is there")

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """Ignore progress reports: they would fill a log."""

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """Write the state of the job, its duration and its main number."""
        self._clock.ended(job, record)
        if job.kind == "predict" and status.state == "done":
            return
        text = f"{status.state:7} {job.id}"
        if record is not None:
            text += f" ({duration(record.seconds)}){_result(record)}"
        if status.reason:
            text += f": {status.reason}"
        left = self._clock.left({})
        if left is not None and left > 5:
            text += f"; about {duration(left)} left"
        self._say(text)

    def end(self, summary: Summary) -> None:
        """Write the number of jobs by state."""
        self._say(_counts(summary))

    def _say(self, text: str) -> None:
        self._out.write(f"[{time.monotonic() - self._began:6.1f} s] {plain(text)}\n")
        self._out.flush()


class JsonDisplay(SilentDisplay):
    """Writes one JSON object per event and line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

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


class LiveDisplay:
    """A live panel with the progress of the plan, the time left, and the running jobs with loss and accuracy."""

    def __init__(self, console: Console, rates: Rates, workers: int) -> None:
        self._console = console
        self._clock = _Clock(rates, workers)
        self._running: dict[str, tuple[Job, float]] = {}
        self._held: dict[str, tuple[Job, str]] = {}
        self._said: Mapping[str, Mapping[str, Any]] = {}
        self._live: Live | None = None
        self._began = time.monotonic()
        self._name = ""

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """Start to draw."""
        from rich.live import Live

        self._clock.begin(todo)
        self._name = plan.suite.name
        for reason in dict.fromkeys(status.reason for status in states.values() if status.state == "n/a"):
            self._say(("n/a", "yellow"), f": {plain(reason)}")
        if todo:
            # Only this thread draws: an exception in a thread of rich would not be caught.
            self._live = Live(self._draw(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def added(self, jobs: list[Job]) -> None:
        """Print the number of further jobs above the panel."""
        self._clock.added(jobs)
        self._say(f"{len(jobs)} more to run: {_ADDED}")

    def started(self, job: Job) -> None:
        """Add a line for the job to the panel."""
        self._held.pop(job.key, None)
        self._running[job.key] = (job, time.monotonic())
        self._refresh()

    def held(self, job: Job, holder: str) -> None:
        """Add a line to the panel that names the process at work on the job."""
        self._held[job.key] = (job, holder)
        self._refresh()

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        """Redraw the panel with the last progress reports."""
        self._said = running
        self._refresh()

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        """Remove the line of the job; print a line above the panel for training, and for a job that is not done."""
        self._running.pop(job.key, None)
        self._held.pop(job.key, None)
        self._clock.ended(job, record)
        colour = {"done": "green", "failed": "red", "diverged": "yellow", "n/a": "yellow"}.get(status.state, "")
        if status.state != "done" or job.kind == "train":
            seconds = f" {duration(record.seconds)}" if record else ""
            detail = _result(record) if record else ""
            reason = f": {status.reason}" if status.reason else ""
            self._say((status.state, colour), " " + plain(f"{job.id}{seconds}{detail}{reason}"))
        self._refresh()

    def end(self, summary: Summary) -> None:
        """Stop drawing and print the number of jobs by state."""
        self.close()
        self._say(_counts(summary))

    def close(self) -> None:
        """Stop drawing and restore the terminal."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _say(self, *parts: str | tuple[str, str]) -> None:
        """Print a line above the panel: text, or text with a style, but no markup."""
        from rich.text import Text

        self._console.print(Text.assemble(*parts), highlight=False)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._draw(), refresh=True)

    def _draw(self) -> Panel:
        left = self._clock.left(self._said)
        elapsed = duration(time.monotonic() - self._began)
        facts = head_facts(self._clock.done, self._clock.total, elapsed, None if left is None else duration(left))
        head = PanelRow(self._name, facts, self._clock.done, max(1, self._clock.total))
        rows = [self._row(key, job, began) for key, (job, began) in self._running.items()]
        held = [PanelRow(job.id, [f"{holder} is at work on it"]) for job, holder in list(self._held.values())[:4]]
        return Panel(head, [*rows, *held])

    def _row(self, key: str, job: Job, began: float) -> PanelRow:
        said = self._said.get(key, {})
        facts = [duration(time.monotonic() - began)]
        loss, accuracy = _number(said, "loss"), _number(said, "validation_accuracy")
        facts += [f"loss {loss:.3g}"] if loss is not None else []
        facts += [f"val {accuracy:.1%}"] if accuracy is not None else []
        shorter = [", ".join(facts[:count]) for count in range(len(facts), 0, -1)]
        return PanelRow(job.id, shorter, _number(said, "done") or 0, _number(said, "total") or 0)


def _number(said: Mapping[str, Any], name: str) -> float | None:
    """A number from a progress report, or None if the value is no number: the file may be damaged."""
    value = said.get(name)
    return value if isinstance(value, int | float) else None


def _result(record: Record) -> str:
    """The main number of a record as text: the validation accuracy, or the first measured number."""
    training = record.training
    if training.validation_accuracy is not None:
        return f" validation accuracy {training.validation_accuracy:.1%} at epoch {training.selected_epoch}"
    for number in record.measured.numbers[:1]:
        if number.value is not None:
            return f" {number.metric} {number.value:.4g}"
    return ""


def _counts(summary: Summary) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(summary.counts().items()))
    ran = f"{len(summary.ran)} run" if summary.ran else "nothing to run"
    stopped = "interrupted; the same command continues. " if summary.interrupted else ""
    return f"{stopped}{counts}; {ran} in {duration(summary.seconds)}"
