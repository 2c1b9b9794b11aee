"""Jobs and plans: nodes of a graph and the graph, as the planner makes them and everything later reads them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.errors import NothingSelectedError, did_you_mean
from bench.suite.schema import Suite

__all__ = ["Job", "Kind", "Plan"]

Kind = Literal["train", "predict", "evaluate"]


@dataclass(frozen=True)
class Job:
    """One node of the plan.

    Attributes:
        id: Human name, ``<model>/<dataset>/seed<k>/<what>``.
        kind: What it does.
        key: Merkle hash of everything that determines the result.
        inputs: Keys of the jobs that must be done before.
        spec: All that a worker needs, as JSON.
        model: Name of the model in the suite; empty for a shared job.
        seed: Training seed.
        evaluation: Id of the evaluation for an evaluate job, else empty.
        argument: The part of the evaluation, such as ``"8/255"``.
        passes: Cost in network passes (forward-equivalents of one image).
        blocked: Why the job cannot run (missing data, capability absent); then its cells are ``n/a``.
        tolerates_divergence: Whether the job has something to say of a model whose training diverged.
    """

    id: str
    kind: Kind
    key: str
    inputs: tuple[str, ...]
    spec: Mapping[str, Any]
    model: str = ""
    seed: int = 0
    evaluation: str = ""
    argument: str = ""
    passes: float = 0.0
    blocked: str | None = None
    tolerates_divergence: bool = False


@dataclass(frozen=True)
class Plan:
    """The jobs of a suite in an order in which inputs come before what reads them."""

    suite: Suite
    jobs: tuple[Job, ...]
    _by_key: Mapping[str, Job] = field(default_factory=dict, repr=False)
    _by_column: Mapping[tuple[str, str], list[Job]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_key", {job.key: job for job in self.jobs})
        by_column: dict[tuple[str, str], list[Job]] = {}
        for job in self.jobs:
            by_column.setdefault((job.model, job.evaluation), []).append(job)
        object.__setattr__(self, "_by_column", by_column)

    def job(self, key: str) -> Job:
        """The job with a key."""
        return self._by_key[key]

    def named(self, name: str) -> Job | None:
        """The job with an id."""
        return next((job for job in self.jobs if job.id == name), None)

    def evaluations(self, model: str, evaluation: str) -> list[Job]:
        """The evaluate jobs of a model, over seeds and parts."""
        return list(self._by_column.get((model, evaluation), ()))

    def select(self, patterns: Sequence[str]) -> Plan:
        """The jobs whose id matches one of the glob patterns, and all that they need.

        Raises:
            NothingSelectedError: No job matches.
        """
        if not patterns:
            return self
        wanted = {job.key for job in self.jobs if any(fnmatch.fnmatchcase(job.id, p) for p in patterns)}
        if not wanted:
            shown = ", ".join(patterns)
            hint = did_you_mean(patterns[0], [job.id for job in self.jobs])
            raise NothingSelectedError(f"no job matches {shown}; {hint}")
        for job in reversed(self.jobs):
            if job.key in wanted:
                wanted.update(job.inputs)
        return Plan(self.suite, tuple(job for job in self.jobs if job.key in wanted))

    def downstream(self, patterns: Sequence[str]) -> list[Job]:
        """The jobs whose id matches a pattern and all that depends on them."""
        keys: set[str] = set()
        found = []
        for job in self.jobs:
            if any(fnmatch.fnmatchcase(job.id, p) for p in patterns) or keys.intersection(job.inputs):
                keys.add(job.key)
                found.append(job)
        return found
