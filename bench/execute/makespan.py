"""How long a graph of jobs takes on a number of workers, given the seconds of each job."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Node", "critical_path", "makespan"]


@dataclass(frozen=True)
class Node:
    """A job of which only time and inputs matter.

    Attributes:
        key: Name of the job.
        seconds: Its duration, at least 0.
        inputs: Keys of the jobs that must end before; keys of no node count as done.
    """

    key: str
    seconds: float
    inputs: tuple[str, ...] = ()


def critical_path(nodes: Sequence[Node]) -> tuple[float, list[str]]:
    """The longest chain of jobs that wait for each other: no number of workers takes less time.

    Args:
        nodes: Inputs before the nodes that read them, without repeated keys.

    Returns:
        Its seconds, and its keys from the first to the last; (0, []) without nodes.
    """
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for node in nodes:
        last = max((key for key in node.inputs if key in ends), key=ends.__getitem__, default=None)
        before[node.key] = last
        ends[node.key] = node.seconds + (ends[last] if last is not None else 0.0)
    if not ends:
        return 0.0, []
    end: str | None = max(ends, key=ends.__getitem__)
    assert end is not None
    seconds, chain = ends[end], []
    while end is not None:
        chain.append(end)
        end = before[end]
    return seconds, chain[::-1]


def makespan(nodes: Sequence[Node], workers: int) -> float:
    """Seconds until all jobs are done on equally fast workers, each of which takes the first job that is ready.

    Graham's list scheduling: at most (2 - 1 / workers) times the best schedule (Graham 1966, "Bounds for certain
    multiprocessing anomalies").

    Args:
        nodes: In the order in which ready jobs start; without cycles and repeated keys.
        workers: Number of workers, at least 1.

    Raises:
        ValueError: There is no worker, or the nodes have a cycle.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    rank = {node.key: place for place, node in enumerate(nodes)}
    waits = {node.key: sum(key in rank for key in dict.fromkeys(node.inputs)) for node in nodes}
    readers = _readers(nodes, rank)
    ready = [rank[key] for key, count in waits.items() if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now, done = 0.0, 0
    while ready or running:
        while ready and len(running) < workers:
            place = heapq.heappop(ready)
            heapq.heappush(running, (now + nodes[place].seconds, place))
        now, place = heapq.heappop(running)
        done += 1
        for key in readers.get(nodes[place].key, ()):
            waits[key] -= 1
            if waits[key] == 0:
                heapq.heappush(ready, rank[key])
    if done < len(nodes):
        raise ValueError("the jobs wait for each other in a circle")
    return now


def _readers(nodes: Sequence[Node], known: Mapping[str, int]) -> dict[str, list[str]]:
    """Keys of the jobs that wait for a job, by its key."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        for key in dict.fromkeys(node.inputs):
            if key in known:
                found.setdefault(key, []).append(node.key)
    return found
