from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from bench.execute.states import job_states
from bench.metrics.intervals import Interval
from bench.plan.jobs import Job, Plan
from bench.report.cells import Results as Reader
from bench.report.cells import aggregate
from bench.report.model import Cell
from bench.report.stored import Measurement
from bench.report.text import cell_text, interval_text
from bench.store import Number, Record
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

SEEDS = '[[model]]\nfamily   = "softmax"\nseeds = [1, 2, 3]\n'


@pytest.fixture
def plan(project: Project, tiny: str) -> Plan:
    return project.plan(tiny.replace('[[model]]\nfamily   = "softmax"\n', SEEDS))


def job(plan: Plan, seed: int, what: str = "accuracy") -> Job:
    return planned(plan, f"softmax/digits/seed{seed}/{what}")


def cell(plan: Plan, results: Results, column: int = 0, model: int = 0) -> Cell:
    reader = Reader(plan, results.store, job_states(plan, results.store))
    return reader.cell(plan.suite.models[model], plan.suite.tables[0].columns[column])


def measure(plan: Plan, results: Results, values: Mapping[int, float], n: int = 100) -> None:
    for seed, value in values.items():
        results.measure(plan, job(plan, seed), {"accuracy": value}, n=n)


def test_nothing_yet(plan: Plan, results: Results) -> None:
    assert cell(plan, results) == Cell(column="accuracy", status="pending", reason="not run yet")


def test_one_seed_keeps_the_interval_over_items(plan: Plan, results: Results) -> None:
    results.measure(plan, job(plan, 1), {"accuracy": 0.9})
    record = results.store.folder(job(plan, 1).key).record_json()
    assert record is not None
    record["numbers"][0]["interval"] = {"low": 0.8, "high": 0.95, "kind": "Wilson", "level": 0.95}
    results.store.folder(job(plan, 1).key).finish(Record.from_json(record))
    found = cell(plan, results)
    assert (found.value, found.n, found.seeds, found.sd) == (0.9, 100, (1,), None)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high, found.interval.kind) == (0.8, 0.95, "Wilson")
    assert found.records == (job(plan, 1).key,)
    assert found.status == "ok"
    assert found.reason == "2 of 3 seeds without a number: not run yet"


def test_several_seeds_have_mean_sd_and_a_t_interval(plan: Plan, results: Results) -> None:
    values = [0.90, 0.94, 0.95]
    measure(plan, results, dict(zip((1, 2, 3), values, strict=True)))
    found = cell(plan, results)
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert (found.seeds, found.reason, len(found.records)) == ((1, 2, 3), None, 3)


def test_the_smallest_n_is_claimed_and_the_others_are_told(plan: Plan, results: Results) -> None:
    measure(plan, results, {1: 0.5}, n=100)
    measure(plan, results, {2: 0.6}, n=64)
    found = cell(plan, results)
    assert (found.n, found.n_most) == (64, 100)
    assert found.reason == "1 of 3 seeds without a number: not run yet"


def test_a_flag_names_its_seeds_unless_all_raise_it_alike(plan: Plan, results: Results) -> None:
    """The flag of one seed stood beside the mean of three as if it were about all."""

    def flags(*raised: Mapping[str, str]) -> Mapping[str, str]:
        for seed, one in enumerate(raised, start=1):
            folder = results.store.folder(job(plan, seed).key)
            record = folder.record_json()
            assert record is not None
            record["numbers"][0]["flags"] = one
            folder.finish(Record.from_json(record))
        return cell(plan, results).flags

    measure(plan, results, {1: 0.1, 2: 0.2, 3: 0.3})
    zero = {"GRAD0": "zero on 31%"}
    assert flags(zero, {**zero, "ITER": "moves"}, {"GRAD0": "zero on 5%"}) == {
        "GRAD0": "zero on 31% (seed 1, 2); zero on 5% (seed 3)",
        "ITER": "moves (seed 2)",
    }
    assert flags(zero, zero, zero) == zero


@pytest.mark.parametrize("values", [{1: 0.99, 2: 0.965}, {1: 1.0, 2: 0.95, 3: 0.99}, {1: 0.01, 2: 0.0, 3: 0.02}])
def test_intervals_over_seeds_stay_in_the_range_of_the_column(
    plan: Plan, results: Results, values: dict[int, float]
) -> None:
    """An accuracy of 97.8 % had an interval that ends at 113 %."""
    measure(plan, results, values)
    found = cell(plan, results)
    assert found.interval is not None
    assert 0 <= found.interval.low < found.interval.high <= 1
    assert found.interval.kind == "t, cut to [0, 1]"


def test_equal_seeds_have_no_interval_but_a_reason(plan: Plan, results: Results) -> None:
    measure(plan, results, {1: 0.97, 2: 0.97, 3: 0.97})
    found = cell(plan, results)
    assert (found.value, found.interval, found.sd) == (pytest.approx(0.97), None, pytest.approx(0))
    assert found.reason == "3 seeds with equal results: no spread, so no interval"


def test_notes_of_the_numbers_are_told_with_their_seeds(plan: Plan, results: Results) -> None:
    measure(plan, results, {1: 0.8, 2: 0.9, 3: 0.7})
    for seed, note in ((1, "3 of 100 test items have no finite logits and count as wrong"), (3, "another")):
        record = results.store.folder(job(plan, seed).key).record_json()
        assert record is not None
        record["numbers"][0]["note"] = note
        results.store.folder(job(plan, seed).key).finish(Record.from_json(record))
    assert cell(plan, results).reason == (
        "3 of 100 test items have no finite logits and count as wrong (seed 1); another (seed 3)"
    )


