"""Ways to run jobs: in this process, and in a pool of processes of which any may die."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.execute import executors
from bench.execute.context import Site
from bench.execute.displays import Display, Summary
from bench.execute.executors import Ended, InProcess, Pool
from bench.execute.scheduler import run_plan
from bench.plan.jobs import Job, Plan
from bench.store import Store
from bench.train import checkpoint
from tests.conftest import planned
from tests.execute.conftest import CAPS

HEADER = """\
[suite]
name = "pair"

[data]
dataset = "digits"

[[evaluation]]
kind = "accuracy"

[[table]]
id      = "main"
columns = ["accuracy"]
"""

MODEL = """
[[model]]
name         = "{name}"
label        = "{name}"
family       = "{family}"
backbone     = "wrn-10-1"
epochs       = {epochs}
batch_size   = 32
warmup       = 0
decay_epochs = []
lr           = {lr}
"""


def model(name: str, family: str = "softmax", epochs: int = 2, lr: str = "1e-3") -> str:
    return MODEL.format(name=name, family=family, epochs=epochs, lr=lr)


@pytest.fixture
def plan(project: Any) -> Callable[..., Plan]:
    def make(*models: str) -> Plan:
        found: Plan = project.plan(HEADER + "".join(models), profile=CAPS)
        return found

    return make


@pytest.fixture
def pool(where: Site) -> Iterator[Pool]:
    executor = Pool(where, ["cpu", "cpu"])
    yield executor
    executor.stop()


def trains(plan: Plan) -> list[Job]:
    return [job for job in plan.jobs if job.kind == "train"]


def collect(executor: Pool, count: int, within: float = 60) -> list[Ended]:
    ended: list[Ended] = []
    deadline = time.monotonic() + within
    while len(ended) < count and time.monotonic() < deadline:
        ended += executor.ended(0.2)
    assert len(ended) == count
    return ended


def run(plan: Plan, where: Site, executor: Callable[[], Any] | None = None) -> Summary:
    make = executor if executor is not None else lambda: Pool(where, ["cpu", "cpu"])
    return run_plan(plan, Store(where.store), make, Display())


def states(plan: Plan, summary: Summary) -> dict[str, str]:
    return {job.id: summary.states[job.key].state for job in plan.jobs}


# --- in this process --------------------------------------------------------------------------------------------


def test_in_process_runs_a_job_at_once_and_reports_it_once(plan: Callable[..., Plan], where: Site) -> None:
    (job,) = trains(plan(model("a")))
    executor = InProcess(where)
    assert executor.capacity == 1
    executor.start(job)
    assert Store(where.store).folder(job.key).record() is not None
    assert executor.ended(0.0) == [Ended(job)]
    assert executor.ended(0.0) == []
    executor.stop()


# --- in processes -----------------------------------------------------------------------------------------------


def test_a_pool_runs_jobs_beside_each_other_in_processes_of_one_thread(
    plan: Callable[..., Plan], where: Site, pool: Pool
) -> None:
    first, second = trains(plan(model("a", lr="1e-3"), model("b", lr="2e-3")))
    environment = dict(os.environ)
    main = {name: getattr(sys.modules["__main__"], name, None) for name in ("__spec__", "__file__")}
    assert pool.capacity == 2
    pool.start(first)
    pool.start(second)
    assert dict(os.environ) == environment
    assert {name: getattr(sys.modules["__main__"], name, None) for name in main} == main
    ended = collect(pool, 2)
    assert {item.job.id for item in ended} == {first.id, second.id}
    assert {item.died for item in ended} == {None}
    store = Store(where.store)
    records = [store.folder(job.key).record_json() for job in (first, second)]
    assert [record and record["status"] for record in records] == ["ok", "ok"]
    assert [record and record["provenance"]["threads"] for record in records] == [1, 1]
    assert records[0]
    assert records[1]
    assert records[0]["weights"] != records[1]["weights"]


def test_a_process_gives_the_weights_of_this_process(plan: Callable[..., Plan], where: Site, pool: Pool) -> None:
    (job,) = trains(plan(model("a")))
    pool.start(job)
    collect(pool, 1)
    here = Site(where.store.parent / "here", where.data, where.weights, "cpu", "")
    InProcess(here).start(job)
    records = [Store(site.store).folder(job.key).record_json() for site in (where, here)]
    assert records[0]
    assert records[1]
    assert records[0]["weights"] == records[1]["weights"]


def test_workers_have_one_thread_unless_a_person_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with executors._environment():
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", "1")
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


def test_an_idle_pool_has_nothing_to_report(pool: Pool) -> None:
    began = time.monotonic()
    assert pool.ended(5.0) == []
    assert time.monotonic() - began < 1


def test_a_killed_worker_is_a_failure_and_the_others_finish(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    victim = failing("os.kill(os.getpid(), signal.SIGKILL)", "killed_family")
    whole = plan(model("victim", victim), model("other"))
    summary = run(whole, where)
    assert states(whole, summary) == {
        "victim/digits/seed1/train": "failed",
        "victim/digits/seed1/predict/test": "failed",
        "victim/digits/seed1/accuracy": "failed",
        "other/digits/seed1/train": "done",
        "other/digits/seed1/predict/test": "done",
        "other/digits/seed1/accuracy": "done",
    }
    train = planned(whole, "victim/digits/seed1/train")
    assert summary.states[train.key].reason == "the worker was ended by signal 9 (out of memory?)"
    error = Store(where.store).folder(train.key).error()
    assert error is not None
    assert (error["type"], error["message"]) == ("WorkerDied", summary.states[train.key].reason)
    accuracy = planned(whole, "victim/digits/seed1/accuracy")
    assert "input failed" in summary.states[accuracy.key].reason


def test_a_worker_killed_from_outside_goes_on_at_the_next_run(
    plan: Callable[..., Plan], where: Site, pool: Pool
) -> None:
    (job,) = trains(plan(model("a", epochs=400)))
    folder = Store(where.store).folder(job.key)
    pool.start(job)
    deadline = time.monotonic() + 30
    while folder.progress() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert folder.state() == "running"
    (process,) = [process for process, _, _ in pool._running.values()]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    (ended,) = collect(pool, 1)
    assert ended.died == "the worker was ended by signal 9 (out of memory?)"
    # The lock went with the process, so nothing has to be cleared up.
    assert folder.state() == "pending"
    with folder.lock(wait=False) as held:
        assert held


def test_a_worker_that_leaves_without_a_word(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    whole = plan(model("victim", failing("os._exit(3)", "leaving_family")))
    summary = run(whole, where)
    train = planned(whole, "victim/digits/seed1/train")
    assert summary.states[train.key].reason == "the worker exited with code 3"


def test_an_exception_in_a_process_comes_with_its_traceback(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    whole = plan(model("victim", failing('raise ValueError("bad step")', "raising_family")), model("other"))
    summary = run(whole, where)
    train = planned(whole, "victim/digits/seed1/train")
    assert summary.states[train.key].reason == "ValueError: bad step"
    error = Store(where.store).folder(train.key).error()
    assert error is not None
    assert "raising_family.py" in error["traceback"]
    assert summary.counts() == {"failed": 3, "done": 3}


# --- an end before the end --------------------------------------------------------------------------------------


def test_stopping_saves_training_where_it_stands(plan: Callable[..., Plan], where: Site, pool: Pool) -> None:
    """SIGTERM, as after Ctrl-C: the worker finishes its iteration, writes a checkpoint and goes."""
    (job,) = trains(plan(model("a", epochs=400)))
    folder = Store(where.store).folder(job.key)
    pool.start(job)
    deadline = time.monotonic() + 30
    while (folder.progress() or {}).get("done", 0) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    pool.stop()
    assert time.monotonic() - began < 5
    assert folder.record() is None
    assert folder.error() is None
    assert folder.state() == "pending"
    assert folder.file(checkpoint.INDEX).is_file()
    pool.stop()  # again, with nothing left


def test_an_interrupted_run_goes_on_to_the_same_weights(plan: Callable[..., Plan], where: Site, project: Any) -> None:
    # Long enough that a fast processor is still at it when the progress, told every .4 s, is looked at.
    whole = plan(model("a", epochs=200))
    (job,) = trains(whole)
    folder = Store(where.store).folder(job.key)

    class Impatient(Pool):
        def ended(self, timeout: float) -> list[Ended]:
            if (folder.progress() or {}).get("done", 0) >= 5:
                raise KeyboardInterrupt
            return super().ended(timeout)

    summary = run(whole, where, lambda: Impatient(where, ["cpu", "cpu"]))
    assert summary.interrupted
    assert summary.states[job.key].state == "pending"
    assert not run(whole, where).interrupted
    record = folder.record_json()
    assert record is not None
    assert record["resumed"].startswith("continued at iteration ")
    here = Site(Path(project.root) / "here", where.data, where.weights, "cpu", "")
    InProcess(here).start(job)
    undisturbed = Store(here.store).folder(job.key).record_json()
    assert undisturbed is not None
    assert undisturbed["weights"] == record["weights"]
