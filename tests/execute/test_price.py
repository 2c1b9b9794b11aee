from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.execute.estimate import Rates
from bench.execute.price import Pricing, networks
from bench.execute.scheduler import to_do
from bench.execute.speed import Calibration, Network, Speed, multiply_adds
from bench.files.arrays import save_arrays
from bench.plan.jobs import Plan
from bench.plan.tasks import EvaluateTask
from bench.store import ITEMS
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

NETWORK = Network("wrn-10-1", (1, 8, 8))
JUDGE = Network("bench.evaluate.judge:BACKBONE", (1, 8, 8))
ATTACK = "softmax/digits/seed1/pgd-2@8/255"


def calibrated(*measured: Network) -> Calibration:
    speeds = [Speed(network=n, batch=64, forward=1.0, gradient=4.0, update=9.0) for n in measured or (NETWORK, JUDGE)]
    return Calibration(
        device="cpu",
        machine={"device": "cpu", "model": "a CPU", "threads": 1},
        measured="2026-01-02T03:04:05Z",
        speeds={speed.network: speed for speed in speeds},
    )


@pytest.fixture
def plan(project: Project, tiny: str) -> Plan:
    return project.plan(tiny)


@pytest.fixture
def pricing(plan: Plan, results: Results) -> Pricing:
    return Pricing(plan, results.store, Rates(), calibrated())


def attacked(plan: Plan, results: Results, name: str, forwards: list[float], **fields: Any) -> None:
    """A finished attack with the forward passes that it took for each item."""
    job = planned(plan, name)
    assert isinstance(job.task, EvaluateTask)
    folder = results.store.folder(job.key)
    folder.path.mkdir(parents=True)
    save_arrays(folder.file(ITEMS), {"ce.forwards": np.array(forwards)})
    facts = {"evaluation_kind": job.task.evaluation, "config": job.task.config, "items": ITEMS, "numbers": []}
    results.finish(job, [ITEMS], **{**facts, **fields})


def test_each_kind_of_job_at_its_own_speed(plan: Plan, pricing: Pricing) -> None:
    def seconds(name: str) -> float | None:
        found = pricing.estimate(planned(plan, name))
        assert found.source == "calibrated"
        return found.seconds

    train = planned(plan, "softmax/digits/seed1/train")
    assert seconds(train.id) == pytest.approx(train.passes * 9.0 / 3)
    test = planned(plan, "softmax/digits/seed1/predict/test")
    assert seconds(test.id) == pytest.approx(test.passes)


def test_a_sampler_is_priced_by_its_gradients(plan: Plan, pricing: Pricing) -> None:
    train = planned(plan, "gmmc-gen/digits/seed1/train")
    found = pricing.estimate(train).seconds
    assert found is not None
    assert train.passes * 4.0 / 2 < found < train.passes * 9.0 / 3


def test_an_attack_has_a_bound_and_no_expectation(plan: Plan, pricing: Pricing) -> None:
    job = planned(plan, ATTACK)
    found = pricing.estimate(job)
    assert (found.source, found.seconds, found.bound_only) == ("calibrated", None, True)
    assert found.at_most == found.counted == pytest.approx(job.passes * 2.0)


def test_the_first_job_of_an_attack_tells_what_to_expect(plan: Plan, results: Results) -> None:
    job = planned(plan, ATTACK)
    # A quarter of the passes: two for each forward pass.
    attacked(plan, results, ATTACK, [job.passes / 8])
    attacked(plan, results, "gmmc-gen/digits/seed1/pgd-2@8/255", [0.0], finished="2025-01-01T00:00:00Z")
    rates = replace(Rates.from_store(results.store, "cpu"), _exact={})
    found = Pricing(plan, results.store, rates, calibrated()).estimate(planned(plan, ATTACK))
    assert found.share_of == ATTACK
    assert found.share == pytest.approx(0.25)
    assert found.seconds == pytest.approx(0.25 * job.passes * 2.0)
    assert found.at_most == pytest.approx(job.passes * 2.0)
    other = Pricing(plan, results.store, rates, calibrated()).estimate(
        planned(plan, "softmax/digits/seed1/pgd-2@16/255")
    )
    assert other.bound_only  # another budget breaks other items


