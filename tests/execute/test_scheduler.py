"""Which jobs run, in which order, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.execute.scheduler import run_plan
from bench.execute.states import Status, job_states
from bench.plan.jobs import Job, Plan
from bench.store import JobFolder, Record, Store
from tests.execute.scripted import (
    ACCURACY,
    ATTACK,
    PLAN,
    PREDICT,
    SUITE,
    TRAIN,
    Fake,
    Watcher,
    codes,
    job,
    run,
    states,
)


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


@pytest.mark.parametrize("how", ["short of memory", "die"])
def test_a_job_that_ran_out_of_memory_beside_others_runs_again_alone(store: Store, how: str) -> None:
    summary, fake, display = run(store, capacity=3, a__pgd=how)
    assert fake.log.count("a/pgd") == 2
    assert fake.log[-1] == "a/pgd"
    assert display.added_jobs == ["a/pgd"]
    assert states(summary)["a/pgd"] == ("done" if how == "short of memory" else "failed")
    assert [job.id for job in summary.ran].count("a/pgd") == 1
    assert ("failed", "a/pgd") not in display.events[: display.events.index(("started", "a/pgd")) + 2]


def test_nothing_runs_beside_it_and_what_waited_for_it_runs_then(store: Store) -> None:
    summary, fake, _ = run(store, capacity=2, a__train="short of memory")
    assert fake.log == ["b/train", "a/train", "b/pgd", "a/train", "a/predict", "a/pgd", "a/accuracy"]
    assert set(states(summary).values()) == {"done"}


@pytest.mark.parametrize("capacity", [1, 2])
def test_alone_it_fails_for_good(store: Store, capacity: int) -> None:
    summary, fake, _ = run(store, capacity=capacity, b__pgd="short of memory even alone")
    assert fake.log.count("b/pgd") == capacity
    assert summary.states[job_named("b/pgd").key] == Status("failed", "OutOfMemoryError: CUDA out of memory")


def test_a_job_that_does_not_fit_beside_others_waits_while_smaller_ones_start(store: Store) -> None:
    summary, fake, _ = run(store, capacity=3, a__pgd="large")
    assert fake.log == ["b/train", "a/train", "b/pgd", "a/predict", "a/accuracy", "a/pgd"]
    assert fake.most == 2
    assert set(states(summary).values()) == {"done"}
    _, fake, _ = run(Store(store.root / "again"), capacity=3)
    assert fake.log.index("a/pgd") < fake.log.index("a/accuracy")


def too_large(allocate: Callable[[], object]) -> BaseException:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        too_large(lambda: np.empty(2**56)),
        too_large(lambda: torch.empty(2**56)),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_library_says_in_its_way_that_memory_is_short(store: Store, error: BaseException) -> None:
    summary, fake, _ = run(store, capacity=3, a__pgd=f"raise {type(error).__name__}: {error}")
    assert fake.log.count("a/pgd") == 2
    assert states(summary)["a/pgd"] == "failed"


def test_other_failures_are_not_tried_again(store: Store) -> None:
    _, fake, _ = run(store, capacity=3, a__train="fail")
    assert fake.log.count("a/train") == 1


def job_named(name: str) -> Job:
    return next(job for job in PLAN.jobs if job.id == name)


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
