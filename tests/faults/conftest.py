"""A small finished project that tests of accidents damage, kill and run again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.api import Bench, Run
from bench.report.formats.json import as_dict
from bench.store import JobFolder
from tests.conftest import planned

SUITE = """\
[suite]
name = "small"

[data]
dataset = "digits"

[[model]]
family   = "gmmc-gen"
backbone = "wrn-10-1"
[model.sampler]
steps  = 2
buffer = 40

[[model]]
family   = "softmax"
backbone = "wrn-10-1"

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "calibration"

[[evaluation]]
kind        = "pgd"
id          = "pgd-2"
steps       = 2
eps         = ["25/255"]
adversarials = true

[[evaluation]]
kind   = "generation"
items  = 20

[[table]]
id      = "main"
columns = ["accuracy", "calibration.ece", "pgd-2@25/255", "generation"]
"""

PROFILE = """\
[profile]
name = "tiny"

[model]
epochs       = 2
lr           = 2e-3
warmup       = 0
decay_epochs = [8, 10]

[caps]
train      = 128
validation = 60
items      = 32
"""


@dataclass(frozen=True)
class Small:
    """A project folder with the suite ``small``."""

    root: Path

    @classmethod
    def written(cls, root: Path) -> Small:
        (root / "suites" / "profiles").mkdir(parents=True, exist_ok=True)
        (root / "bench.toml").write_text('[paths]\nresults = "results"\ndata = "data"\nweights = "weights"\n')
        (root / "suites" / "small.toml").write_text(SUITE)
        (root / "suites" / "profiles" / "tiny.toml").write_text(PROFILE)
        return cls(root)

    @property
    def suite(self) -> Path:
        return self.root / "suites" / "small.toml"

    @property
    def store(self) -> Path:
        return self.root / "results" / "store"

    @property
    def bench(self) -> Bench:
        return Bench.here(self.root)

    def run(self, **options: Any) -> Run:
        return self.bench.run(self.suite, profile="tiny", device="cpu", in_process=True, **options)

    def states(self, *, thorough: bool = False) -> dict[str, str]:
        """State of every job by its id."""
        plan = self.bench.plan(self.suite, profile="tiny")
        states = self.bench.states(plan, thorough=thorough)
        return {job.id: states[job.key].state for job in plan.jobs}

    def reason(self, job_id: str) -> str:
        plan = self.bench.plan(self.suite, profile="tiny")
        job = planned(plan, job_id)
        return self.bench.states(plan)[job.key].reason

    def folder(self, job_id: str) -> JobFolder:
        job = planned(self.bench.plan(self.suite, profile="tiny"), job_id)
        return self.bench.store.folder(job.key)

    def numbers(self) -> list[Any]:
        """The tables as data, without what depends on the clock."""
        report = as_dict(self.bench.report(self.bench.plan(self.suite, profile="tiny")))
        return [
            [(cell["column"], cell["value"], cell["n"], cell["status"]) for cell in row["cells"]]
            for table in report["tables"]
            for row in table["rows"]
        ]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench", *arguments], cwd=self.root, capture_output=True, text=True, timeout=300
        )

    def start(self, *arguments: str, out: str = "out.txt") -> subprocess.Popen[bytes]:
        """``bench run small`` in a process group of its own."""
        with (self.root / out).open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "bench", "run", "small", "--profile", "tiny", *arguments],
                cwd=self.root,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def output(self, out: str = "out.txt") -> str:
        return (self.root / out).read_text(errors="replace")


@pytest.fixture(autouse=True, scope="session")
def of_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS", "BENCH_INCEPTION_WEIGHTS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Run once to its end. To be looked at, not changed."""
    small = Small.written(tmp_path_factory.mktemp("small"))
    outcome = small.run()
    assert set(outcome.summary.counts()) == {"done", "n/a"}
    return small


@pytest.fixture
def copy(finished: Small, tmp_path: Path) -> Small:
    """A copy of the finished project, to be damaged."""
    shutil.copytree(finished.root, tmp_path / "copy")
    return Small(tmp_path / "copy")


def wait_until(condition: Callable[[], bool], within: float = 60.0) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
