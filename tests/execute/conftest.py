"""A suite of one small model on 96 digits, and its jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.execute.context import Site
from bench.plan.jobs import Job, Plan
from bench.store import JobFolder, Store

SMALL = """\
[suite]
name = "small"

[data]
dataset = "digits"

[[model]]
family       = "{family}"
backbone     = "wrn-10-1"
epochs       = 2
batch_size   = 32
warmup       = 0
decay_epochs = []
{more}

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "ood"
sets = ["patches"]

[[evaluation]]
kind  = "pgd"
steps = 2
eps   = ["8/255"]

[[table]]
id      = "main"
columns = ["accuracy"]
"""

CAPS = """\
[profile]
name = "caps"

[caps]
train      = 96
validation = 40
items      = 16
"""


FAILING = """\
import os, signal
from bench_models.softmax import Softmax
from bench.spec import FamilySpec, TrainingConfig


class Failing(Softmax):
    def training_step(self, model, batches, state, iteration):
        if iteration.index == 4:
            print("about to fail")
            {action}
        return super().training_step(model, batches, state, iteration)


SPEC = FamilySpec(
    name="failing", label="failing", summary="Fails.", source="a test",
    config=TrainingConfig, implementation="{module}:Failing",
)
"""


@pytest.fixture
def plan(project: Any) -> Callable[..., Plan]:
    """Plans of one family on 96 digits."""

    def make(family: str = "softmax", more: str = "") -> Plan:
        found: Plan = project.plan(SMALL.format(family=family, more=more), profile=CAPS)
        return found

    return make


@pytest.fixture
def failing(site: Any) -> Callable[[str, str], str]:
    """Makes families whose fifth training step does something; returns a reference to the spec."""

    def make(action: str, module: str) -> str:
        site.module(module, FAILING.format(action=action, module=module))
        return f"{module}:SPEC"

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def folder(where: Site, job: Job) -> JobFolder:
    return Store(where.store).folder(job.key)


def record(where: Site, job: Job) -> dict[str, Any]:
    found = folder(where, job).record_json()
    assert found is not None, folder(where, job).error()
    return found
