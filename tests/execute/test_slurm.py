"""The engine without a cluster: `squeue` and submitit are stood in for. With a real one: tests/cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import PrerequisiteError, RequestError
from bench.execute import slurm
from bench.execute.attempt import Attempt
from bench.execute.context import Site
from bench.execute.engines import ENGINES, LOCAL, Detached, Request
from bench.execute.executors import Executor
from bench.execute.queue import Queue
from bench.execute.slurm import SLURM, Slurm
from bench.plan.jobs import Job
from bench.store import Record, Store
from bench.suite.cluster import Cluster
from tests.conftest import Project

pytest.importorskip("submitit")


class Executors:
    """What submitit does, noted: arrays of (device, job key)."""

    def __init__(self) -> None:
        self.waves: list[tuple[str, list[Attempt]]] = []
        self.refuse = ""

    def __call__(self, kind: str, asked: Any) -> Any:
        return self

    def batch(self) -> Any:
        self.waves.append(("", []))
        return self

    def __enter__(self) -> None:
        if self.refuse:
            raise RuntimeError(self.refuse)

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, attempt: Attempt) -> Any:
        self.waves[-1][1].append(attempt)
        return SimpleNamespace(job_id=f"{len(self.waves)}_{len(self.waves[-1][1]) - 1}")


@pytest.fixture
def jobs(project: Project) -> list[Job]:
    return list(project.bench.plan(project.suite()).jobs)


class Place:
    """An executor on a queue whose states a test sets."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, **cluster: Any) -> None:
        self.site = Site(root / "results" / "store", root, root, "cpu", "a test")
        self.states: dict[str, str] | None = {}
        self.sent = Executors()
        self.cancelled: list[str] = []
        patch.setattr(slurm, "_require", lambda: None)
        patch.setattr(slurm, "LOOK", 0.0)
        patch.setattr(slurm, "cancel", self.cancelled.extend)
        patch.setattr(Queue, "states", lambda *_, **__: self.states)
        patch.setattr(Slurm, "_executor", lambda _, kind, asked: self.sent)
        self.cluster = Cluster(**cluster)
        self.store = Store(self.site.store)

    def executor(self) -> Slurm:
        return Slurm(self.site, self.cluster)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_ours_are_found_by_name() -> None:
    assert ENGINES.get("local") is LOCAL
    assert ENGINES.get("slurm") is SLURM
    with pytest.raises(RequestError, match="did you mean 'slurm'"):
        ENGINES.get("slrum")


def test_it_keeps_the_interface(place: Place) -> None:
    executor: Executor = place.executor()
    assert isinstance(executor, Detached)
    assert executor.capacity == 100


def test_one_array_for_what_is_ready_of_a_kind(place: Place, jobs: list[Job]) -> None:
    executor = place.executor()
    trains = [job for job in jobs if job.kind == "train"]
    predict = next(job for job in jobs if job.kind == "predict")
    for job in (*trains, predict):
        executor.start(job)
    assert place.sent.waves == []
    place.states = {"1_0": "PENDING", "1_1": "RUNNING", "2_0": "PENDING"}
    assert executor.ended(0) == []
    assert [len(wave) for _, wave in place.sent.waves] == [len(trains), 1]
    place.store.folder(trains[0].key).finish(Record(kind="train"))
    (ended,) = executor.ended(0)
    assert (ended.job, ended.died, ended.held) == (trains[0], None, False)
    assert executor.left() == ["1_1", "2_0"]


def test_a_later_command_takes_what_still_waits(place: Place, jobs: list[Job]) -> None:
    first, job = place.executor(), jobs[0]
    first.start(job)
    place.states = {"1_0": "PENDING"}
    first.ended(0)
    first.stop()
    second = place.executor()
    second.start(job)
    assert second.ended(0) == []
    assert len(place.sent.waves) == 1
    second.cancel()
    assert place.cancelled == ["1_0"]
    assert not list((place.site.store.parent / "cluster").glob("*.json"))
    place.states = {}  # what was cancelled is submitted again
    third = place.executor()
    third.start(job)
    third.ended(0)
    assert len(place.sent.waves) == 2


