"""One job in this process: when it runs, what it leaves when it fails, and where its output goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.execute.context import Site
from bench.execute.worker import run_job
from bench.plan.jobs import Plan
from bench.store import Record
from bench.train.loop import Trainer
from tests.conftest import named
from tests.execute.conftest import folder, record


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every training that begins leaves an entry; an exception would only be a failure of the job."""
    calls: list[str] = []
    original = Trainer.run

    def run(trainer: Trainer, *arguments: Any) -> Any:
        calls.append("trained")
        return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "run", run)
    return calls


def test_a_result_is_not_computed_again(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")
    run_job(job, where)
    first = folder(where, job).file("record.json").read_bytes()
    trained = counted(monkeypatch)
    run_job(job, where)
    assert trained == []
    assert folder(where, job).file("record.json").read_bytes() == first


def test_a_job_at_work_elsewhere_is_left_alone(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")
    trained = counted(monkeypatch)
    place = folder(where, job)
    with place.lock():
        before = sorted(path.name for path in place.path.iterdir())
        assert not run_job(job, where)
        assert sorted(path.name for path in place.path.iterdir()) == before
    assert trained == []
    place.finish(Record(kind="train", job="the other"))
    assert not run_job(job, where)  # the other has finished it: nothing is done, and it does not count as run here
    assert trained == []
    assert record(where, job)["job"] == "the other"


def test_an_exception_leaves_the_traceback_and_the_log(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    job = named(plan(failing('raise RuntimeError("no more")', "raising")), "/train")
    run_job(job, where)
    place = folder(where, job)
    assert place.record() is None
    assert place.state() == "failed"
    error = place.error()
    assert error is not None
    assert (error["job"], error["type"], error["message"]) == (job.id, "RuntimeError", "no more")
    assert "in training_step" in error["traceback"]
    assert error["provenance"]["command"] == "bench run"
    assert "about to fail" in place.log()
    assert "Traceback" in place.log()
    assert capfd.readouterr() == ("", "")


def test_a_failure_is_no_longer_spoken_of_once_the_job_succeeds(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")

    def broken(*_: object) -> None:
        raise OSError("the disk was full")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", broken)
        run_job(job, where)
    assert folder(where, job).state() == "failed"
    run_job(job, where)
    assert folder(where, job).state() == "done"
    assert folder(where, job).error() is None


@pytest.mark.parametrize("action", ["raise SystemExit(3)", "import sys; sys.exit()"])
def test_a_family_cannot_end_the_worker_unnoticed(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str], action: str
) -> None:
    module = f"exiting{len(action)}"
    job = named(plan(failing(action, module)), "/train")
    run_job(job, where)
    error = folder(where, job).error()
    assert error is not None
    assert error["type"] == "SystemExit"


def test_an_error_that_cannot_say_what_it_is_is_still_a_failure(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    """The worker died of it, with a traceback on the terminal and "exited with code 1" as the reason."""
    action = 'raise type("Odd", (Exception,), {"__str__": lambda self: 1 // 0})'
    job = named(plan(failing(action, "speechless")), "/train")
    run_job(job, where)
    error = folder(where, job).error()
    assert error is not None
    assert (error["type"], error["message"]) == ("Odd", "Odd, whose text cannot be had: ZeroDivisionError")


def test_an_interrupt_is_not_a_failure(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    job = named(plan(failing("raise KeyboardInterrupt", "interrupting")), "/train")
    with pytest.raises(KeyboardInterrupt):
        run_job(job, where)
    assert folder(where, job).state() == "pending"


def test_cuda_that_does_not_start_is_the_error_of_the_job(plan: Callable[..., Plan], where: Site) -> None:
    """And not the end of the worker: what it records of the device is lost with CUDA, too."""
    if torch.cuda.is_available():
        pytest.skip("CUDA starts here")
    job = named(plan(), "/train")
    run_job(job, replace(where, device="cuda:0"))
    error = folder(where, job).error()
    assert error is not None
    assert error["type"] == "PrerequisiteError"
    assert error["message"].startswith("cuda:0 cannot be used: ")
    assert "run with --device cpu" in error["message"]
    assert error["provenance"]["device"] == "cuda:0"


@pytest.mark.parametrize("closed", [False, True])
def test_raw_writes_land_in_the_log_and_streams_are_what_they_were(tmp_path: Path, closed: bool) -> None:
    """C libraries and child processes write to descriptors; the command's own output, JSON perhaps, stays clean."""
    script = f"""
import os, subprocess, sys
from pathlib import Path
from bench.execute.worker import output_into
if {closed}:
    os.close(1)
with output_into(Path({str(tmp_path / "log.txt")!r})):
    print("python")
    os.write(1, b"descriptor 1\\n")
    os.write(2, b"descriptor 2\\n")
    subprocess.run(["echo", "child"])
    print("\\ud800", file=sys.stderr)
if not {closed}:
    print("after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("" if closed else "after\n", "")
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["python", "descriptor 1", "descriptor 2", "child", r"\ud800"]


def test_standard_output_of_a_worker_is_standard_error() -> None:
    script = "import os; from bench.execute.worker import free_stdout; free_stdout(); os.write(1, b'x'); print('y')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "xy\n")