def test_damaged_arrays_tell_nothing(plan: Plan, results: Results) -> None:
    attacked(plan, results, ATTACK, [1.0])
    rates = replace(Rates.from_store(results.store, "cpu"), _exact={})
    results.store.folder(planned(plan, ATTACK).key).file(ITEMS).write_bytes(b"?")
    assert Pricing(plan, results.store, rates, calibrated()).estimate(planned(plan, ATTACK)).bound_only


def test_what_was_measured_comes_first(plan: Plan, results: Results) -> None:
    job = planned(plan, ATTACK)
    results.finish(job, seconds=5.0, numbers=[], evaluation_kind="pgd")
    pricing = Pricing(plan, results.store, Rates.from_store(results.store, "cpu"), calibrated())
    found = pricing.estimate(planned(plan, "gmmc-gen/digits/seed1/pgd-2@8/255"))
    assert found.source == "measured"
    assert found.seconds == pytest.approx(5.0)
    assert found.at_most == pytest.approx(job.passes * 2.0)


def test_small_jobs_tell_the_time_of_a_start_alone(plan: Plan, results: Results) -> None:
    train = planned(plan, "softmax/digits/seed1/train")
    passes = train.passes / 1000
    results.finish(train, seconds=2.0 + passes * 9.0 / 3, passes=passes)
    pricing = Pricing(plan, results.store, Rates.from_store(results.store, "cpu"), calibrated())
    found = pricing.estimate(train)
    assert found.source == "calibrated"
    assert found.seconds == pytest.approx(2.0 + train.passes * 9.0 / 3)
    attack = planned(plan, ATTACK)
    results.finish(attack, seconds=3.0, passes=attack.passes / 1000, numbers=[], evaluation_kind="pgd")
    pricing = Pricing(plan, results.store, Rates.from_store(results.store, "cpu"), calibrated())
    found = pricing.estimate(planned(plan, "gmmc-gen/digits/seed1/pgd-2@8/255"))
    assert (found.seconds, found.source) == (None, "calibrated")
    assert found.at_most == pytest.approx(3.0 + attack.passes * 2.0 * 0.999)


def test_a_network_that_was_not_measured_is_scaled(plan: Plan, results: Results) -> None:
    wider = Network("wrn-10-2", NETWORK.image_shape)
    found = Pricing(plan, results.store, Rates(), calibrated(wider)).estimate(
        planned(plan, "softmax/digits/seed1/predict/test")
    )
    ratio = (multiply_adds(NETWORK) or 0.0) / (multiply_adds(wider) or 1.0)
    assert (found.source, found.like) == ("scaled", wider)
    assert found.seconds == pytest.approx(ratio * planned(plan, "softmax/digits/seed1/predict/test").passes)


def test_nothing_is_known_without_calibration(plan: Plan, results: Results) -> None:
    pricing = Pricing(plan, results.store, Rates())
    price = pricing.price(plan.jobs, "cpu", "cpu")
    assert {pricing.estimate(job).source for job in plan.jobs} == {"unknown"}
    assert not price.known
    assert price.as_json([1])["seconds"] is None
    assert price.as_json([1])["workers"] == {}


def test_sums_path_and_workers(plan: Plan, pricing: Pricing, results: Results) -> None:
    todo = to_do(plan, pricing_states(plan, results))
    price = pricing.price([*todo, *todo], "cpu (a CPU)", "cpu")
    assert len(price.jobs) == len({job.key for job in todo})
    attacks = [job for job in price.jobs if isinstance(job.task, EvaluateTask) and job.task.at_most]
    assert price.bounds == attacks
    assert (
        price.at_most
        == price.seconds
        == pytest.approx(sum(price.estimates[job.key].counted or 0.0 for job in price.jobs))
    )
    assert [job.passes for job in price.unknown] == [0.0] * len(price.unknown)
    seconds, chain = price.critical_path()
    assert chain[0].endswith("/train")
    assert seconds <= price.makespan(2) <= price.makespan(1) == pytest.approx(price.seconds)
    assert price.makespan(1000) == pytest.approx(seconds)
    assert sum(price.sources().values()) == len(price.jobs)


def pricing_states(plan: Plan, results: Results) -> Any:
    from bench.execute.states import job_states

    return job_states(plan, results.store)


def test_networks_of_a_plan(plan: Plan) -> None:
    assert networks(plan, plan.jobs) == [NETWORK, JUDGE]
