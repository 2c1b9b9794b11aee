"""Jobs without work, an executor whose jobs end as a script says, and a display that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from bench.api import Run
from bench.data.job import JobData
from bench.execute.displays import Display, Summary
from bench.execute.executors import Ended
from bench.execute.scheduler import run_plan
from bench.execute.states import Status, own_status
from bench.plan.jobs import Job, Kind, Plan
from bench.plan.tasks import EvaluateTask, PredictTask, TrainTask
from bench.store import JobFolder, Record, Store
from bench.suite.schema import Suite
from bench.weights.find import Blueprint

SUITE = cast(Suite, None)  # the scheduler looks at jobs alone


def job(
    name: str,
    *inputs: Job,
    kind: Kind = "evaluate",
    passes: float = 0.0,
    blocked: str | None = None,
    tolerates: bool = False,
) -> Job:
    """A job of any kind; of an evaluation the first training that it reads is that of its model, the next its judge."""
    trains = [one.task for one in inputs if isinstance(one.task, TrainTask)]
    if kind == "train":
        start = trains[0] if trains else None
        model, data = Blueprint(family=name, backbone="b"), JobData(dataset="d")
        settings = {"name": name}
        return Job(
            name,
            TrainTask(model=model, data=data, settings=settings, init_from=start, passes=passes, blocked=blocked),
        )
    if kind == "predict":
        return Job(name, PredictTask(train=trains[0], output="forward", split=name, passes=passes, absent=blocked))
    task = EvaluateTask(
        train=trains[0],
        evaluation=name,
        config={"name": name},
        evaluation_code={},
        needs={one.id: one.task for one in inputs if isinstance(one.task, PredictTask)},
        judge=trains[1] if len(trains) > 1 else None,
        passes=passes,
        absent=blocked,
        tolerates_divergence=tolerates,
    )
    return Job(name, task)


TRAIN = job("a/train", kind="train", passes=10)
PREDICT = job("a/predict", TRAIN, kind="predict")
ACCURACY = job("a/accuracy", TRAIN, PREDICT)
ATTACK = job("a/pgd", TRAIN)
OTHER = job("b/train", kind="train", passes=20)
OTHER_ATTACK = job("b/pgd", OTHER)
PLAN = Plan(SUITE, (TRAIN, PREDICT, ACCURACY, ATTACK, OTHER, OTHER_ATTACK))


def weights_of(folder: JobFolder) -> str | None:
    record = folder.record()
    return None if record is None else record.weights


@dataclass
class Fake:
    """An executor whose jobs end in the order in which they began, as ``script`` says: ok unless named there."""

    store: Store
    script: Mapping[str, str] = field(default_factory=dict)
    capacity: int = 1
    log: list[str] = field(default_factory=list)
    most: int = 0
    stopped: int = 0
    _running: list[Job] = field(default_factory=list)
    _shared: set[str] = field(default_factory=set)

    def admits(self, job: Job) -> bool:
        """A job whose script is "large" runs alone."""
        large = any(self.script.get(one.id) == "large" for one in (job, *self._running))
        return not (self._running and large)

    def start(self, job: Job) -> None:
        assert len(self._running) < self.capacity, "more jobs than the executor takes"
        for key in job.inputs:
            assert self.store.folder(key).record() is not None, f"{job.id} began before its input was there"
        state = own_status(job, self.store)
        assert not state.settled, f"{job.id} began although its result is there"
        if state.state in ("stale", "damaged"):
            self.store.folder(job.key).forget()  # as a worker does, which holds the lock
        self._running.append(job)
        if len(self._running) > 1:
            self._shared.update(one.key for one in self._running)
        self.log.append(job.id)
        self.most = max(self.most, len(self._running))

    def ended(self, timeout: float) -> list[Ended]:
        assert 0 < timeout < 10
        if not self._running and "finished elsewhere" in self.script.values():
            return []  # it looks at what other runs do
        if not self._running:
            raise AssertionError("the scheduler waits although nothing is at work")
        done = self._running.pop(0)
        shared = done.key in self._shared
        self._shared.discard(done.key)
        action = self.script.get(done.id, "ok")
        action = "ok" if action == "large" else action
        if action.startswith("short of memory"):
            action = "ok" if not shared and action == "short of memory" else "starve"
        folder = self.store.folder(done.key)
        train = self.store.folder(done.task.train.key).record()
        weights = action if action.startswith("w") else (train.weights or "w" if train is not None else "w")
        if action == "interrupt":
            raise KeyboardInterrupt
        if action == "die":
            return [Ended(done, "the worker was ended by signal 9 (out of memory?)", shared=shared)]
        if action == "die after the record":
            folder.finish(Record(kind=done.kind, weights="w"))
            return [Ended(done, "the worker was ended by signal 11")]
        if action == "starve":
            folder.fail({"type": "OutOfMemoryError", "message": "CUDA out of memory", "traceback": "..."})
        elif action.startswith("raise "):
            name, _, message = action.removeprefix("raise ").partition(": ")
            folder.fail({"type": name, "message": message, "traceback": "..."})
        elif action == "fail":
            folder.fail({"type": "ValueError", "message": "no", "traceback": "..."})
        elif action == "diverge":
            folder.finish(Record(kind=done.kind, status="diverged", reason="training diverged at epoch 3"))
        elif action in ("ok", "finished elsewhere") or action.startswith("w"):
            read = {key: weights_of(self.store.folder(key)) for key in done.inputs}
            start = {"init_from": read[done.inputs[0]]} if done.kind == "train" and done.inputs else {}
            facts = {"kind": done.kind, "weights": weights, "read": read, **start}
            folder.finish(Record.from_json(facts))
        return [Ended(done, held=action == "finished elsewhere", shared=shared)]

    def stop(self) -> None:
        self.stopped += 1


class Watcher(Display):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.todo: list[str] = []
        self.added_jobs: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.ticks = 0
        self.summary: Summary | None = None

    def begin(self, plan: Plan, states: Mapping[str, Status], todo: list[Job]) -> None:
        self.todo = [job.id for job in todo]

    def added(self, jobs: list[Job]) -> None:
        self.added_jobs = [job.id for job in jobs]

    def started(self, job: Job) -> None:
        self.events.append(("started", job.id))

    def held(self, job: Job, holder: str) -> None:
        self.events.append(("held", job.id))

    def tick(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        self.ticks += 1

    def ended(self, job: Job, status: Status, record: Record | None) -> None:
        assert (record is not None) == (status.state in ("done", "diverged") and ("started", job.id) in self.events)
        self.events.append((status.state, job.id))

    def end(self, summary: Summary) -> None:
        self.summary = summary


def run(store: Store, plan: Plan = PLAN, capacity: int = 1, **script: str) -> tuple[Summary, Fake, Watcher]:
    named = {name.replace("__", "/"): action for name, action in script.items()}
    fake, display = Fake(store, named, capacity), Watcher()
    summary = run_plan(plan, store, lambda: fake, display)
    assert display.summary is summary
    return summary, fake, display


def states(summary: Summary, plan: Plan = PLAN) -> dict[str, str]:
    return {job.id: summary.states[job.key].state for job in plan.jobs}


def codes(summary: Summary) -> tuple[int, int]:
    """Exit codes without and with ``--strict``."""
    outcome = Run(PLAN, summary)
    return outcome.exit_code(), outcome.exit_code(strict=True)
