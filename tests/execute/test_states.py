from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.execute import submitted
from bench.execute.states import Status, job_states
from bench.plan.jobs import Job, Plan
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results


@pytest.fixture
def plan(project: Project, tiny: str) -> Plan:
    return project.plan(tiny).select(["softmax/*/accuracy", "softmax/*/generation"])


def named(plan: Plan, what: str) -> Job:
    return planned(plan, f"softmax/digits/seed1/{what}")


def states(plan: Plan, results: Results) -> dict[str, Status]:
    by_key = job_states(plan, results.store)
    return {job.id.rsplit("seed1/")[-1]: by_key[job.key] for job in plan.jobs}


def test_nothing_done_yet(plan: Plan, results: Results) -> None:
    found = states(plan, results)
    assert found["train"] == found["predict/test"] == found["accuracy"] == Status("pending")
    assert found["generation"] == Status("n/a", "softmax does not generate")
    assert not results.store.root.exists()


def test_what_waits_in_a_queue_is_pending_and_says_so(plan: Plan, results: Results) -> None:
    for what in ("train", "predict/test"):
        submitted.remember(results.store.root, named(plan, what), f"12_{len(what)}")
    (results.store.root.parent / "cluster" / f"{named(plan, 'accuracy').key}.json").write_text("{")
    results.finish(named(plan, "predict/test"))
    found = states(plan, results)
    assert found["train"] == Status("pending", "submitted to the queue as 12_5")
    assert found["predict/test"] == Status("done")
    assert found["accuracy"] == Status("pending")
    submitted.forget(results.store.root, named(plan, "train").key)
    assert states(plan, results)["train"] == Status("pending")


def test_records_are_done(plan: Plan, results: Results) -> None:
    for what in ("train", "predict/test", "accuracy"):
        results.finish(named(plan, what))
        assert states(plan, results)[what] == Status("done")


def test_a_failure_says_why(plan: Plan, results: Results) -> None:
    results.store.folder(named(plan, "train").key).fail({"type": "ValueError", "message": "no"})
    found = states(plan, results)
    assert found["train"] == Status("failed", "ValueError: no")
    expected = Status("failed", "an input failed: ValueError: no")
    assert found["predict/test"] == found["accuracy"] == expected
    results.finish(named(plan, "accuracy"))
    assert states(plan, results)["accuracy"] == Status("done")  # what was measured before stays measured


def test_an_own_failure_that_an_inputs_failure_came_after(plan: Plan, results: Results) -> None:
    for what in ("train", "accuracy"):
        results.store.folder(named(plan, what).key).fail({"type": "ValueError", "message": what})
    assert states(plan, results)["accuracy"] == Status("failed", "an input failed: ValueError: train")


def test_work_elsewhere_is_running(plan: Plan, results: Results) -> None:
    with results.store.folder(named(plan, "train").key).lock():
        assert states(plan, results)["train"] == Status("running")


def test_divergence_passes_to_all_that_depend_on_it(plan: Plan, results: Results) -> None:
    results.finish(named(plan, "train"), status="diverged", reason="training diverged at epoch 3")
    found = states(plan, results)
    expected = Status("diverged", "training diverged at epoch 3")
    assert found["train"] == found["predict/test"] == found["accuracy"] == expected
    assert found["generation"] == Status("n/a", "softmax does not generate")
    assert expected.settled


def test_other_weights_make_a_record_stale(plan: Plan, results: Results) -> None:
    results.finish(named(plan, "train"), weights="w1")
    results.finish(named(plan, "predict/test"), weights="w1")
    results.finish(named(plan, "accuracy"), weights="w0")
    found = states(plan, results)
    assert found["predict/test"] == Status("done")
    assert found["accuracy"].state == "stale"
    assert "weights" in found["accuracy"].reason
    assert not found["accuracy"].settled


def test_a_judges_weights_are_not_compared_with_the_models(project: Project, tiny: str, results: Results) -> None:
    plan = project.plan(tiny).select(["gmmc-gen/*/generation"])
    for job in plan.jobs:
        results.finish(job, weights="judge" if job.model == "" else "model")
    assert {status.state for status in job_states(plan, results.store).values()} == {"done"}


TRANSFERS = """
[[evaluation]]
kind   = "transfer"
source = "softmax"
eps    = ["8/255"]
"""


@pytest.fixture
def transfers(project: Project, tiny: str) -> Plan:
    return project.plan(tiny + TRANSFERS).select(["gmmc-gen/*/transfer*"])


def of(plan: Plan, results: Results, what: str) -> Status:
    job = planned(plan, f"gmmc-gen/digits/seed1/{what}")
    return job_states(plan, results.store)[job.key]


def test_another_model_that_diverged_is_named(transfers: Plan, results: Results) -> None:
    """The row is that of a model whose training went well: it did not diverge, it has no number."""
    source = planned(transfers, "softmax/digits/seed1/train")
    results.finish(source, status="diverged", reason="training diverged at epoch 3")
    results.finish(next(job for job in transfers.jobs if job.id.startswith("gmmc-gen") and job.kind == "train"))
    assert of(transfers, results, "train") == Status("done")
    assert of(transfers, results, "transfer@8/255") == Status("n/a", "softmax: training diverged at epoch 3")


def test_another_model_that_failed_is_named(transfers: Plan, results: Results) -> None:
    source = planned(transfers, "softmax/digits/seed1/train")
    results.store.folder(source.key).fail({"type": "ValueError", "message": "no"})
    assert of(transfers, results, "transfer@8/255") == Status("failed", "an input failed: softmax: ValueError: no")


def test_the_models_own_divergence_is_its_own(transfers: Plan, results: Results) -> None:
    for job in transfers.jobs:
        if job.kind == "train" and job.model == "gmmc-gen":
            results.finish(job, status="diverged", reason="training diverged at epoch 2")
    assert of(transfers, results, "transfer@8/255") == Status("diverged", "training diverged at epoch 2")


def test_other_weights_of_the_other_model_make_a_record_stale(transfers: Plan, results: Results) -> None:
    source = planned(transfers, "softmax/digits/seed1/train")
    for job in transfers.jobs:
        results.finish(job, **({"read": {source.key: "w1"}} if job.kind == "evaluate" else {}))
    assert of(transfers, results, "transfer@8/255") == Status("done")
    results.finish(source, weights="w2")
    assert of(transfers, results, "transfer@8/255").state == "stale"
