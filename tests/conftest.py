"""Shared fixtures: a project folder, tiny suites, plug-ins that exist for one test, results that nobody computed."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from bench.api import Bench
from bench.attacks.named import ATTACKS
from bench.data.registry import DATASETS
from bench.evaluate.base import EVALUATIONS
from bench.execute.context import Site as Where
from bench.plan.jobs import Job, Plan
from bench.scores.named import SCORES
from bench.spec import BACKBONES, FAMILIES
from bench.store import ITEMS, Record, Store

# A case may wait for a busy core, which is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

TINY = """\
[suite]
name  = "tiny"
title = "Two classifiers on digits"

[data]
dataset = "digits"

[[model]]
family   = "softmax"
backbone = "wrn-10-1"
epochs   = 2

[[model]]
family   = "gmmc-gen"
backbone = "wrn-10-1"
epochs   = 2
[model.sampler]
steps = 3

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "calibration"

[[evaluation]]
kind = "ood"
sets = ["patches"]

[[evaluation]]
kind  = "pgd"
id    = "pgd-2"
steps = 2
eps   = ["8/255", "16/255"]
items = 32

[[evaluation]]
kind  = "generation"
items = 64

[[table]]
id      = "main"
title   = "Accuracy"
columns = ["accuracy", "pgd-2@8/255", "calibration.ece"]
"""


@dataclass(frozen=True)
class Project:
    """A folder with ``bench.toml`` and suites, and with nothing else in reach: no data, no weights, no results."""

    root: Path

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def bench(self) -> Bench:
        return Bench.here(self.root)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def suite(self, text: str = TINY, name: str = "tiny") -> Path:
        return self.write(f"suites/{name}.toml", text)

    def profile(self, text: str, name: str = "small") -> Path:
        return self.write(f"suites/profiles/{name}.toml", text)

    def plan(self, text: str = TINY, profile: str | None = None) -> Plan:
        """The plan of a suite with this text."""
        overlay = str(self.profile(profile)) if profile is not None else None
        return self.bench.plan(self.suite(text), profile=overlay)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    (root / "bench.toml").write_text('[paths]\nresults = "results"\n', encoding="utf-8")
    for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS", "BENCH_INCEPTION_WEIGHTS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return Project(root)


@pytest.fixture
def tiny() -> str:
    """The text of a small suite on digits."""
    return TINY


@dataclass(frozen=True)
class Site:
    """A folder on ``sys.path`` into which distributions can be installed."""

    root: Path

    def module(self, name: str, text: str) -> Path:
        path = self.root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        return path

    def distribution(self, name: str, group: str, points: Mapping[str, str]) -> None:
        """A distribution with entry points, as a package installer would leave it."""
        info = self.root / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        importlib.invalidate_caches()
        reset_registries()


def reset_registries() -> None:
    for registry in (FAMILIES, BACKBONES, DATASETS, EVALUATIONS, ATTACKS, SCORES):
        registry.reset()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    reset_registries()
    yield Site(folder)
    for name, module in list(sys.modules.items()):
        # A package without an __init__ has no file, only a path.
        known = vars(module) if isinstance(module, ModuleType) else {}
        places = [known.get("__file__"), *(known.get("__path__") or ())]
        if any(str(place).startswith(str(folder)) for place in places if place):
            del sys.modules[name]
    reset_registries()


def planned(plan: Plan, name: str) -> Job:
    """The job of a plan with an id."""
    return next(job for job in plan.jobs if job.id == name)


def named(plan: Plan, ending: str) -> Job:
    """The one job of a plan whose id ends like this."""
    (job,) = [job for job in plan.jobs if job.id.endswith(ending)]
    return job


@pytest.fixture
def where(project: Project) -> Where:
    """The folders that jobs of the project read and write, on the CPU."""
    return Where(project.results / "store", project.root / "data", project.root / "weights", "cpu", "bench run")


class Results:
    """Leaves records in a store as workers do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def finish(self, job: Job, artefacts: Sequence[str] = (), **fields: Any) -> None:
        """A record of ``job`` and of files in its folder; ``fields`` are added to what every record holds."""
        record = {
            "job": job.id,
            "kind": job.kind,
            "model": job.model,
            "family": job.task.train.model.family,
            "backbone": job.task.train.model.backbone,
            "dataset": job.task.train.data.dataset,
            "seed": job.seed,
            "evaluation": job.evaluation,
            "argument": job.argument,
            "status": "ok",
            "weights": "w1",
            "passes": job.passes,
            "seconds": 1.0,
            "finished": "2024-01-01T00:00:00Z",
            "provenance": {"device": "cpu", "versions": {}, "command": "bench run"},
        }
        self.store.folder(job.key).finish(Record.from_json({**record, **fields}), artefacts)

    def measure(
        self,
        plan: Plan,
        job: Job,
        values: Mapping[str, float | None],
        *,
        n: int = 100,
        correct: Mapping[str, Any] | None = None,
        verdict: str | None = None,
        reason: str | None = None,
    ) -> None:
        """A record of an evaluate job with ``values`` by metric, or ``metric@argument`` where arguments differ;
        ``correct`` are arrays over items by the same names.
        """
        import io

        import numpy as np

        (resolved,) = [e for e in plan.suite.evaluations if e.id == job.evaluation]
        numbers: list[dict[str, Any]] = [
            {
                "metric": column.metric,
                "argument": column.argument,
                "value": values[name],
                "n": n,
                "definition": column.definition,
                "interval": None,
                "items": name if correct and name in correct else None,
                "reason": reason,
                "verdict": verdict,
                "flags": {},
            }
            for column in resolved.evaluation.columns(resolved.config)
            for name in (column.metric, f"{column.metric}@{column.argument}")
            if name in values and job.argument in ("", column.argument)
        ]
        assert numbers, f"{job.id} has no metric of {sorted(values)}"
        items = None
        if correct:
            content = io.BytesIO()
            arrays = {name: np.asarray(array) for name, array in correct.items()}
            size = len(next(iter(arrays.values())))
            np.savez(content, allow_pickle=False, **{"ids": np.arange(size, dtype=np.int64), **arrays})
            items = ITEMS
            path = self.store.folder(job.key).file(items)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.getvalue())
        self.finish(job, numbers=numbers, items=items, evaluation_kind=resolved.kind)


@pytest.fixture
def results(project: Project) -> Results:
    return Results(project.bench.store)
