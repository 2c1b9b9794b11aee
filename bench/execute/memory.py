"""Which jobs share a GPU: those that fit into its memory together, by what such jobs held before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.execute.kinds import uses_network
from bench.execute.times import Kind, Took, kind_of
from bench.plan.jobs import Job

__all__ = ["FULL", "Memory"]

FULL = 0.9
"""Share of a GPU's memory that jobs may hold together. The rest is for CUDA itself, which each process starts once."""


class Memory:
    """What jobs hold of the memory of their GPU.

    A job is expected to hold the most that a finished one of its kind, network and data set held on a GPU of this size
    with as many workers, since attacks fill the part that they get. If there is none, it is expected to hold its part
    of the GPU: a half if two workers share it. A job without network passes holds nothing.

    Args:
        devices: The device of each worker; those that name the same GPU share it.
        finished: What finished jobs took. The last of them tells the size of the GPUs until a job of this run does.
    """

    def __init__(self, devices: Iterable[str], finished: Iterable[Took] = ()) -> None:
        self._workers = Counter(devices)
        self._most: dict[tuple[Kind, int, float], int] = {}
        self._size: int | None = None
        for took in sorted(finished, key=lambda took: took.finished):
            self.learn(took)

    @staticmethod
    def shared(devices: Iterable[str]) -> bool:
        """Whether any GPU has several workers."""
        return any(count > 1 for device, count in Counter(devices).items() if device.startswith("cuda"))

    def learn(self, took: Took) -> None:
        """Take note of what a finished job held."""
        if took.peak_memory is not None and took.device_memory and took.memory_share is not None:
            self._size = took.device_memory
            known = took.like, took.device_memory, took.memory_share
            self._most[known] = max(took.peak_memory, self._most.get(known, 0))

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
        return sum(self._held(one, device) for one in (job, *others)) <= FULL * (1 + 1e-9)

    def _held(self, job: Job, device: str) -> float:
        """The part of the GPU that a job is expected to hold."""
        if not uses_network(job.task):
            return 0.0
        share = self.share(device)
        if self._size is not None and (kind_of(job), self._size, share) in self._most:
            return self._most[kind_of(job), self._size, share] / self._size
        return FULL * share
