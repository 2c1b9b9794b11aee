"""Runs through a real Slurm of one node on this machine: the results of a local run, whatever happens to the jobs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.api import Bench
from bench.store import JobFolder

_ABSENT = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(_ABSENT) or os.geteuid() != 0, reason="needs slurmctld, slurmd and munged, and root"),
]

SCRIPT = Path(__file__).with_name("one-node")
SUITE = """\
[suite]
name = "both"
[data]
dataset = "digits"
[[model]]
family   = "softmax"
backbone = "wrn-10-1"
epochs   = 2
seeds    = [1, 2]
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind  = "pgd"
steps = 2
eps   = ["16/255"]
items = 16
[[table]]
id      = "main"
columns = ["accuracy", "pgd@16/255"]
"""
LONG = """\
[suite]
name = "both"
[data]
dataset = "digits"
[[model]]
family   = "gmmc-gen"
backbone = "wrn-10-1"
epochs   = 40
[model.sampler]
steps  = 3
buffer = 200
[[evaluation]]
kind = "accuracy"
"""
PROFILE = '[profile]\nname = "few"\n[caps]\ntrain = 240\nvalidation = 20\n'


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    patch = pytest.MonkeyPatch()
    try:
        # Daemons keep what they inherit: a pipe would never be closed.
        with (folder / "start").open("w") as output:
            subprocess.run([SCRIPT, "start", folder], check=True, stdout=output, stderr=output, timeout=90)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("BENCH_CHECKPOINT_SECONDS", "0")
        for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS"):
            patch.delenv(name, raising=False)
        yield
        subprocess.run(["scancel", "--user=root"], check=True)
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)
        patch.undo()


@pytest.fixture(autouse=True)
def an_interrupt_is_heard() -> Iterator[None]:
    """Shells have their background jobs ignore Ctrl-C, and children inherit what is ignored, but no handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Place:
    """A project folder with one suite, in which commands are typed."""

    def __init__(self, root: Path, suite: str) -> None:
        (root / "suites").mkdir(parents=True)
        (root / "bench.toml").write_text('[cluster]\npoll = 1\nmemory = "1GB"\n[cluster.train]\ntime = 30\n')
        (root / "suites" / "both.toml").write_text(suite)
        (root / "few.toml").write_text(PROFILE)
        self.root, self.output = root, ""

    def started(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bench", "run", "both", "--profile", "few.toml", "--device", "cpu", *more]
        return subprocess.Popen(
            command,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> int:
        self.output, _ = process.communicate(timeout=240)
        return process.returncode

    def run(self, *more: str) -> int:
        return self.end(self.started(*more))

    def text(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *command], cwd=self.root, capture_output=True, text=True, check=True
        )
        return done.stdout

    def train(self) -> JobFolder:
        here = Bench.here(self.root)
        jobs = here.plan(self.root / "suites" / "both.toml", profile=str(self.root / "few.toml")).jobs
        return here.store.folder(next(job.key for job in jobs if job.kind == "train"))

    def number(self) -> str:
        """Id of the training in the queue."""
        path = self.root / "results" / "cluster" / f"{self.train().key}.json"
        return str(json.loads(path.read_text())["slurm"])

    def wait(self, process: subprocess.Popen[str], condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert process.poll() is None, self.end(process) and self.output
            assert time.monotonic() < deadline, (squeue(), self.train().log())
            time.sleep(0.05)

    def trains(self, besides: int = 0) -> bool:
        """Whether a worker, another than a former one, has saved a checkpoint."""
        folder = self.train()
        return folder.locked() and self.worker() != besides and folder.file("checkpoint.json").exists()

    def worker(self) -> int:
        with contextlib.suppress(ValueError, KeyError, OSError):
            return int(json.loads(self.train().file("lock").read_text())["pid"])
        return 0


def squeue() -> str:
    done = subprocess.run(["squeue", "--noheader", "--format=%i %T %r"], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_tables_are_those_of_a_local_run(slurm: None, tmp_path: Path) -> None:
    places = {on: Place(tmp_path / on, SUITE) for on in ("slurm", "local")}
    for on, place in places.items():
        assert place.run("--on", on) == 0, place.output
    assert "start softmax/digits/seed2/train" in places["slurm"].output
    for form in ("markdown", "latex", "csv", "json"):
        tables = [place.text("table", "--format", form) for place in places.values()]
        assert tables[0] == tables[1]
        assert len(tables[0]) > 200
    rows = json.loads(places["slurm"].text("status", "--json"))["jobs"]
    assert {row["state"] for row in rows} == {"done"}
    assert [path.name for path in (tmp_path / "slurm/results/cluster").glob("*.json")] == []
    assert places["slurm"].run("--on", "slurm") == 0
    assert "nothing to run" in places["slurm"].output


def test_a_job_that_is_killed_interrupted_and_timed_out_ends_with_the_same_bits(slurm: None, tmp_path: Path) -> None:
    place = Place(tmp_path / "slurm", LONG)
    only = ("--on", "slurm", "--only", "*/train", "--no-tables")

    process = place.started(*only)
    place.wait(process, place.trains)
    os.kill(killed := place.worker(), signal.SIGKILL)
    assert place.end(process) == 1
    assert "the worker was ended by signal 9" in place.output
    error = place.train().error()
    assert error is not None
    assert "signal 9" in error["message"]

    process = place.started(*only)
    place.wait(process, lambda: place.trains(killed))
    process.send_signal(signal.SIGINT)
    assert place.end(process) == 130
    assert "left in the queue: 1 job " in place.output
    number = place.number()
    assert f"{number} RUNNING" in squeue()

    # Slurm sends this signal to every process of a job when its time is nearly over.
    first = place.worker()
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    process = place.started(*only)
    place.wait(process, lambda: place.trains(first) or place.train().record())
    assert place.end(process) == 0, place.output
    # The job that was submitted before the interrupt, and no other, made the result.
    assert [line.split()[0] for line in squeue().splitlines()] in ([], [number])
    record = place.train().record()
    assert record is not None
    assert "checkpoint" in str(record.training.resumed) or "iteration" in str(record.training.resumed)

    local = Place(tmp_path / "local", LONG)
    assert local.run("--only", "*/train", "--no-tables") == 0, local.output
    found = local.train().record()
    assert found is not None
    assert record.weights == found.weights
    assert place.train().file("state.safetensors").read_bytes() == local.train().file("state.safetensors").read_bytes()


def test_cancelled_jobs_fail_and_the_same_command_starts_them_again(slurm: None, tmp_path: Path) -> None:
    place = Place(tmp_path, LONG)
    only = ("--on", "slurm", "--only", "*/train", "--no-tables")
    process = place.started(*only)
    place.wait(process, lambda: place.train().locked())
    subprocess.run(["scancel", place.number()], check=True)
    assert place.end(process) == 1
    assert "was cancelled" in place.output

    process = place.started(*only, "--cancel")
    place.wait(process, lambda: place.train().locked())
    process.send_signal(signal.SIGTERM)
    assert place.end(process) == 130
    assert "cancelled 1 job" in place.output
    deadline = time.monotonic() + 30
    while squeue():
        assert time.monotonic() < deadline, squeue()
        time.sleep(0.2)


def test_a_request_that_slurm_refuses_is_told(slurm: None, tmp_path: Path) -> None:
    place = Place(tmp_path, LONG)
    (tmp_path / "bench.local.toml").write_text('[cluster]\npartition = "none"\n')
    assert place.run("--on", "slurm", "--no-tables") == 5
    assert "Slurm takes no job" in place.output
    assert "invalid partition" in place.output
