"""Jobs share a GPU if it holds them together; what they take comes from finished jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.execute.context import Site
from bench.execute.executors import Pool
from bench.execute.memory import Memory
from bench.execute.times import Took, kind_of
from bench.plan.jobs import Job
from bench.store import Provenance, Record, Store
from tests.execute.scripted import PLAN

TRAIN, OTHER, *_ = PLAN.jobs
CARD = 80 * 2**30


def record(job: Job, held: float | None, **more: object) -> Record:
    """The record of a job that held a part of a card."""
    peak = None if held is None else round(held * CARD)
    provenance = Provenance(device="cuda:0", device_memory=CARD, peak_memory=peak)
    train = job.task.train
    found = Record(
        kind=job.kind,
        family=train.model.family,
        backbone=train.model.backbone,
        dataset=train.data.dataset,
        key=job.key,
        provenance=provenance,
    )
    return replace(found, **more)  # type: ignore[arg-type]


def took(job: Job, held: float) -> Took:
    found = Took.of(record(job, held))
    return found._replace(what=kind_of(job)[1])


def test_a_record_tells_the_part_of_the_card() -> None:
    assert Took.of(record(TRAIN, 0.25)).memory == pytest.approx(0.25)
    assert Took.of(record(TRAIN, None)).memory is None
    assert Took.of(record(TRAIN, 0.25)).like == kind_of(TRAIN)


@pytest.mark.parametrize(("held", "fits"), [(0.40, True), (0.45, True), (0.50, False)])
def test_two_jobs_share_a_card_that_holds_both(held: float, fits: bool) -> None:
    memory = Memory(["cuda:0", "cuda:0", "cuda:1"], [took(TRAIN, held)])
    assert memory.admits(TRAIN, "cuda:0", [TRAIN]) is fits


def test_the_most_that_such_a_job_took_counts() -> None:
    memory = Memory(["cuda:0"] * 2, [took(TRAIN, 0.6), took(TRAIN, 0.1)])
    assert not memory.admits(TRAIN, "cuda:0", [TRAIN])
    memory = Memory(["cuda:0"] * 2)
    assert memory.admits(TRAIN, "cuda:0", [TRAIN])
    memory.learn(took(TRAIN, 0.6))
    assert not memory.admits(TRAIN, "cuda:0", [TRAIN])


@pytest.mark.parametrize("workers", [2, 3, 7, 10])
def test_without_knowledge_as_many_jobs_share_a_card_as_it_has_workers(workers: int) -> None:
    memory = Memory(["cuda:0"] * workers)
    assert memory.share("cuda:0") == 1 / workers
    assert memory.admits(TRAIN, "cuda:0", [OTHER] * (workers - 1))
    assert not memory.admits(TRAIN, "cuda:0", [OTHER] * workers)


def test_a_job_alone_and_a_job_on_a_cpu_are_always_admitted() -> None:
    greedy = [took(TRAIN, 0.99), took(OTHER, 0.99)]
    assert Memory(["cuda:0"] * 2, greedy).admits(TRAIN, "cuda:0", [])
    assert Memory(["cpu"] * 2, greedy).admits(TRAIN, "cpu", [OTHER])
    assert not Memory.shared(["cpu", "cpu", "cuda:0", "cuda:1"])
    assert Memory.shared(["cuda:0", "cuda:1", "cuda:0"])


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
    for _ in range(2):
        assert pool.admits(TRAIN)
        pool.start(TRAIN)
    assert begun == [("cuda:0", 0.5), ("cuda:1", 0.5)]
    assert not pool.admits(TRAIN)
    pool._running.clear()
