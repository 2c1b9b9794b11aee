from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from bench.data.job import JobData
from bench.execute.displays import JsonDisplay, PlainDisplay, Summary, duration, guarded
from bench.execute.estimate import Rates
from bench.execute.live import LiveDisplay, Panel, PanelRow, head_facts
from bench.execute.states import Status
from bench.plan.jobs import Job, Plan
from bench.plan.tasks import EvaluateTask, TrainTask
from bench.store import Measured, Number, Record
from bench.suite.schema import Suite
from bench.weights.find import Blueprint


class Named:
    """All that a display reads of a suite."""

    name = "s"


TASK = TrainTask(model=Blueprint(family="f", backbone="b"), data=JobData(dataset="d"), passes=10.0)
TRAIN = Job("a/train", TASK)
ATTACK = Job("a/pgd", EvaluateTask(train=TASK, evaluation="pgd", config={}, evaluation_code={}, passes=10.0))
PLAN = Plan(cast(Suite, Named()), (TRAIN, ATTACK))
STATES = {TRAIN.key: Status("pending"), ATTACK.key: Status("done")}
RECORD = Record(kind="train", family="f", backbone="b", dataset="d", seconds=100.0, passes=10.0)


def test_jobs_that_turn_out_to_be_needed_are_announced_and_counted() -> None:
    out = io.StringIO()
    display = PlainDisplay(out, Rates(), 1)
    display.begin(PLAN, STATES, [TRAIN])
    display.added([ATTACK])
    display.ended(TRAIN, Status("done"), RECORD)
    lines = [line.partition("] ")[2] for line in out.getvalue().splitlines()]
    assert lines[0] == "s: 2 jobs, 1 to run"
    assert lines[1].startswith("1 more to run: their results were made with other weights than training has left")
    assert "left" not in lines[2]  # of the attack nobody knows how long it takes


