"""A small suite with results, and a former run of it in another results folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import runs
from bench.compare.sides import FormerRun, former_run
from bench.execute.states import job_states
from bench.files.atomic import write_json
from bench.plan.jobs import Plan
from bench.report.cells import Results
from bench.store import Store
from bench.store.folder import JOB
from bench.suite.schema import ResolvedColumn
from tests.conftest import Project, planned
from tests.conftest import Results as Writer

SUITE = """\
[suite]
name = "s"
title = "Suite"
[data]
dataset = "digits"
[[model]]
family = "softmax"
label = "Softmax"
backbone = "wrn-10-1"
[[model]]
family = "jem"
label = "JEM"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "calibration"
[[evaluation]]
kind = "pgd"
eps = ["8/255"]
[[table]]
id = "main"
columns = ["accuracy", "calibration.nll", "calibration.ece@paper", "pgd@8/255"]
"""
N = 200


def with_seeds(text: str, count: int) -> str:
    return re.sub(r'(family = "[a-z-]+"\n)', rf"\1seeds = {list(range(1, count + 1))}\n", text)


def right(wrong: int, first: int = 0) -> NDArray[np.bool_]:
    """Correctness of N items of which ``wrong`` are wrong, from item ``first`` on."""
    items = np.arange(N)
    return (items < first) | (items >= first + wrong)


class Run:
    """A run of a suite in a results folder, without computation."""

    def __init__(self, project: Project, text: str, folder: Path) -> None:
        self.project, self.folder, self.plan = project, folder, project.plan(text)
        self.writer = Writer(Store(folder / "store"))
        runs.write_plan(folder, project.root, self.plan)

    def accuracy(self, model: str, correct: Sequence[bool] | NDArray[np.bool_], seed: int = 1) -> None:
        values = np.asarray(correct)
        self.measure(model, "accuracy", {"accuracy": float(values.mean())}, seed, correct={"accuracy": values})

    def measure(self, model: str, what: str, values: dict[str, float], seed: int = 1, **options: Any) -> None:
        job = planned(self.plan, f"{model}/digits/seed{seed}/{what}")
        self.writer.measure(self.plan, job, values, n=N, **options)
        write_json(self.writer.store.folder(job.key).file(JOB), job.as_json())

    @property
    def results(self) -> Results:
        return Results(self.plan, self.writer.store, job_states(self.plan, self.writer.store))

    @property
    def former(self) -> FormerRun:
        return former_run(self.folder, self.plan.suite)

    def column(self, name: str) -> ResolvedColumn:
        (found,) = [one for one in self.plan.suite.tables[0].columns if one.id == name]
        return found


@pytest.fixture
def run(project: Project) -> Run:
    return Run(project, SUITE, project.root / "results")


@pytest.fixture
def plan(run: Run) -> Plan:
    return run.plan