@pytest.mark.parametrize("state", ["failed", "running", "diverged", "stale"])
def test_the_reason_is_the_states(plan: Plan, results: Results, state: str) -> None:
    folder = results.store.folder(job(plan, 1).key)
    if state == "failed":
        folder.fail({"type": "ValueError", "message": "no"})
        assert cell(plan, results) == Cell(column="accuracy", status="failed", reason="ValueError: no")
    elif state == "running":
        with folder.lock():
            assert cell(plan, results) == Cell(column="accuracy", status="pending", reason="running")
    elif state == "diverged":
        results.finish(job(plan, 1, "train"), status="diverged", reason="training diverged at epoch 3")
        expected = Cell(column="accuracy", status="diverged", reason="training diverged at epoch 3")
        assert cell(plan, results) == expected
    else:
        results.finish(job(plan, 1, "train"), weights="others")
        measure(plan, results, {1: 0.9})
        found = cell(plan, results)
        assert (found.status, found.value) == ("pending", None)
        assert "weights" in str(found.reason)


def test_a_seed_that_diverged_is_not_in_the_mean_but_told(plan: Plan, results: Results) -> None:
    measure(plan, results, {1: 0.8, 2: 0.9})
    results.finish(job(plan, 3, "train"), status="diverged", reason="training diverged at epoch 3")
    found = cell(plan, results)
    assert found.value == pytest.approx(0.85)
    assert found.seeds == (1, 2)
    assert found.reason == "1 of 3 seeds without a number: training diverged at epoch 3"


def test_a_number_without_value_says_why(plan: Plan, results: Results) -> None:
    for seed in (1, 2, 3):
        results.measure(plan, job(plan, seed), {"accuracy": None}, reason="no item is classified correctly")
    assert cell(plan, results) == Cell(column="accuracy", status="n/a", reason="no item is classified correctly")


def test_a_read_out_that_the_family_lacks(project: Project, tiny: str, results: Results) -> None:
    plan = project.plan(tiny.replace('"calibration.ece"]', '"calibration.ece@linear"]'))
    assert cell(plan, results, column=2) == Cell(
        column="calibration.ece@linear", status="n/a", reason="no read-out 'linear'"
    )
    assert cell(plan, results, column=2, model=1).status == "pending"


def test_the_part_of_the_columns_argument_is_read(plan: Plan, results: Results) -> None:
    results.measure(plan, job(plan, 1, "pgd-2@16/255"), {"ce": 0.1})
    assert cell(plan, results, column=1).status == "pending"
    results.measure(plan, job(plan, 1, "pgd-2@8/255"), {"ce": 0.3})
    assert cell(plan, results, column=1).value == 0.3


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["no warning", "masked", "inconclusive"], "masked"),
        (["no warning", "inconclusive", "no warning"], "inconclusive"),
        (["no warning"] * 3, "no warning"),
    ],
)
def test_the_worst_verdict_speaks(plan: Plan, results: Results, verdicts: list[str], expected: str) -> None:
    for seed, verdict in zip((1, 2, 3), verdicts, strict=True):
        results.measure(plan, job(plan, seed, "pgd-2@8/255"), {"ce": 0.3}, verdict=verdict)
    assert cell(plan, results, column=1).verdict == expected


def test_items_by_seed(plan: Plan, results: Results) -> None:
    def items() -> dict[int, tuple[list[int], list[bool]]]:
        reader = Reader(plan, results.store, job_states(plan, results.store))
        found = reader.items(plan.suite.models[0], plan.suite.tables[0].columns[0])
        return {seed: (ids.tolist(), values.tolist()) for seed, (ids, values) in found.items()}

    assert items() == {}
    results.measure(plan, job(plan, 1), {"accuracy": 2 / 3}, n=3, correct={"accuracy": [True, False, True]})
    assert items() == {1: ([0, 1, 2], [True, False, True])}
    results.measure(plan, job(plan, 2), {"accuracy": 1 / 3}, n=3, correct={"accuracy": [True, False, False]})
    assert items() == {1: ([0, 1, 2], [True, False, True]), 2: ([0, 1, 2], [True, False, False])}
    # A seed with a number but without items: the mean over the others is of another number than the cell's.
    results.measure(plan, job(plan, 3), {"accuracy": 1 / 3}, n=3)
    assert items() == {}


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.99981, 0.99948, 0.99993, ".99981 [.99948, .99993]"),  # 1.000 [1.000, 1.000] would claim certainty
        (0.9996, 0.997, 0.99995, ".9996 [.9970, 1.0000]"),
        (1.0, 0.990, 1.0, "1.000 [.990, 1.000]"),
        (0.975, 0.961, 0.983, ".975 [.961, .983]"),
    ],
)
def test_an_area_near_one_is_not_rounded_to_one(value: float, low: float, high: float, text: str) -> None:
    column: Any = SimpleNamespace(id="ood", column=SimpleNamespace(unit="auroc", bounds=(0.0, 1.0)))
    interval = Interval(low, high, 0.95, "delong, logit scale")
    number = Number(metric="auroc", value=value, n=794, definition="", interval=interval)
    job: Any = SimpleNamespace(seed=1, key="key")
    found = aggregate(column, [Measurement(job, number)], [])
    assert f"{cell_text(found, 'auroc')} {interval_text(found, 'auroc')}" == text
