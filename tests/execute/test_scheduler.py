from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench.api import Run
from bench.data.job import JobData
from bench.execute.display import Summary
from bench.execute.executors import Ended
from bench.execute.scheduler import run_plan
from bench.execute.states import Status, job_states, own_status
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

    def start(self, job: Job) -> None:
        assert len(self._running) < self.capacity, "more jobs than the executor takes"
        for key in job.inputs:
            assert self.store.folder(key).record() is not None, f"{job.id} began before its input was there"
        state = own_status(job, self.store)
        assert not state.settled, f"{job.id} began although its result is there"
        if state.state in ("stale", "damaged"):
            self.store.folder(job.key).forget()  # as a worker does, which holds the lock
        self._running.append(job)
        self.log.append(job.id)
        self.most = max(self.most, len(self._running))

    def ended(self, timeout: float) -> list[Ended]:
        assert 0 < timeout < 10
        if not self._running and "finished elsewhere" in self.script.values():
            return []  # it looks at what other runs do
        if not self._running:
            raise AssertionError("the scheduler waits although nothing is at work")
        done = self._running.pop(0)
        action = self.script.get(done.id, "ok")
        folder = self.store.folder(done.key)
        train = self.store.folder(done.task.train.key).record()
        weights = action if action.startswith("w") else (train.weights or "w" if train is not None else "w")
        if action == "interrupt":
            raise KeyboardInterrupt
        if action == "die":
            return [Ended(done, "the worker was ended by signal 9 (out of memory?)")]
        if action == "die after the record":
            folder.finish(Record(kind=done.kind, weights="w"))
            return [Ended(done, "the worker was ended by signal 11")]
        if action == "fail":
            folder.fail({"type": "ValueError", "message": "no", "traceback": "..."})
        elif action == "diverge":
            folder.finish(Record(kind=done.kind, status="diverged", reason="training diverged at epoch 3"))
        elif action in ("ok", "finished elsewhere") or action.startswith("w"):
            read = {key: weights_of(self.store.folder(key)) for key in done.inputs}
            start = {"init_from": read[done.inputs[0]]} if done.kind == "train" and done.inputs else {}
            facts = {"kind": done.kind, "weights": weights, "read": read, **start}
            folder.finish(Record.from_json(facts))
        return [Ended(done, held=action == "finished elsewhere")]

    def stop(self) -> None:
        self.stopped += 1


class Watcher:
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

    def ended(self, job: Job, status: Status, record: Mapping[str, Any] | None) -> None:
        assert (record is not None) == (status.state in ("done", "diverged") and ("started", job.id) in self.events)
        self.events.append((status.state, job.id))

    def end(self, summary: Summary) -> None:
        self.summary = summary


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


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


def test_everything_runs_once_after_its_inputs(store: Store) -> None:
    summary, fake, display = run(store)
    assert sorted(fake.log) == sorted(job.id for job in PLAN.jobs)
    assert set(states(summary).values()) == {"done"}
    assert summary.counts() == {"done": 6}
    assert codes(summary) == (0, 0)
    assert [job.id for job in summary.ran] == fake.log
    assert display.todo == [job.id for job in PLAN.jobs]
    assert display.events == [pair for name in fake.log for pair in (("started", name), ("done", name))]
    assert fake.stopped == 1
    assert display.ticks > 0


def test_the_longest_training_comes_first(store: Store) -> None:
    assert run(store)[1].log[:2] == ["b/train", "a/train"]


def test_as_many_at_once_as_the_executor_takes(store: Store) -> None:
    _, fake, _ = run(store, capacity=3)
    assert fake.most == 3


def test_nothing_to_do_makes_no_executor(store: Store) -> None:
    run(store)

    def none() -> Fake:
        raise AssertionError("an executor was made for nothing")

    display = Watcher()
    summary = run_plan(PLAN, store, none, display)
    assert (display.todo, display.events, summary.ran) == ([], [], [])
    assert codes(summary) == (0, 0)


