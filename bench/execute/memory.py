"""Which jobs share a GPU: those that fit into its memory together, by what such jobs took before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.execute.times import Kind, Took, kind_of
from bench.plan.jobs import Job

__all__ = ["FULL", "Memory"]

FULL = 0.9
"""Share of a GPU's memory that jobs may take together. The rest is for CUDA itself, which each process starts once."""


class Memory:
    """The shares of the memory of its GPU that jobs take.

    A job is expected to take the most that a finished one of its kind, network and data set took. If there is none, it
    is expected to take its part of the GPU: a half if two workers share it.

    Args:
        devices: The device of each worker; those that name the same GPU share it.
        finished: What finished jobs took.
    """

    def __init__(self, devices: Iterable[str], finished: Iterable[Took] = ()) -> None:
        self._workers = Counter(devices)
        self._most: dict[Kind, float] = {}
        for took in finished:
            self.learn(took)

    @staticmethod
    def shared(devices: Iterable[str]) -> bool:
        """Whether any GPU has several workers."""
        return any(count > 1 for device, count in Counter(devices).items() if device.startswith("cuda"))

    def learn(self, took: Took) -> None:
        """Take note of what a finished job took."""
        if took.memory is not None:
            self._most[took.like] = max(took.memory, self._most.get(took.like, 0.0))

    def share(self, device: str) -> float:
        """The part in (0, 1] of a device that each of its workers may fill."""
        return 1 / self._workers[device]

    def admits(self, job: Job, device: str, beside: Iterable[Job]) -> bool:
        """Whether a job fits beside others that are at work on the device. Alone a job is always admitted; so is any
        job on a CPU.
        """
        others = list(beside)
        if not others or not device.startswith("cuda"):
            return True
        needed = (self._most.get(kind_of(one), FULL * self.share(device)) for one in (job, *others))
        return sum(needed) <= FULL * (1 + 1e-9)
