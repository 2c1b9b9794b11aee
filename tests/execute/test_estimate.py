from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.execute.estimate import Rates
from bench.plan.jobs import Job, Plan
from bench.plan.tasks import EvaluateTask
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results


@pytest.fixture
def plan(project: Project, tiny: str) -> Plan:
    return project.plan(tiny)


def named(plan: Plan, name: str) -> Job:
    return planned(plan, name)


def took(results: Results, job: Job, seconds: float, device: str = "cpu", **fields: Any) -> None:
    evaluation = {"evaluation_kind": job.task.evaluation} if isinstance(job.task, EvaluateTask) else {}
    provenance = {"device": device, "versions": {}, "command": ""}
    results.finish(job, seconds=seconds, provenance=provenance, **evaluation, **fields)


def test_nothing_is_known_of_an_empty_store(plan: Plan, results: Results) -> None:
    rates = Rates.from_store(results.store, "cpu")
    assert rates.seconds(plan.jobs[0]) is None
    assert rates.total(plan.jobs) is None
    assert rates.total([]) == 0


def test_time_goes_with_passes(plan: Plan, results: Results) -> None:
    done = named(plan, "softmax/digits/seed1/pgd-2@8/255")
    took(results, done, 10.0, passes=100.0)
    rates = Rates.from_store(results.store, "cpu")
    assert rates.seconds(named(plan, "softmax/digits/seed1/pgd-2@16/255")) == pytest.approx(0.1 * done.passes)


def test_the_median_of_several_runs_counts(plan: Plan, results: Results) -> None:
    job = named(plan, "softmax/digits/seed1/train")
    rates = Rates()
    for seconds in (1.0, 2.0, 60.0):
        took(results, job, seconds, passes=1.0)
        record = results.store.folder(job.key).record()
        assert record is not None
        rates.learn(record)
    assert rates.seconds(job) == pytest.approx(2.0 * job.passes)


def test_jobs_of_about_as_many_passes_tell_more_than_small_ones(plan: Plan, results: Results) -> None:
    """A job of 64 passes that took two seconds made six minutes of one of 10,000."""
    job = named(plan, "softmax/digits/seed1/train")
    rates = Rates()

    def learn(passes: float, seconds: float) -> None:
        took(results, job, seconds, passes=passes)
        record = results.store.folder(job.key).record()
        assert record is not None
        rates.learn(record)

    learn(job.passes / 100, 2.0)
    assert rates.smaller(job) == (pytest.approx(job.passes / 100), 2.0)
    assert rates.seconds(job) == pytest.approx(200.0)  # as far as anything tells
    learn(job.passes / 2, 10.0)
    assert rates.smaller(job) is None
    assert rates.seconds(job) == pytest.approx(20.0)


def test_a_job_without_passes_takes_what_it_took(plan: Plan, results: Results) -> None:
    job = named(plan, "softmax/digits/seed1/accuracy")
    took(results, job, 0.25, device="none")
    assert Rates.from_store(results.store, "cuda:0").seconds(job) == 0.25


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ("softmax/digits/seed1/predict/test", False),  # another kind of job
        ("gmmc-gen/digits/seed1/train", False),  # another family
        ("softmax/digits/seed1/train", True),
    ],
)
def test_only_like_is_compared_with_like(plan: Plan, results: Results, other: str, known: bool) -> None:
    took(results, named(plan, "softmax/digits/seed1/train"), 1.0)
    assert (Rates.from_store(results.store, "cpu").seconds(named(plan, other)) is not None) == known


def test_an_evaluation_costs_the_same_for_every_family(plan: Plan, results: Results) -> None:
    took(results, named(plan, "softmax/digits/seed1/pgd-2@8/255"), 2.0)
    assert Rates.from_store(results.store, "cpu").seconds(named(plan, "gmmc-gen/digits/seed1/pgd-2@8/255")) == 2.0


def test_another_network_says_nothing(project: Project, tiny: str, results: Results) -> None:
    took(results, named(project.plan(tiny), "softmax/digits/seed1/train"), 1.0)
    wider = project.plan(tiny.replace('"wrn-10-1"', '"wrn-10-2"'))
    assert Rates.from_store(results.store, "cpu").seconds(named(wider, "softmax/digits/seed1/train")) is None


def test_another_kind_of_device_says_nothing(plan: Plan, results: Results) -> None:
    job = named(plan, "softmax/digits/seed1/train")
    took(results, job, 1.0, device="cuda:1")
    assert Rates.from_store(results.store, "cpu").seconds(job) is None
    assert Rates.from_store(results.store, "cuda:0").seconds(job) == 1.0


def test_a_total_with_an_unknown_part_is_unknown(plan: Plan, results: Results) -> None:
    known, unknown = named(plan, "softmax/digits/seed1/train"), named(plan, "gmmc-gen/digits/seed1/train")
    took(results, known, 3.0)
    rates = Rates.from_store(results.store, "cpu")
    assert rates.total([known, known]) == 6.0
    assert rates.total([known, unknown]) is None
