"""Training that is killed again and again ends with the weights that it would have had."""

from __future__ import annotations

import contextlib
import json
import os
import random
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

KILLS = 20

SUITE = """\
[suite]
name = "killed"
[data]
dataset = "digits"
[[model]]
family     = "{family}"
backbone   = "wrn-10-1"
epochs     = {epochs}
batch_size = {batch}
lr         = 2e-3
warmup     = 20
[model.sampler]
steps  = {steps}
buffer = 200
[[evaluation]]
kind = "accuracy"
"""
PROFILE = '[profile]\nname = "few"\n[caps]\ntrain = 240\nvalidation = 20\n'


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "0")


@pytest.fixture(autouse=True)
def an_interrupt_is_heard() -> Iterator[None]:
    """Shells have their background jobs ignore Ctrl-C, and children inherit what is ignored, but no handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Killed:
    """One train job that ``bench train`` runs in a folder of its own, as a person would, on the CPU."""

    def __init__(self, root: Path, **suite: Any) -> None:
        (root / "suites").mkdir(parents=True)
        (root / "bench.toml").write_text('[paths]\nresults = "results"\n')
        (root / "suites" / "killed.toml").write_text(SUITE.format(**{"steps": 3, **suite}))
        (root / "few.toml").write_text(PROFILE)
        self.root = root
        here = Bench.here(root)
        plan = here.plan(root / "suites" / "killed.toml", profile=str(root / "few.toml"))
        (train,) = [job for job in plan.jobs if job.kind == "train"]
        self.folder: JobFolder = here.store.folder(train.key)
        self.output = ""

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bench", "train", "killed", "--profile", "few.toml"]
        return subprocess.Popen(
            [*command, "--device", "cpu", "--workers", "1"],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> int:
        self.output, _ = process.communicate(timeout=300)
        return process.returncode

    def wait_for(self, process: subprocess.Popen[str], condition: Callable[[], bool]) -> bool:
        """Whether it came true before the process ended."""
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.005)
        return False

    def begun(self) -> bool:
        """A worker of this run is training: the lock is held, and it has spoken of an iteration."""
        return self.folder.state() == "running" and self.folder.progress() is not None

    def forget_progress(self) -> None:
        """So that only the next worker's is seen."""
        (self.folder.path / "progress.json").unlink(missing_ok=True)

    def worker(self) -> int:
        return int(json.loads((self.folder.path / "lock").read_text())["pid"])

    def result(self) -> tuple[str, bytes]:
        """Digest of the weights, and the whole replay buffer with its generator."""
        record = self.folder.record_json()
        assert record is not None, self.output
        assert record["status"] == "ok"
        return str(record["weights"]), self.folder.file("state.safetensors").read_bytes()


@contextlib.contextmanager
def running(run: Killed) -> Iterator[subprocess.Popen[str]]:
    """A run that does not outlive the test."""
    run.forget_progress()
    process = run.start()
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def uninterrupted(run: Killed) -> tuple[str, bytes]:
    with running(run) as process:
        assert run.end(process) == 0, run.output
    return run.result()


def iteration_of_last_checkpoint(run: Killed) -> int:
    index = json.loads((run.folder.path / "checkpoint.json").read_text())
    return int(index["checkpoints"][0]["iteration"])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gmmc-gen", "jem"])
@pytest.mark.parametrize("how", ["worker", "run"])
def test_twenty_kills_at_random_instants(tmp_path: Path, family: str, how: str) -> None:
    """``worker``: SIGKILL to the process that trains. ``run``: SIGTERM and Ctrl-C to the command, by turns."""
    suite = {"family": family, "epochs": 150, "batch": 40, "steps": 5}
    expected = uninterrupted(Killed(tmp_path / "undisturbed", **suite))
    chance = random.Random(f"{family} {how}")
    run = Killed(tmp_path / "killed", **suite)
    reached = []
    for kill in range(KILLS):
        with running(run) as process:
            assert run.wait_for(process, run.begun), f"ended after {kill} kills: {run.output}"
            time.sleep(chance.uniform(0, 0.5))
            if how == "worker":
                os.kill(run.worker(), signal.SIGKILL)
                assert run.end(process) == 1, run.output
                assert "ended by signal 9" in run.output
            else:
                if kill % 2:
                    os.kill(process.pid, signal.SIGTERM)
                else:
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                assert run.end(process) == 130, run.output
        assert run.folder.record() is None
        if (run.folder.path / "checkpoint.json").exists():
            reached.append(iteration_of_last_checkpoint(run))
    assert reached == sorted(reached)
    assert reached[-1] > 6  # it got somewhere between the kills
    assert uninterrupted(run) == expected
    record = run.folder.record_json()
    assert record is not None
    assert record["resumed"] == f"continued at iteration {reached[-1]}"
    print(
        f"{family}, {how}: {KILLS} kills, last checkpoints at iterations {reached} of 900, weights {expected[0][:12]}"
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupt_in_the_middle_of_a_long_epoch(tmp_path: Path, ending: signal.Signals) -> None:
    """There is no end of an epoch to wait for: 80 iterations are the whole training."""
    suite = {"family": "gmmc-gen", "epochs": 1, "batch": 3, "steps": 6}
    run = Killed(tmp_path, **suite)
    with running(run) as process:
        assert run.wait_for(process, run.begun), run.output
        os.killpg(process.pid, ending)
        assert run.end(process) == 130, run.output
    assert "Traceback" not in run.output
    at = iteration_of_last_checkpoint(run)
    assert 0 < at < 80
    if ending == signal.SIGTERM:
        return
    with running(run) as process:
        assert run.end(process) == 0, run.output
    record = run.folder.record_json()
    assert record is not None
    assert record["resumed"] == f"continued at iteration {at}"
    assert record["iterations"] == []
    assert run.result() == uninterrupted(Killed(tmp_path / "undisturbed", **suite))


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_checkpoint_interval_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", text)
    run = subprocess.run(
        [sys.executable, "-m", "bench", "plan", "digits"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr == f"bench: BENCH_CHECKPOINT_SECONDS={text}: expected seconds, such as 15\n"