def test_how_a_job_died(place: Place, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SETTLE", 0.0)
    folder = place.site.store.parent / "cluster"

    def died(state: str | None) -> str | None:
        executor = place.executor()
        executor.start(jobs[0])
        place.states = {} if state is None else {f"{len(place.sent.waves) + 1}_0": state}
        (ended,) = executor.ended(0)
        return ended.died

    assert died("CANCELLED") == "its Slurm job 1_0 was cancelled"
    assert "does the node see" in str(died(None))
    (folder / "3_0_0_log.err").write_text("a\nb\nslurmstepd: DUE TO TIME LIMIT\n\n", encoding="utf-8")
    told = str(died("TIMEOUT"))
    assert told.startswith("its Slurm job 3_0 ended as TIMEOUT: a | b | slurmstepd: DUE TO TIME LIMIT (")
    (folder / "4_0_ended.json").write_text(json.dumps({"died": "by signal 9", "held": False}), encoding="utf-8")
    assert died("COMPLETED") == "by signal 9"


def test_files_on_their_way_are_waited_for_and_silence_is_no_end(place: Place, jobs: list[Job]) -> None:
    executor = place.executor()
    executor.start(jobs[0])
    place.states = None
    assert executor.ended(0) == []
    place.states = {}
    assert executor.ended(0) == []  # it left the queue, but its result may be under way
    place.store.folder(jobs[0].key).finish(Record(kind="train"))
    assert [ended.died for ended in executor.ended(0)] == [None]


def test_a_refusal_ends_the_run_at_first_and_fails_jobs_later(place: Place, jobs: list[Job]) -> None:
    executor = place.executor()
    place.sent.refuse = "sbatch: error: invalid partition"
    executor.start(jobs[0])
    with pytest.raises(PrerequisiteError, match=r"invalid partition; see \[cluster\]"):
        executor.ended(0)
    place.sent.refuse = ""
    executor.start(jobs[0])
    place.states = {"2_0": "PENDING"}
    executor.ended(0)
    place.sent.refuse = "too many"
    executor.start(jobs[1])
    (ended,) = executor.ended(0)
    assert ended.died == "Slurm did not take the job: too many"


def test_devices() -> None:
    gpu = Cluster(gpus=1, jobs=3)
    assert SLURM.slots(Request("auto", None, gpu)) == ["cuda:0"] * 3
    assert SLURM.slots(Request("cpu", 2, gpu)) == ["cpu"] * 2
    with pytest.raises(PrerequisiteError, match="asks for no GPU"):
        SLURM.slots(Request("cuda", None, Cluster()))
    with pytest.raises(RequestError, match="at least 1"):
        SLURM.slots(Request("auto", 0, Cluster()))


def test_without_submitit_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(PrerequisiteError, match=r'pip install "gmmc-bench\[slurm\]"'):
        Slurm(Site(tmp_path, tmp_path, tmp_path, "cpu", ""), Cluster())


class TestQueue:
    def program(self, folder: Path, patch: pytest.MonkeyPatch, text: str) -> None:
        path = folder / "squeue"
        path.write_text(f"#!/bin/sh\necho x >> {folder}/calls\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        patch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def test_states_are_asked_for_at_most_every_poll(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program(tmp_path, monkeypatch, "printf '7 RUNNING\\n8_2 PENDING\\nnoise here too\\n'")
        queue = Queue(60)
        assert queue.states() == queue.states() == {"7": "RUNNING", "8_2": "PENDING"}
        assert len((tmp_path / "calls").read_text().split()) == 1
        queue.states(now=True)
        assert len((tmp_path / "calls").read_text().split()) == 2

    def test_no_answer_is_told_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program(tmp_path, monkeypatch, "echo 'Unable to contact slurm controller' >&2; exit 1")
        queue = Queue(0)
        with pytest.warns(UserWarning, match="Unable to contact"):
            assert queue.states() is None
        assert queue.states() is None

    def test_no_slurm_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(PrerequisiteError, match="login node"):
            Queue(0).states()
