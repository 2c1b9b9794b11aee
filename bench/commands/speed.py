"""Calibrates this machine for prices of plans: ``bench doctor --speed``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.errors import NothingSelectedError
from bench.execute.devices import slots
from bench.execute.price import networks
from bench.execute.speed import Calibration, Network, multiply_adds, save

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["SECONDS", "measure_speed"]

SECONDS = 25.0
"""Time of the measurement without the start of torch and the first calls of each network."""
_NETWORKS = 6
"""Most networks of one calibration; others are scaled by their multiply-adds."""


def measure_speed(
    bench: Bench, suite: str | None, profile: str | None, device: str, told: Callable[[Network], None]
) -> Calibration:
    """Measure the networks of a suite and keep their speeds.

    Args:
        bench: Settings and store.
        suite: Path or bare name; default: the suite last run, else the default suite.
        profile: A profile to apply.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        told: Called before each network.

    Raises:
        BenchError: The suite cannot be read, has no network to measure, or the device cannot be used.
    """
    if suite is None and bench.has_run:
        suite, profile = bench.last(profile)
    used = slots(device, None)[0]
    plan = bench.plan(suite, profile=profile)
    found = _spread(networks(plan, [job for job in plan.jobs if not job.blocked]) or networks(plan, plan.jobs))
    if not found:
        raise NothingSelectedError(f"{plan.suite.name} has no job that takes network passes, so nothing to measure")
    from bench.execute.calibrate import calibrate

    speeds = calibrate(found, used, SECONDS, told)
    return save(used, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), speeds)


def _spread(found: list[Network]) -> list[Network]:
    """At most ``_NETWORKS`` of the networks, from the smallest to the largest; those without multiply-adds first,
    because no other network can stand for them.
    """
    if len(found) <= _NETWORKS:
        return found
    alone = [network for network in found if multiply_adds(network) is None][:_NETWORKS]
    rest = sorted((n for n in found if n not in alone), key=lambda network: multiply_adds(network) or 0.0)
    room = _NETWORKS - len(alone)
    places = [round(place * (len(rest) - 1) / max(room - 1, 1)) for place in range(room)] if rest else []
    return alone + [rest[place] for place in dict.fromkeys(places)]
