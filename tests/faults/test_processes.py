"""Accidents of processes: random kills, commands that die, workers that leave, two commands on one store."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bench.execute.context import Site
from bench.execute.displays import Display
from bench.execute.executors import InProcess
from bench.execute.scheduler import run_plan
from bench.plan.jobs import Plan
from bench.store import JobFolder, Record
from tests.faults.conftest import Small, wait_until

SOFTMAX = "softmax/digits/seed1"


def end(process: subprocess.Popen[bytes]) -> None:
    """``kill -9`` of everything that a test started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


def working(small: Small) -> bool:
    return any(small.store.glob("*/*/progress.json"))


def long_training(small: Small) -> None:
    """The suite with a training that no test waits for."""
    profile = small.root / "suites" / "profiles" / "tiny.toml"
    profile.write_text(profile.read_text().replace("epochs       = 2", "epochs       = 5000"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_command(tmp_path: Path, how: signal.Signals) -> None:
    """Whatever ended it: nothing trains on, and the locks are free for the next command."""
    small = Small.written(tmp_path)
    long_training(small)
    process = small.start("--only", f"{SOFTMAX}/train")
    try:
        assert wait_until(lambda: working(small)), small.output()
        process.send_signal(how)
        assert process.wait(60) == (-signal.SIGKILL if how == signal.SIGKILL else 130)
        assert wait_until(lambda: not members(process.pid), 30), members(process.pid)
        folder = small.folder(f"{SOFTMAX}/train")
        assert not folder.locked()
        assert folder.file("checkpoint.json").exists()  # it saved where it stood
    finally:
        end(process)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.2, 2.0, 3.0])
def test_an_early_end_leaves_nobody_behind(tmp_path: Path, seconds: float) -> None:
    """SIGTERM while the first worker starts: none starts afterwards."""
    small = Small.written(tmp_path)
    long_training(small)
    process = small.start("--only", f"{SOFTMAX}/train")
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.terminate()
        # Before our handler stands the signal ends the process; where it meets an import in C, Python ends by SIGINT
        # after all, which a shell sees as 130, too.
        assert process.wait(60) in (130, -signal.SIGTERM, -signal.SIGINT), small.output()
        assert wait_until(lambda: not members(process.pid), 15), members(process.pid)
    finally:
        end(process)


def test_a_command_that_waits_for_another_ends_at_once(tmp_path: Path) -> None:
    small = Small.written(tmp_path)
    folder = small.folder(f"{SOFTMAX}/train")
    with folder.lock():
        process = small.start("--only", f"{SOFTMAX}/train")
        try:
            assert wait_until(lambda: "held" in small.output()), small.output()
            assert f"held {SOFTMAX}/train: process {os.getpid()} on " in " ".join(small.output().split())
            began = time.monotonic()
            process.terminate()
            assert process.wait(60) == 130
            assert time.monotonic() - began < 30  # it was 60, the time that workers get
        finally:
            end(process)


def test_the_result_of_another_command_is_taken(tmp_path: Path, finished: Small) -> None:
    """While another process holds a job, the others run; when it lets go without a result, the job runs here."""
    small = Small.written(tmp_path)
    folder = small.folder(f"{SOFTMAX}/train")
    with folder.lock():
        process = small.start("--only", "*/accuracy")
        other = small.folder("gmmc-gen/digits/seed1/accuracy")
        assert wait_until(lambda: other.record() is not None, 120), small.output()
        assert folder.record() is None
    try:
        assert process.wait(120) == 0, small.output()
        states = small.states()
        assert states[f"{SOFTMAX}/accuracy"] == "done"
    finally:
        end(process)


def test_two_commands_share_the_work(tmp_path: Path, finished: Small) -> None:
    small = Small.written(tmp_path)
    commands = [small.start("--workers", "1", "--no-tables", out=f"out{n}.txt") for n in range(2)]
    try:
        for n, process in enumerate(commands):
            assert process.wait(240) == 0, small.output(f"out{n}.txt")
    finally:
        for process in commands:
            end(process)
    assert small.numbers() == finished.numbers()
    assert set(small.states(thorough=True).values()) == {"done", "n/a"}
    # Every job ran once: none of the records was made by one command and again by the other.
    ran = [int(count) for n in range(2) for count in re.findall(r"(\d+) run in", small.output(f"out{n}.txt"))]
    assert sum(ran) == len([job for job, state in small.states().items() if state == "done"])
    assert len(ran) == 2


def test_two_commands_that_meet_stale_results_leave_whole_ones(copy: Small, finished: Small) -> None:
    """Both see the same stale records. Neither deletes what the other has just made."""
    for attempt in range(3):
        for job in (f"{SOFTMAX}/accuracy", f"{SOFTMAX}/pgd-2@25/255", f"{SOFTMAX}/predict/test"):
            folder = copy.folder(job)
            record = dict(folder.record_json() or {})
            record.pop("digest")
            folder.finish(Record.from_json({**record, "weights": "of other weights"}), folder.artefacts())
            assert copy.states()[job] == "stale"
        commands = [copy.start("--workers", "1", out=f"out{attempt}{n}.txt") for n in range(2)]
        for n, process in enumerate(commands):
            assert process.wait(120) == 0, copy.output(f"out{attempt}{n}.txt")
        assert set(copy.states(thorough=True).values()) == {"done", "n/a"}
        assert copy.numbers() == finished.numbers()


