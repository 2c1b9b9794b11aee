"""When a checkpoint is due: after the interval, and rarely if saving takes long."""

from __future__ import annotations

import contextlib
import random

import pytest

from bench.train import checkpoint


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def due_after(pace: checkpoint.Pace, clock: Clock, seconds: float) -> bool:
    """Whether a checkpoint is due so long after now; the clock stays where it is."""
    clock.now += seconds
    due = pace.due()
    clock.now -= seconds
    return due


def test_a_cheap_checkpoint_is_due_after_the_interval(clock: Clock) -> None:
    pace = checkpoint.Pace(15, clock)
    for _ in range(2):
        assert not due_after(pace, clock, 15)
        assert due_after(pace, clock, 15.01)
        clock.now += 20
        with pace.saving():
            clock.now += 0.1


def test_a_dear_one_waits_for_forty_times_its_cost(clock: Clock) -> None:
    pace = checkpoint.Pace(15, clock)
    with pace.saving():
        clock.now += 3
    assert not due_after(pace, clock, 119.9)
    assert due_after(pace, clock, 120.1)
    with contextlib.suppress(OSError), pace.saving():
        clock.now += 1
        raise OSError("full")
    assert not due_after(pace, clock, 39.9)
    assert due_after(pace, clock, 40.1)


def test_saving_takes_no_more_than_three_percent(clock: Clock) -> None:
    """Whatever saves cost, and however long epochs are: all of it but the last, over all the time."""
    chance = random.Random(0)
    pace, costs = checkpoint.Pace(15, clock), []
    while len(costs) < 50:
        clock.now += chance.uniform(0, 30)
        if pace.due():
            costs.append(chance.expovariate(0.5))
            with pace.saving():
                clock.now += costs[-1]
    assert sum(costs[:-1]) / (clock.now - 100) < 0.03


def test_an_interval_of_nothing_means_after_every_epoch(clock: Clock) -> None:
    pace = checkpoint.Pace(0, clock)
    assert pace.due()
    with pace.saving():
        clock.now += 60
    assert pace.due()