def test_a_log_tells_how_far_long_jobs_are_and_more_and_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of an hour said nothing for an hour."""
    now = 1000.0
    monkeypatch.setattr("bench.execute.displays.time.monotonic", lambda: now)
    out = io.StringIO()
    display = PlainDisplay(out, Rates(), 1)
    display.begin(PLAN, STATES, [TRAIN])
    display.started(TRAIN)
    told = []
    for second in range(0, 7200, 10):
        now = 1000.0 + second
        before = out.tell()
        display.tick({TRAIN.key: {"done": 1, "total": 4, "loss": 2.5, "validation_accuracy": 0.5}})
        told += [second] if out.tell() > before else []
    assert told == [60, 120, 240, 480, 960, 1920, 3720, 5520]
    first = out.getvalue().splitlines()[2]
    assert first == "[  60.0 s] runs a/train: 25%, 1 min 00 s, loss 2.5, val 50.0%"
    display.ended(TRAIN, Status("done"), RECORD)
    before, now = out.tell(), 1e6
    display.tick({TRAIN.key: {}})
    assert out.tell() == before  # it is over
    display.started(ATTACK)
    now += 60
    display.tick({ATTACK.key: {"done": "damaged"}})
    assert out.getvalue().splitlines()[-1].endswith("runs a/pgd: 1 min 00 s, about 0 s left in all")


def test_a_job_that_ends_tells_the_first_number_that_there_is() -> None:
    out = io.StringIO()
    numbers = (Number(metric="fid", value=None, n=1, definition=""), Number(metric="is", value=2.0, n=1, definition=""))
    PlainDisplay(out, Rates(), 1).ended(ATTACK, Status("done"), replace(RECORD, measured=Measured(numbers=numbers)))
    assert out.getvalue().rstrip().endswith("done a/pgd (1 min 40 s) is 2")


def test_scripts_are_told_which() -> None:
    out = io.StringIO()
    JsonDisplay(out).added([ATTACK])
    assert json.loads(out.getvalue()) == {"event": "added", "todo": ["a/pgd"]}


def test_the_panel_counts_them() -> None:
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, width=120), Rates(), 1)
    display.begin(PLAN, STATES, [])
    display.added([ATTACK])
    display.ended(ATTACK, Status("done"), None)
    assert "1 more to run" in out.getvalue()
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(display._draw())
    assert "1/1 jobs" in console.export_text()


HOSTILE = "[/scratch/run/x.pt] [red]x[/red] \x1b[2J two\nlines \u202e"


@pytest.mark.parametrize("place", ["reason", "name", "job", "metric"])
@pytest.mark.parametrize("kind", ["live", "plain"])
def test_text_is_never_markup(kind: str, place: str) -> None:
    """An error text in brackets once ended a run: rich took it for a closing tag."""
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=True, color_system=None)
    display = LiveDisplay(console, Rates(), 1) if kind == "live" else PlainDisplay(out, Rates(), 1)
    suite = Named()
    suite.name = HOSTILE if place == "name" else "s"
    job = replace(TRAIN, id=HOSTILE) if place == "job" else TRAIN
    plan = Plan(cast(Suite, suite), (job, ATTACK))
    absent = Status("n/a", HOSTILE)
    number = Number(metric=HOSTILE, value=0.5, n=1, definition="")
    display.begin(plan, {job.key: Status("pending"), ATTACK.key: absent}, [job])
    display.started(job)
    display.tick({job.key: {}})
    display.ended(job, Status("failed", HOSTILE if place == "reason" else "why"), None)
    display.ended(ATTACK, Status("stale", "why"), replace(RECORD, measured=Measured(numbers=(number,))))
    display.end(Summary({job.key: absent}))
    text = re.sub(r"\x1b\[(\?25[lh]|1A|2K|1m|0m)", "", out.getvalue())  # what the panel itself sends
    assert "[/scratch/run/x.pt] [red]x[/red] \\x1b[2J two lines \\u202e" in text
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", text)


@pytest.mark.parametrize("width", range(60, 201, 7))
def test_the_time_left_stays_at_every_width(width: int) -> None:
    task = replace(TASK, passes=4e5)
    long = Job("gmmc-joint-with-a-long-name/digits/seed1/train", task)
    console = Console(file=io.StringIO(), width=width, record=True)
    rates = Rates()
    rates.learn(replace(RECORD, passes=1000.0))
    display = LiveDisplay(console, rates, 1)
    display._clock.begin([replace(long, task=replace(task, settings={"i": i})) for i in range(120)])
    display._name = "a-suite-with-a-rather-long-name-of-its-own"
    display._began = time.monotonic() - 7500
    display._running = {"0": (long, time.monotonic() - 7400)}
    display._said = {"0": {"done": 3, "total": 20, "loss": 1.25, "validation_accuracy": 0.5}}
    console.print(display._draw())
    head, job = console.export_text().splitlines()
    left = display._clock.left({})
    assert left is not None
    assert f"{duration(left)} left" in head
    assert "0/120" in head
    assert max(map(cell_len, (head, job))) <= width
    assert head.startswith("a-sui")
    assert job.startswith("gmmc")
    assert " 2 h 03 min" in job  # how long it has been running


@pytest.mark.parametrize("width", [1, 5, 20, 40, 59])
def test_a_panel_of_any_width_is_drawn(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, record=True)
    rows = [PanelRow("a" * 50, ["1 h 00 min, loss 1.2", "1 h 00 min"], 1, 2)]
    console.print(Panel(PanelRow("suite", head_facts(3, 9, "8 s", "2 h 05 min"), 3, 9), rows))
    assert max(map(cell_len, console.export_text().splitlines())) <= width


def test_a_damaged_report_of_a_job_is_passed_over() -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    display = LiveDisplay(console, Rates(), 1)
    display.begin(PLAN, STATES, [])
    display._clock.begin([TRAIN])
    display.started(TRAIN)
    display.tick({TRAIN.key: {"done": "x", "total": [], "loss": "nan", "validation_accuracy": None, "began": "now"}})
    console.print(display._draw())
    assert "a/train" in console.export_text()


def test_what_raises_is_raised_once_and_an_interrupt_passes() -> None:
    class Bad:
        closed = 0

        def tick(self, _: object) -> None:
            raise BrokenPipeError

        def end(self, _: object) -> None:
            raise AssertionError("asked again")

        def started(self, _: object) -> None:
            raise KeyboardInterrupt

        def close(self) -> None:
            self.closed += 1

    bad = Bad()
    display = guarded(cast(Any, bad))
    with pytest.raises(KeyboardInterrupt):
        display.started(TRAIN)
    display.tick({})
    display.end(Summary({}))
    assert bad.closed == 1


def test_the_live_display_gives_the_terminal_back() -> None:
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, width=100, force_terminal=True), Rates(), 1)
    display.begin(PLAN, STATES, [TRAIN])
    assert "\x1b[?25l" in out.getvalue()  # the cursor is hidden
    display.close()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")
    display.tick({})
    display.close()


def test_pictures_that_are_decoded_before_a_run_are_named() -> None:
    names = ["celeba", "textures"]
    out = io.StringIO()
    PlainDisplay(out, Rates(), 1).decoding(names)
    assert "pictures of celeba, textures are decoded" in out.getvalue()
    console = Console(file=io.StringIO(), record=True, width=200)
    LiveDisplay(console, Rates(), 1).decoding(names)
    assert "pictures of celeba, textures are decoded" in console.export_text()
    out = io.StringIO()
    JsonDisplay(out).decoding(names)
    assert json.loads(out.getvalue()) == {"event": "decoding", "sets": names}


@pytest.mark.parametrize(("interrupted", "text"), [(True, "no job ended in"), (False, "nothing to run in")])
def test_a_run_in_which_no_job_ended(interrupted: bool, text: str) -> None:
    assert text in Summary({TRAIN.key: Status("pending")}, interrupted=interrupted).text()


@pytest.mark.parametrize(
    "said",
    [
        {"done": 1, "total": 1e308, "began": 1.0},
        {"done": -3, "total": 10, "began": 1.0},
        {"done": 20, "total": 10, "began": 1.0},
        {"done": 1, "total": 1e-300},
        {"done": 1, "total": 5e-324},
        {"done": 1, "total": 0},
        {"done": True, "total": True, "loss": True},
        {"validation_accuracy": 1e300, "loss": float("inf")},
        {"done": 1, "total": 4, "began": 1e300},
    ],
)
def test_damaged_progress_ends_no_display(said: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("bench.execute.displays.time.monotonic", lambda: now)
    display = PlainDisplay(out := io.StringIO(), Rates(), 1)
    display.started(TRAIN)
    now += 60
    display.tick({TRAIN.key: said})
    line = out.getvalue().splitlines()[-1]
    assert "runs a/train: " in line
    assert len(line) < 120
    assert not re.search(r"-\d|[2-9]\d\d%|\d{4,}%", line)
