"""Jobs and plans: the nodes of the job graph and the graph. The planner makes them; execution and reports read them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.errors import NothingSelectedError, did_you_mean
from bench.plan.tasks import EvaluateTask, Kind, Task
from bench.suite.schema import Suite

__all__ = ["Job", "Kind", "Plan"]


@dataclass(frozen=True)
class Job:
    """One node of the plan: a task with the names that a suite gives it.

    Attributes:
        id: Name for users, ``<model>/<dataset>/seed<k>/<what>``.
        task: The work of the job, with everything that determines its result.
        model: Name of the model in the suite; empty for a shared job.
        evaluation: Id of the evaluation for an evaluate job, else empty.
        argument: The part of the evaluation, such as ``"8/255"``.
    """

    id: str
    task: Task
    model: str = ""
    evaluation: str = ""
    argument: str = ""

    @property
    def kind(self) -> Kind:
        """Kind of the task."""
        return self.task.kind

    @property
    def key(self) -> str:
        """Hash of everything that determines the result."""
        return self.task.key

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the jobs that must run before."""
        return tuple(task.key for task in self.task.inputs)

    @property
    def seed(self) -> int:
        """Training seed."""
        return self.task.train.model.seed

    @property
    def passes(self) -> float:
        """Cost in network passes (forward-equivalents of one image)."""
        return self.task.passes

    @property
    def blocked(self) -> str | None:
        """Why the job cannot run (missing data, a capability that the model lacks); then its cells are ``n/a``."""
        return self.task.blocked

    def as_json(self) -> dict[str, Any]:
        """The content of ``job.json``, which `bench.store.PlannedJob` reads."""
        return {"id": self.id, "kind": self.kind, "key": self.key, "spec": self.task.as_json()}


@dataclass(frozen=True)
class Plan:
    """The jobs of a suite, ordered so that inputs come before the jobs that read them.

    Attributes:
        suite: The suite.
        jobs: Its jobs, those of its parts among them.
        parts: The plans of the suite's parts; empty if it has none.
    """

    suite: Suite
    jobs: tuple[Job, ...]
    parts: tuple[Plan, ...] = ()

    @property
    def leaves(self) -> list[Plan]:
        """The plans of the suites of one data set that the suite consists of, in the order of ``Suite.leaves``."""
        return [leaf for part in self.parts for leaf in part.leaves] if self.parts else [self]

    @cached_property
    def _by_key(self) -> dict[str, Job]:
        return {job.key: job for job in self.jobs}

    @cached_property
    def _by_column(self) -> dict[tuple[str, str], list[Job]]:
        found: dict[tuple[str, str], list[Job]] = {}
        for job in self.jobs:
            found.setdefault((job.model, job.evaluation), []).append(job)
        return found

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of everything in the store that belongs to the plan: of its jobs, and of the features of real images
        that evaluations share.
        """
        shared = (job.task.features.values() for job in self.jobs if isinstance(job.task, EvaluateTask))
        return frozenset(self._by_key).union(*shared)

    def job(self, key: str) -> Job:
        """The job with a key."""
        return self._by_key[key]

    def find(self, key: str) -> Job | None:
        """The job with a key, or None if the plan has none."""
        return self._by_key.get(key)

    def evaluations(self, model: str, evaluation: str) -> list[Job]:
        """The evaluate jobs of a model, over seeds and parts."""
        return list(self._by_column.get((model, evaluation), ()))

    def select(self, patterns: Sequence[str]) -> Plan:
        """The jobs whose id matches one of the glob patterns, and all jobs that they depend on.

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
        return Plan(self.suite, tuple(job for job in self.jobs if job.key in wanted), self.parts)

    def downstream(self, patterns: Sequence[str]) -> list[Job]:
        """The jobs whose id matches one of the glob patterns, and all jobs that depend on them."""
        keys: set[str] = set()
        found = []
        for job in self.jobs:
            if any(fnmatch.fnmatchcase(job.id, p) for p in patterns) or keys.intersection(job.inputs):
                keys.add(job.key)
                found.append(job)
        return found
