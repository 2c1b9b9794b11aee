"""Flatness over budgets that were attacked by independent jobs, seen when the table is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.plan.jobs import Plan
from bench.report.build import build_report
from bench.report.formats import html
from bench.report.formats.json import as_dict
from bench.report.model import Cell, Report
from bench.report.stored import Curve
from bench.report.verdicts import flatness
from bench.store import Record
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "gmmc-dis"
backbone = "wrn-10-1"
seeds = [1, 2]
[[evaluation]]
kind = "pgd"
eps = ["32/255", "4/255", "8/255", "16/255"]
[[evaluation]]
kind = "adaptive"
eps = ["4/255", "16/255"]
[[table]]
id = "main"
columns = [
  "pgd@4/255", "pgd@8/255", "pgd@16/255", "pgd@32/255", "pgd.margin@32/255", "pgd.zero-gradient@32/255",
  "adaptive@4/255", "adaptive@16/255",
]
"""
N = 200
EPS = ("4/255", "8/255", "16/255", "32/255")


def robust(share: float) -> np.ndarray:
    return np.arange(N) < round(share * N)


class Case:
    def __init__(self, project: Project, results: Results) -> None:
        self.project, self.results = project, results
        self.plan: Plan = project.plan(SUITE)

    def measure(
        self, seed: int, what: str, shares: dict[str, float], verdict: str = "no warning", **options: Any
    ) -> None:
        job = planned(self.plan, f"gmmc-dis/digits/seed{seed}/{what}")
        items = {metric: robust(share) for metric, share in shares.items()}
        self.results.measure(self.plan, job, shares, n=N, correct={**items, "clean": robust(0.95)}, verdict=verdict)
        folder = self.results.store.folder(job.key)
        folder.finish(Record.from_json({**(folder.record_json() or {}), **options}))

    def report(self) -> Report:
        return build_report(self.plan, self.results.store, self.project.bench.settings.literature)

    def cells(self) -> dict[str, Cell]:
        (table,) = self.report().tables
        return {cell.column: cell for cell in table.rows[0].cells}


@pytest.fixture
def case(project: Project, results: Results) -> Case:
    return Case(project, results)


def test_a_flat_curve_is_masked_however_its_points_look_alone(case: Case) -> None:
    for eps, share in zip(EPS, (0.56, 0.56, 0.55, 0.55), strict=True):
        case.measure(1, f"pgd@{eps}", {"ce": share, "margin": 0.0})
    cells = case.cells()
    for eps in EPS:
        cell = cells[f"pgd@{eps}"]
        assert cell.verdict == "masked"
        assert cell.flags["FLAT"].startswith("clean 95.0%; 4/255: 56.0%, 8/255: 56.0%, 16/255: 55.0%, 32/255: 55.0%")
    assert cells["pgd.margin@32/255"].verdict == "no warning"  # nothing is left, so nothing is hidden


def test_a_falling_curve_keeps_its_verdicts(case: Case) -> None:
    for eps, share in zip(EPS, (0.8, 0.5, 0.2, 0.0), strict=True):
        case.measure(1, f"pgd@{eps}", {"ce": share, "margin": share}, verdict="inconclusive")
    cells = case.cells()
    assert {cells[f"pgd@{eps}"].verdict for eps in EPS} == {"inconclusive"}
    assert not any("FLAT" in cell.flags for cell in cells.values())


def test_points_that_are_missing_leave_the_rest_to_be_judged(case: Case) -> None:
    case.measure(1, "pgd@8/255", {"ce": 0.5, "margin": 0.5})
    assert case.cells()["pgd@8/255"].verdict == "no warning"  # one point is no curve
    case.measure(1, "pgd@32/255", {"ce": 0.5, "margin": 0.1})
    cells = case.cells()
    assert (cells["pgd@8/255"].verdict, cells["pgd@32/255"].verdict) == ("masked", "masked")
    assert cells["pgd.margin@32/255"].verdict == "no warning"


def test_one_flat_seed_is_enough(case: Case) -> None:
    for seed, shares in ((1, (0.5, 0.2)), (2, (0.5, 0.5))):
        for eps, share in zip(("8/255", "32/255"), shares, strict=True):
            case.measure(seed, f"pgd@{eps}", {"ce": share, "margin": 0.0})
    assert case.cells()["pgd@8/255"].verdict == "masked"


def test_the_worst_case_of_strong_attacks_is_judged_alike(case: Case) -> None:
    for eps, share in (("4/255", 0.5), ("16/255", 0.48)):
        case.measure(1, f"adaptive@{eps}", {"robust": share})
    cells = case.cells()
    assert (cells["adaptive@4/255"].verdict, cells["adaptive@16/255"].verdict) == ("masked", "masked")


def test_what_was_not_checked_is_told_of_each_number(case: Case) -> None:
    """Of its curve no job can know whether it is flat; the table can, from two points on."""
    shares = {"ce": 0.5, "margin": 0.0, "zero-gradient": 0.1}
    case.measure(1, "pgd@8/255", shares)
    assert case.cells()["pgd@8/255"].not_measured == ()  # a record that says nothing of it
    unchecked = {"ce": ["FLAT", "BLACKBOX", "ITER"], "margin": ["LOSSGAP", "FLAT"]}
    case.measure(1, "pgd@8/255", shares, details={"not_measured": unchecked})
    assert case.cells()["pgd@8/255"].not_measured == ("FLAT", "BLACKBOX", "ITER")
    case.measure(1, "pgd@32/255", shares, details={"not_measured": unchecked})
    cells = case.cells()
    assert cells["pgd@8/255"].not_measured == cells["pgd@32/255"].not_measured == ("BLACKBOX", "ITER")
    assert cells["pgd.margin@32/255"].not_measured == ("LOSSGAP",)
    assert cells["pgd.zero-gradient@32/255"].not_measured == ()
    (row,) = as_dict(case.report())["tables"][0]["rows"]
    assert row["cells"][1]["not_measured"] == ["BLACKBOX", "ITER"]
    assert "not checked: BLACKBOX, ITER" in html.render(case.report())


def test_a_list_of_checks_that_were_not_made_is_of_all_numbers(case: Case) -> None:
    case.measure(1, "adaptive@4/255", {"robust": 0.5}, details={"not_measured": ["UNBOUNDED", "ITER"]})
    assert case.cells()["adaptive@4/255"].not_measured == ("UNBOUNDED", "ITER")


def test_budgets_may_come_in_any_order() -> None:
    ordered = Curve(["4/255", "16/255"], [robust(0.5), robust(0.2)], robust(0.9))
    mixed = Curve(["16/255", "4/255"], [robust(0.2), robust(0.5)], robust(0.9))
    assert flatness(ordered) == flatness(mixed)
    assert not flatness(mixed).raised
    assert flatness(Curve(["16/255", "4/255"], [robust(0.5), robust(0.2)], robust(0.9))).raised  # it rises
