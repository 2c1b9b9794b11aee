"""Jobs share a GPU if it holds them together; what they hold comes from finished jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.execute.context import Site
from bench.execute.executors import Pool, Selective
from bench.execute.memory import Memory
from bench.execute.times import Took, kind_of
from bench.plan.jobs import Job
from bench.store import Provenance, Record, Store
from tests.execute.scripted import PLAN, job

TRAIN, OTHER = (one for one in PLAN.jobs if one.kind == "train")
READER = job("accuracy", TRAIN)  # a job without network passes: it reads predictions
GPU = 80 * 2**30
HALF = 0.5


def record(job: Job, held: float | None, *, gpu: int = GPU, share: float = HALF, finished: str = "") -> Record:
    """The record of a job that held a part of a GPU."""
    peak = None if held is None else round(held * gpu)
    provenance = Provenance(device="cuda:0", device_memory=gpu, peak_memory=peak, memory_share=share)
    train = job.task.train
    return Record(
        kind=job.kind,
        family=train.model.family,
        backbone=train.model.backbone,
        dataset=train.data.dataset,
        key=job.key,
        finished=finished,
        provenance=provenance,
    )


def took(job: Job, held: float, gpu: int = GPU, share: float = HALF, finished: str = "") -> Took:
    return Took.of(record(job, held, gpu=gpu, share=share, finished=finished))


def test_a_record_tells_what_a_job_held() -> None:
    found = Took.of(record(TRAIN, 0.25))
    assert (found.device_memory, found.peak_memory, found.memory_share) == (GPU, GPU // 4, HALF)
    assert found.like == kind_of(TRAIN)


@pytest.mark.parametrize(("held", "fits"), [(0.40, True), (0.45, True), (0.50, False)])
def test_two_jobs_share_a_gpu_that_holds_both(held: float, fits: bool) -> None:
    memory = Memory(["cuda:0", "cuda:0", "cuda:1"], [took(TRAIN, held)])
    assert memory.admits(TRAIN, "cuda:0", [TRAIN]) is fits


def test_the_most_that_such_a_job_held_counts() -> None:
    memory = Memory(["cuda:0"] * 2, [took(TRAIN, 0.6), took(TRAIN, 0.1)])
    assert not memory.admits(TRAIN, "cuda:0", [TRAIN])
    memory = Memory(["cuda:0"] * 2)
    assert memory.admits(TRAIN, "cuda:0", [TRAIN])
    memory.learn(took(TRAIN, 0.6))
    assert not memory.admits(TRAIN, "cuda:0", [TRAIN])


def test_what_a_job_held_with_another_number_of_workers_tells_nothing() -> None:
    """Attacks fill the part that they get."""
    greedy = [took(TRAIN, 0.62, share=1.0)]
    assert Memory(["cuda:0"] * 4, greedy).admits(TRAIN, "cuda:0", [TRAIN] * 3)
    assert not Memory(["cuda:0"] * 2, [took(TRAIN, 0.62)]).admits(TRAIN, "cuda:0", [TRAIN])


def test_what_a_job_held_on_another_gpu_tells_nothing() -> None:
    large = took(TRAIN, 0.1, gpu=2 * GPU, finished="2026-01-01")
    here = took(OTHER, 0.7, finished="2026-01-02")
    memory = Memory(["cuda:0"] * 2, [here, large])  # in no order
    assert memory.admits(TRAIN, "cuda:0", [TRAIN])
    assert not memory.admits(TRAIN, "cuda:0", [OTHER])
    memory.learn(took(TRAIN, 0.1, gpu=2 * GPU))  # so this run is on the large one
    assert memory.admits(TRAIN, "cuda:0", [OTHER])


@pytest.mark.parametrize("workers", [2, 3, 7, 10])
def test_without_knowledge_as_many_jobs_share_a_gpu_as_it_has_workers(workers: int) -> None:
    memory = Memory(["cuda:0"] * workers)
    assert memory.share("cuda:0") == 1 / workers
    assert memory.admits(TRAIN, "cuda:0", [OTHER] * (workers - 1))
    assert not memory.admits(TRAIN, "cuda:0", [OTHER] * workers)


def test_a_job_without_network_passes_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.execute.memory.uses_network", lambda task: task is not READER.task)
    memory = Memory(["cuda:0"] * 2, [took(TRAIN, 0.85)])
    assert memory.admits(READER, "cuda:0", [TRAIN])
    assert memory.admits(TRAIN, "cuda:0", [READER])
    assert not memory.admits(TRAIN, "cuda:0", [OTHER])


def test_a_job_alone_and_a_job_on_a_cpu_are_always_admitted() -> None:
    greedy = [took(TRAIN, 0.99), took(OTHER, 0.99)]
    assert Memory(["cuda:0"] * 2, greedy).admits(TRAIN, "cuda:0", [])
    assert Memory(["cpu"] * 2, greedy).admits(TRAIN, "cpu", [OTHER])
    assert not Memory.shared(["cpu", "cpu", "cuda:0", "cuda:1"])
    assert Memory.shared(["cuda:0", "cuda:1", "cuda:0"])


@pytest.mark.parametrize("gpu", [0, GPU])
def test_records_of_former_versions_tell_nothing(gpu: int) -> None:
    before = took(TRAIN, 0.9)._replace(device_memory=gpu, memory_share=None)
    assert Memory(["cuda:0"] * 2, [before]).admits(TRAIN, "cuda:0", [TRAIN])


def test_a_pool_puts_a_job_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    store.folder(TRAIN.key).finish(record(TRAIN, 0.6))
    begun: list[tuple[str, float]] = []

    class Process:
        sentinel = 0

    def started(self: Pool, job: Job, site: Site) -> Process:
        begun.append((site.device, site.share))
        process = Process()
        process.sentinel = len(begun)
        return process

    monkeypatch.setattr(Pool, "_started", started)
    pool = Pool(Site(store.root, tmp_path, tmp_path, "cuda:0", ""), ["cuda:0", "cuda:0", "cuda:1", "cuda:1"])
    assert isinstance(pool, Selective)
    for _ in range(2):
        assert pool.admits(TRAIN)
        pool.start(TRAIN)
    assert begun == [("cuda:0", 0.5), ("cuda:1", 0.5)]
    assert not pool.admits(TRAIN)
    pool._running.clear()
