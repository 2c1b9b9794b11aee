"""Which results a run makes again: those of other weights, and predictions that somebody reads."""

from __future__ import annotations

from bench.execute.states import job_states
from bench.plan.jobs import Plan
from bench.store import Record, Store
from tests.execute.scripted import (
    ACCURACY,
    PLAN,
    PREDICT,
    SUITE,
    TRAIN,
    codes,
    job,
    run,
    states,
)


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
