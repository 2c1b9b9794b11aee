from __future__ import annotations

import io
import json
from typing import cast

from rich.console import Console

from bench.execute.displays import JsonDisplay, LiveDisplay, PlainDisplay
from bench.execute.estimate import Rates
from bench.execute.states import Status
from bench.jobs import Job, Plan
from bench.suite.schema import Suite


class Named:
    """All that a display reads of a suite."""

    name = "s"


SPEC = {"family": "f", "backbone": "b", "data": {"dataset": "d"}}
TRAIN = Job("a/train", "train", "1", (), SPEC, passes=10.0)
ATTACK = Job("a/pgd", "evaluate", "2", (), SPEC, passes=10.0)
PLAN = Plan(cast(Suite, Named()), (TRAIN, ATTACK))
STATES = {TRAIN.key: Status("pending"), ATTACK.key: Status("done")}
RECORD = {"kind": "train", "family": "f", "backbone": "b", "dataset": "d", "seconds": 100.0, "passes": 10.0}


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