def test_one_failure_does_not_stop_the_others(store: Store) -> None:
    summary, fake, display = run(store, a__train="fail")
    assert states(summary) == {
        "a/train": "failed",
        "a/predict": "failed",
        "a/accuracy": "failed",
        "a/pgd": "failed",
        "b/train": "done",
        "b/pgd": "done",
    }
    assert fake.log == ["b/train", "a/train", "b/pgd"]
    assert summary.states[TRAIN.key] == Status("failed", "ValueError: no")
    reasons = {summary.states[j.key].reason for j in (PREDICT, ACCURACY, ATTACK)}
    assert reasons == {"an input failed: ValueError: no"}
    assert job_states(PLAN, store) == summary.states  # what the files say to whoever asks later
    assert ("failed", "a/accuracy") in display.events
    assert codes(summary) == (1, 1)
    assert store.folder(ACCURACY.key).error() is None  # only what ran and failed has an error of its own


def test_a_failure_is_tried_again_by_the_next_run(store: Store) -> None:
    run(store, a__train="fail")
    summary, fake, _ = run(store)
    assert set(fake.log) == {"a/train", "a/predict", "a/accuracy", "a/pgd"}
    assert codes(summary) == (0, 0)


def test_a_diverged_training_is_a_result_for_all_that_depends_on_it(store: Store) -> None:
    summary, _, display = run(store, a__train="diverge")
    assert states(summary) == {
        "a/train": "diverged",
        "a/predict": "diverged",
        "a/accuracy": "diverged",
        "a/pgd": "diverged",
        "b/train": "done",
        "b/pgd": "done",
    }
    assert summary.states[ACCURACY.key].reason == "training diverged at epoch 3"
    assert ("diverged", "a/pgd") in display.events
    assert codes(summary) == (0, 1)
    assert run(store)[1].log == []  # and it is not trained again


def test_a_dead_worker_is_a_failure_with_its_signal(store: Store) -> None:
    summary, _, _ = run(store, a__pgd="die")
    status = summary.states[ATTACK.key]
    assert (status.state, status.reason) == ("failed", "the worker was ended by signal 9 (out of memory?)")
    error = store.folder(ATTACK.key).error()
    assert error is not None
    assert (error["job"], error["type"], error["message"]) == ("a/pgd", "WorkerDied", status.reason)
    assert states(summary)["a/accuracy"] == "done"
    assert codes(summary) == (1, 1)
    assert job_states(PLAN, store)[ATTACK.key].state == "failed"  # and the next process knows


def test_a_failure_that_cannot_be_written_does_not_stop_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk the first such job ended the run."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JobFolder, "fail", full)
    summary, _, _ = run(store, a__pgd="die")
    assert states(summary) == {job.id: "failed" if job is ATTACK else "done" for job in PLAN.jobs}
    assert codes(summary) == (1, 1)


def test_a_worker_that_died_after_its_result_has_one(store: Store) -> None:
    summary, _, _ = run(store, a__pgd="die after the record")
    assert states(summary)["a/pgd"] == "done"


def test_a_worker_that_leaves_nothing_failed(store: Store) -> None:
    summary, _, _ = run(store, a__pgd="nothing")
    assert summary.states[ATTACK.key] == Status("failed", "the worker ended without a result and without an error")


def test_a_job_that_another_run_finished_first_does_not_count_as_run_here(store: Store) -> None:
    """The other run took the lock after this one had looked, and was done before its worker looked."""
    last = PLAN.jobs[-1]
    summary, fake, display = run(store, **{last.id.replace("/", "__"): "finished elsewhere"})
    assert last.id in fake.log
    assert last not in summary.ran
    assert states(summary)[last.id] == "done"
    assert ("held", last.id) not in display.events
    assert len(summary.ran) == len(fake.log) - 1


