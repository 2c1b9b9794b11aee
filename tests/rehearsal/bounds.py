"""What a GPU may be asked for. The tests hold our code to it, and mutations of our code must break it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.rehearsal.log import SYNC, TO_DEVICE, TO_HOST, Event, Log

__all__ = ["MOST_COPIES", "hold_sampler", "hold_training_step", "more_waits"]

MOST_COPIES = 4
"""Copies to the device in a training step of any family."""


def hold_training_step(log: Log) -> None:
    """At most four copies to the device, none to the host, no synchronisation.

    Raises:
        AssertionError: A bound is broken; the message names the lines.
    """
    assert log.count(TO_DEVICE) <= MOST_COPIES, f"{log.count(TO_DEVICE)} copies to the device:\n{log.told(TO_DEVICE)}"
    assert not log.count(TO_HOST), f"copies to the host:\n{log.told(TO_HOST)}"
    assert not log.count(SYNC), f"the host waits for the device:\n{log.told(SYNC)}"


def hold_sampler(log: Log) -> None:
    """No copy in any direction and no synchronisation.

    Raises:
        AssertionError: A bound is broken; the message names the lines.
    """
    assert not log.count(TO_DEVICE), f"copies to the device:\n{log.told(TO_DEVICE)}"
    hold_training_step(log)


def more_waits(run: Callable[[int], Log], few: int, many: int) -> Counter[Event]:
    """Synchronisations and copies that a run of ``many`` steps has beyond those of ``few``: what the steps ask for."""
    kinds = (SYNC, TO_DEVICE, TO_HOST)
    short, long = (Counter({e: n for e, n in run(steps).events.items() if e.kind in kinds}) for steps in (few, many))
    return long - short