def test_a_worker_that_leaves_without_a_word_is_failed_everywhere(tmp_path: Path) -> None:
    small = Small.written(tmp_path)
    (small.root / "leaver.py").write_text(
        textwrap.dedent(
            """
            import os
            from bench.evaluate.base import Column, Evaluation, EvaluationConfig

            class Leaver(Evaluation):
                name, version, summary, source = "leaver", 1, "leaves", "nowhere"
                Config = EvaluationConfig

                def columns(self, config):
                    return (Column(metric="m", label="m", unit="1", direction=None, definition="d", primary=True),)

                def evaluate(self, config, inputs):
                    os._exit(0)
            """
        )
    )
    code = """
    import sys
    sys.path.insert(0, ".")
    from bench.evaluate.base import EVALUATIONS
    from leaver import Leaver
    from bench.api import Bench
    if __name__ == "__main__":
        here = Bench.here()
        outcome = here.run("suites/leaves.toml", profile="tiny", device="cpu", workers=1)
        states = here.states(outcome.plan)
        for job in outcome.plan.jobs:
            if job.kind == "evaluate":
                print(outcome.summary.states[job.key].state, states[job.key].state, states[job.key].reason)
    """
    info = small.root / "leaver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.evaluations]\nleaver = leaver:LEAVER\n")
    with (small.root / "leaver.py").open("a") as file:
        file.write("\nLEAVER = Leaver()\n")
    suite = small.suite.read_text().split("[[evaluation]]")[0] + '[[evaluation]]\nkind = "leaver"\n'
    (small.root / "suites" / "leaves.toml").write_text(suite)
    path = os.pathsep.join([str(small.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=small.root, capture_output=True, text=True, timeout=200, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    lines = answer.stdout.splitlines()
    assert len(lines) == 2, answer.stderr
    for line in lines:
        assert line == "failed failed WorkerDied: the worker ended without a result and without an error"


def kills(small: Small, finished: Small, count: int, seed: int) -> None:
    """``kill -9`` of everything at random instants, until the work is done; then the same tables."""
    clock = random.Random(seed)
    for _ in range(count):
        process = small.start("--workers", "2")
        try:
            code = process.wait(clock.uniform(0.3, 6.0))
        except subprocess.TimeoutExpired:
            end(process)
        else:
            assert code == 0, small.output()
            break
    process = small.start("--workers", "2")
    assert process.wait(240) == 0, small.output()
    assert small.numbers() == finished.numbers()
    assert set(small.states(thorough=True).values()) == {"done", "n/a"}
    assert not list((small.root / "results" / "running").glob("*.json"))
    assert not list(small.store.rglob("*.tmp"))


def test_kills_at_random_instants_change_nothing(tmp_path: Path, finished: Small) -> None:
    kills(Small.written(tmp_path), finished, 5, seed=1)


@pytest.mark.slow
def test_a_thousand_kills_change_nothing(tmp_path: Path, finished: Small) -> None:
    for seed in range(100):
        kills(Small.written(tmp_path / str(seed)), finished, 10, seed)


def test_a_disk_that_is_full_fails_jobs_and_names_the_file(copy: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither result nor failure can be written: it ended the run, with tracebacks and without a name."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    small, jobs = copy, ["softmax/digits/seed1/accuracy", "softmax/digits/seed1/calibration"]
    plan = small.bench.plan(small.suite, profile="tiny")
    chosen = Plan(plan.suite, tuple(job for job in plan.jobs if job.id in jobs))
    for job in chosen.jobs:
        small.bench.store.folder(job.key).forget()
    site = Site(small.store, small.root, small.root, "cpu", "a test")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        summary = run_plan(chosen, small.bench.store, lambda: InProcess(site), Display())
    for job in chosen.jobs:
        status = summary.states[job.key]
        assert status.state == "failed"
        assert "is the disk full?" in status.reason
        assert str(small.bench.store.folder(job.key).path) in status.reason
    assert small.run().exit_code() == 0


def test_a_run_goes_on_where_its_fork_server_is_killed(tmp_path: Path) -> None:
    """The job at work is lost, and its process ends; the next one gets a new server (the run ended with EOFError)."""
    small = Small.written(tmp_path)
    long_training(small)
    command = small.start("--workers", "1", "--device", "cpu", "--only", "*/train")
    worker: list[int] = []

    def at_work() -> bool:
        worker[:] = [
            int(json.loads(path.read_text())["pid"])
            for path in small.store.glob("*/*/lock")
            if path.with_name("progress.json").exists() and JobFolder(path.parent).locked()
        ]
        return bool(worker)

    try:
        assert wait_until(at_work)
        (first,) = worker
        os.kill(_parent(first), signal.SIGKILL)
        assert wait_until(lambda: not _alive(first), 20)
        # The command itself holds the lock for a moment, to write that the job has failed.
        assert wait_until(lambda: at_work() and bool(set(worker) - {first, command.pid}))
        assert wait_until(lambda: "failed" in small.output())
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 130
    finally:
        end(command)
    assert "Traceback" not in small.output()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