def test_predictions_that_nobody_reads_any_more_are_not_made(store: Store) -> None:
    run(store)
    store.folder(PREDICT.key).forget()
    summary, fake, _ = run(store)
    assert fake.log == []
    assert states(summary)["a/predict"] == "pending"
    assert codes(summary) == (0, 0)
    store.folder(ACCURACY.key).forget()
    assert run(store)[1].log == ["a/predict", "a/accuracy"]


def test_what_was_measured_on_other_weights_is_measured_again(store: Store) -> None:
    run(store)
    store.folder(TRAIN.key).finish(Record(kind="train", weights="another"))
    assert {j.id for j in PLAN.jobs if job_states(PLAN, store)[j.key].state == "stale"} == {
        "a/predict",
        "a/accuracy",
        "a/pgd",
    }
    _, fake, _ = run(store)
    assert set(fake.log) == {"a/predict", "a/accuracy", "a/pgd"}
    assert fake.log.index("a/predict") < fake.log.index("a/accuracy")


def test_training_that_comes_to_other_bits_makes_all_that_was_measured_run_again_at_once(store: Store) -> None:
    """The weights were deleted: until training ends nobody knows whether the numbers still belong to them."""
    run(store)
    store.folder(TRAIN.key).forget()
    summary, fake, display = run(store, a__train="w2", capacity=2)
    assert display.todo == ["a/train"]
    assert display.added_jobs == ["a/predict", "a/accuracy", "a/pgd"]
    assert fake.log[0] == "a/train"
    assert sorted(fake.log[1:]) == ["a/accuracy", "a/pgd", "a/predict"]
    assert fake.log.index("a/predict") < fake.log.index("a/accuracy")
    assert job_states(PLAN, store) == summary.states
    assert set(states(summary).values()) == {"done"}
    assert run(store)[1].log == []


def test_training_that_comes_to_the_same_bits_makes_nothing_run_again(store: Store) -> None:
    run(store)
    store.folder(TRAIN.key).forget()
    summary, fake, display = run(store)
    assert (fake.log, display.added_jobs) == (["a/train"], [])
    assert job_states(PLAN, store) == summary.states


def test_predictions_on_former_weights_are_made_again_for_what_waits_for_them(store: Store) -> None:
    run(store)
    for gone in (TRAIN, ACCURACY):
        store.folder(gone.key).forget()
    _, fake, display = run(store, a__train="w2")
    assert display.todo == ["a/train", "a/accuracy"]
    assert display.added_jobs == ["a/predict", "a/pgd"]
    assert fake.log.index("a/predict") < fake.log.index("a/accuracy")


def test_predictions_that_were_removed_are_made_again_for_what_turns_out_to_need_them(store: Store) -> None:
    run(store)
    for gone in (TRAIN, PREDICT):
        store.folder(gone.key).forget()
    assert run(store)[1].log == ["a/train"]  # the same bits: nobody reads them
    for gone in (TRAIN, PREDICT):
        store.folder(gone.key).forget()
    summary, fake, _ = run(store, a__train="w2")
    assert sorted(fake.log) == ["a/accuracy", "a/pgd", "a/predict", "a/train"]
    assert set(states(summary).values()) == {"done"}


def test_training_that_diverges_this_time_is_what_all_say_then(store: Store) -> None:
    run(store)
    store.folder(TRAIN.key).forget()
    summary, fake, _ = run(store, a__train="diverge")
    assert fake.log == ["a/train"]
    assert states(summary)["a/accuracy"] == "diverged"
    assert job_states(PLAN, store) == summary.states


