"""The live panel of a run, drawn by rich. It fits every width; the time left is the last fact that it drops."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.execute.displays import (
    ADDED,
    Display,
    Summary,
    decoding_text,
    duration,
    progress_facts,
    reasons,
    result_text,
)
from bench.execute.estimate import Clock, Rates, number_in
from bench.execute.states import Status
from bench.plain import plain
from bench.plan.jobs import Job, Plan
from bench.store import Record

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.live import Live

__all__ = ["LiveDisplay", "Panel", "PanelRow", "head_facts"]

_GAP = 2
_LEAST_NAME, _MOST_NAME = 10, 34
_LEAST_BAR, _MOST_BAR = 8, 24


@dataclass(frozen=True)
class PanelRow:
    """A line of the panel.

    Attributes:
        name: Name of the run or the job.
        facts: Texts on its progress, from the longest to the shortest; the first that fits is shown.
        done, total: Progress for the bar; there is no bar without a total.
    """

    name: str
    facts: Sequence[str]
    done: float = 0
    total: float = 0


def head_facts(done: int, total: int, elapsed: str, left: str | None) -> list[str]:
    """Texts on the progress of a run, from the longest to the shortest; each has the time left, if it is known."""
    if left is None:
        return [f"{done}/{total} jobs, {elapsed}", f"{done}/{total} jobs", f"{done}/{total}"]
    return [
        f"{done}/{total} jobs, {elapsed}, about {left} left",
        f"{done}/{total} jobs, about {left} left",
        f"{done}/{total}, {left} left",
        f"{left} left",
    ]


class Panel:
    """The head line and a line for each running job."""

    def __init__(self, head: PanelRow, jobs: Sequence[PanelRow]) -> None:
        self._rows = [head, *jobs]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.cells import cell_len
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        names = [plain(row.name) for row in self._rows]
        room = max(options.max_width - _LEAST_NAME - _GAP, 1)
        facts = [next((text for text in row.facts if cell_len(text) <= room), row.facts[-1]) for row in self._rows]
        left = options.max_width - max(map(cell_len, facts)) - _GAP
        longest = min(max(map(cell_len, names)), _MOST_NAME)
        bar = min(left - longest - _GAP, _MOST_BAR)
        bar = bar if bar >= _LEAST_BAR and any(row.total for row in self._rows) else 0
        width = max(min(max(map(cell_len, names)), left - (bar + _GAP if bar else 0)), 1)
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(width=width, no_wrap=True)
        if bar:
            grid.add_column(width=bar)
        grid.add_column(no_wrap=True)
        for number, (row, name, fact) in enumerate(zip(self._rows, names, facts, strict=True)):
            cells: list[Any] = [Text(_cropped(name, width), style="" if number else "bold")]
            if bar:
                cells.append(ProgressBar(total=row.total, completed=row.done, width=bar) if row.total else "")
            grid.add_row(*cells, Text(fact))
        yield grid


def _cropped(text: str, width: int) -> str:
    """Crop a text to a width in terminal cells; its middle goes, because the ends of a name tell more."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if width < 4:
        return set_cell_size(text, width)
    end = (width - 1) // 2
    tail = text[-end:]
    while cell_len(tail) > end:
        tail = tail[1:]
    return f"{set_cell_size(text, width - 1 - cell_len(tail)).rstrip()}…{tail}"


class LiveDisplay(Display):
    """A live panel with the progress of the plan, the time left, and the running jobs with loss and accuracy."""

    def __init__(self, console: Console, rates: Rates, workers: int) -> None:
        self._console = console
        self._clock = Clock(rates, workers)
        self._running: dict[str, tuple[Job, float]] = {}
        self._held: dict[str, tuple[Job, str]] = {}
        self._said: Mapping[str, Mapping[str, Any]] = {}
        self._live: Live | None = None
        self._began = time.monotonic()
        self._name = ""

    def decoding(self, names: list[str]) -> None:
        """Print the names."""
        self._say(plain(decoding_text(names)))

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        """Start to draw."""
        from rich.live import Live

        self._clock.begin(todo)
        self._name = plan.suite.name
        for reason in reasons(states):
            self._say(("n/a", "yellow"), f": {plain(reason)}")
        if todo:
            # Only this thread draws: an exception in a thread of rich would not be caught.
            self._live = Live(self._draw(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def added(self, jobs: list[Job]) -> None:
        """Print the number of further jobs above the panel."""
        self._clock.added(jobs)
        self._say(f"{len(jobs)} more to run: {ADDED}")

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
            detail = result_text(record) if record else ""
            reason = f": {status.reason}" if status.reason else ""
            self._say((status.state, colour), " " + plain(f"{job.id}{seconds}{detail}{reason}"))
        self._refresh()

    def end(self, summary: Summary) -> None:
        """Stop drawing and print the number of jobs by state."""
        self.close()
        self._say(summary.text())

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
        facts = progress_facts(said, time.monotonic() - began)
        shorter = [", ".join(facts[:count]) for count in range(len(facts), 0, -1)]
        return PanelRow(job.id, shorter, number_in(said, "done") or 0, number_in(said, "total") or 0)