def test_so_does_a_judge_and_a_model_that_another_starts_from(store: Store) -> None:
    judge = job("judge/train", kind="train")
    judged = job("a/generation", TRAIN, judge)
    later = job("c/train", TRAIN, kind="train")
    attack = job("c/pgd", later)
    plan = Plan(SUITE, (TRAIN, judge, judged, later, attack))
    run(store, plan)
    store.folder(judge.key).forget()
    assert run(store, plan, judge__train="w2")[1].log == ["judge/train", "a/generation"]
    store.folder(TRAIN.key).forget()
    summary, fake, _ = run(store, plan, a__train="w3", c__train="w4")
    assert fake.log[0] == "a/train"
    assert sorted(fake.log[1:]) == ["a/generation", "c/pgd", "c/train"]
    assert fake.log.index("c/train") < fake.log.index("c/pgd")
    assert job_states(plan, store) == summary.states
    assert set(states(summary, plan).values()) == {"done"}


def test_what_cannot_run_is_left_out(store: Store) -> None:
    blocked = job("a/pgd", TRAIN, blocked="softmax does not generate")
    plan = Plan(SUITE, (TRAIN, PREDICT, ACCURACY, blocked))
    summary, fake, display = run(store, plan)
    assert "a/pgd" not in fake.log
    assert "a/pgd" not in display.todo
    assert summary.states[blocked.key] == Status("n/a", "softmax does not generate")
    assert codes(summary) == (0, 1)


def test_nothing_can_run(store: Store) -> None:
    missing = "data set 'cifar10' is missing"
    train = job("a/train", kind="train", blocked=missing)
    plan = Plan(SUITE, (train, job("a/predict", train, kind="predict"), job("a/pgd", train)))
    summary, fake, _ = run(store, plan)
    assert fake.log == []
    assert codes(summary) == (5, 5)


def test_an_interrupt_ends_everything_and_keeps_what_is_done(store: Store) -> None:
    summary, fake, display = run(store, a__predict="interrupt")
    assert summary.interrupted
    assert fake.stopped == 1
    assert states(summary)["a/train"] == "done"
    assert states(summary)["a/predict"] == "pending"
    assert display.summary is summary
    assert codes(summary) == (130, 130)
    after, again, _ = run(store)
    assert set(again.log) == {"a/predict", "a/accuracy", *({"a/pgd", "b/pgd"} - set(fake.log))}
    assert codes(after) == (0, 0)


@pytest.mark.parametrize("method", ["begin", "started", "tick", "ended", "end"])
def test_a_broken_display_costs_no_job(store: Store, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake, display = Fake(store), Watcher()
    setattr(display, method, raising(RuntimeError("terminal\x1b gone")))
    summary = run_plan(PLAN, store, lambda: fake, display)
    assert {job.id for job in summary.ran} == {job.id for job in PLAN.jobs}
    assert codes(summary) == (0, 0)
    assert fake.stopped == 1
    said = capsys.readouterr().err
    assert (
        said == "bench: the display of the run failed (RuntimeError: terminal\\x1b gone); the run goes on without it\n"
    )


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def test_equal_work_under_two_names_is_done_once(store: Store) -> None:
    twin = replace(ATTACK, id="a/pgd-again")
    plan = Plan(SUITE, (TRAIN, ATTACK, twin))
    summary, fake, display = run(store, plan)
    assert fake.log == display.todo == ["a/train", "a/pgd"]
    assert states(summary, plan)["a/pgd-again"] == "done"


def test_an_input_outside_the_plan_is_taken_as_given(store: Store) -> None:
    store.folder(TRAIN.key).finish(Record(kind="train", weights="w"))
    assert run(store, Plan(SUITE, (ATTACK,)))[1].log == ["a/pgd"]


def test_what_has_something_to_say_of_divergence_runs(store: Store) -> None:
    """Table 10 shows an explosion: its job must not be lost with the model."""
    log = job("a/energies", TRAIN, tolerates=True)
    plan = Plan(SUITE, (TRAIN, ATTACK, log))
    summary, fake, _ = run(store, plan, a__train="diverge")
    assert states(summary, plan) == {"a/train": "diverged", "a/pgd": "diverged", "a/energies": "done"}
    assert fake.log == ["a/train", "a/energies"]
    again, idle, _ = run(store, plan)
    assert states(again, plan) == states(summary, plan)
    assert idle.log == []
