"""Means over the items that all rows have in common."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bench.evaluate.base import Column
from bench.metrics.intervals import bootstrap_mean
from bench.plan.jobs import Job, Plan
from bench.report import terminal
from bench.report.build import build_report
from bench.report.cells import Results as Reader
from bench.report.common import Across, across_rows
from bench.report.formats import FORMATS
from bench.report.model import Cell, Table
from bench.report.stored import Measurement, Values
from bench.store import Number
from bench.suite.schema import ResolvedColumn, ResolvedModel
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[model]]
family = "jem"
backbone = "wrn-10-1"
[[model]]
family = "gmmc-dis"
backbone = "wrn-10-1"
[[evaluation]]
kind = "cw-l2"
seed = 5
[[table]]
id = "main"
columns = ["cw-l2", "cw-l2.common", "cw-l2.success"]
"""
MODELS = ("softmax", "jem", "gmmc-dis")
INF = np.inf


class Case:
    def __init__(self, project: Project, results: Results) -> None:
        self.project, self.results = project, results
        self.plan: Plan = project.plan(SUITE)

    def job(self, model: str, seed: int = 1, what: str = "cw-l2") -> Job:
        return planned(self.plan, f"{model}/digits/seed{seed}/{what}")

    def measure(self, model: str, norms: Any, *, seed: int = 1, ids: Any = None, **options: Any) -> None:
        norms = np.asarray(norms, dtype=np.float64)
        finite = norms[np.isfinite(norms)]
        value = float(finite.mean()) if len(finite) else None
        arrays = {"l2": norms, "ids": np.arange(len(norms)) if ids is None else ids}
        self.results.measure(
            self.plan, self.job(model, seed), {"l2": value}, n=len(finite), correct=arrays,
            reason=None if len(finite) else "no attack succeeded", **options,
        )  # fmt: skip

    def table(self) -> Table:
        literature = self.project.bench.settings.literature
        return build_report(self.plan, self.results.store, literature).tables[0]

    def cells(self, column: int = 1) -> dict[str, Cell]:
        return {row.family: row.cells[column] for row in self.table().rows}


@pytest.fixture
def case(project: Project, results: Results) -> Case:
    return Case(project, results)


def test_own_successes_mislead_where_common_items_do_not(case: Case) -> None:
    """The second model is stronger on every item; that only its weakest items were broken turns its mean around."""
    weak = np.linspace(1, 2, 50)
    strong = np.where(np.arange(50) < 10, weak * 1.1, INF)
    case.measure("softmax", weak)
    case.measure("jem", strong)
    case.measure("gmmc-dis", weak[::-1], ids=np.arange(50)[::-1])  # the order of items is no property of them
    own, common = case.cells(0), case.cells(1)
    assert cast(float, own["softmax"].value) > cast(float, own["jem"].value)
    assert common["softmax"].value == common["gmmc-dis"].value == pytest.approx(weak[:10].mean())
    assert common["jem"].value == pytest.approx(1.1 * weak[:10].mean())
    assert {cell.n for cell in common.values()} == {10}
    assert {cell.reason for cell in common.values()} == {None}
    assert common["jem"].interval == bootstrap_mean(strong[:10], seed=5)
    assert [family for family, cell in common.items() if cell.best] == ["jem"]
    assert not any(cell.best for cell in own.values())
    notes = case.table().notes
    assert "cw-l2.common: 10 common items." in notes
    assert "Not tested, nothing bold: cw-l2 (no paired test)." in notes
    (bold,) = [note for note in notes if note.startswith("Bold")]
    assert "permutation of the pairs of common items" in bold
    assert "McNemar" not in bold


def test_what_cannot_be_told_from_the_best_is_bold_too(case: Case) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 40)
    norms = np.linspace(1, 2, 40)
    case.measure("softmax", norms)
    case.measure("jem", norms + noise - noise.mean() + 0.01)
    case.measure("gmmc-dis", norms - 0.3)
    assert [family for family, cell in case.cells().items() if cell.best] == ["softmax", "jem"]


@pytest.mark.parametrize("why", ["pending", "failed", "diverged", "n/a"])
def test_a_row_without_norms_takes_no_item_from_the_others(case: Case, why: str) -> None:
    case.measure("softmax", [1.0, 2.0, 3.0, INF])
    case.measure("jem", [2.0, INF, 4.0, 5.0])
    match why:
        case "failed":
            error = {"type": "RuntimeError", "message": "no memory", "traceback": "..."}
            case.results.store.folder(case.job("gmmc-dis").key).fail(error)
        case "diverged":
            case.results.finish(case.job("gmmc-dis", what="train"), status="diverged", reason="diverged at epoch 7")
        case "n/a":
            case.measure("gmmc-dis", [INF] * 4)
    cells = case.cells()
    assert (cells["softmax"].value, cells["jem"].value) == (2.0, 3.0)
    assert {cells[name].n for name in ("softmax", "jem")} == {2}
    assert {cells[name].reason for name in ("softmax", "jem")} == {"common items without GMMC (Dis)"}
    assert cells["gmmc-dis"].status == why
    assert cells["gmmc-dis"].reason
    assert any(note.startswith("common items without GMMC (Dis)") for note in case.table().notes)


def test_without_a_second_model_or_a_common_item_there_is_no_number(case: Case) -> None:
    case.measure("softmax", [1.0, INF, 2.0])
    cells = case.cells()
    assert (cells["softmax"].status, cells["softmax"].reason) == ("n/a", "no other model to compare with")
    assert (cells["jem"].status, cells["jem"].reason) == ("pending", "not run yet")
    case.measure("jem", [INF, 1.0, INF])
    cells = case.cells()
    assert (cells["softmax"].status, cells["softmax"].reason) == ("n/a", "no item is common to all models")
    assert (cells["jem"].status, cells["jem"].reason) == ("n/a", "no item is common to all models")
    assert not any(cell.best for cell in cells.values())


def test_a_model_that_measured_nothing_says_why(case: Case) -> None:
    """It stored no norm, and the column is made by the report: the reason stands in the numbers of the job."""
    case.measure("softmax", [1.0, 2.0])
    case.measure("jem", [2.0, 4.0])
    reason = "the outputs are not finite on any of the 2 items"
    case.results.measure(case.plan, case.job("gmmc-dis"), {"l2": None, "success": None}, n=0, reason=reason)
    cell = case.cells()["gmmc-dis"]
    assert (cell.status, cell.reason) == ("n/a", reason)


def test_seeds_are_paired_and_those_with_one_model_do_not_count(case: Case) -> None:
    text = SUITE.replace('family = "softmax"\n', 'family = "softmax"\nseeds = [1, 2, 3]\n')
    case.plan = case.project.plan(text.replace('family = "jem"\n', 'family = "jem"\nseeds = [1, 2]\n'))
    case.measure("softmax", [1.0, 2.0, 9.0], seed=1)
    case.measure("softmax", [INF, 4.0, 6.0], seed=2)
    case.measure("softmax", [7.0, 7.0, 7.0], seed=3)
    case.measure("jem", [2.0, 2.0, INF], seed=1)
    case.measure("jem", [1.0, 2.0, 2.0], seed=2)
    case.measure("gmmc-dis", [3.0, 3.0, 3.0], seed=1)
    cells = case.cells()
    assert (cells["softmax"].value, cells["softmax"].seeds) == ((1.5 + 5.0) / 2, (1, 2))
    assert (cells["jem"].value, cells["gmmc-dis"].value) == (2.0, 3.0)
    assert cells["softmax"].reason == (
        "1 of 3 seeds without a number: no other model to compare with; common items without GMMC (Dis) (seed 2)"
    )
    assert cells["softmax"].interval is not None
    # 1.5 and 5.0: the t interval of two seeds reaches far below 0, which no norm does.
    assert cells["softmax"].interval.kind == "t, cut to [0, inf)"
    assert cells["softmax"].interval.low == 0
    assert cells["jem"].interval is None
    assert "2 seeds with equal results: no spread, so no interval" in str(cells["jem"].reason)
    assert not any(cell.best for cell in cells.values())  # the rows have different seeds


def test_a_masked_norm_takes_no_part_in_bold(case: Case) -> None:
    norms = np.linspace(1, 2, 30)
    case.measure("softmax", norms)
    case.measure("jem", norms + 1, verdict="masked")
    case.measure("gmmc-dis", norms - 0.5)
    cells = case.cells()
    assert [family for family, cell in cells.items() if cell.best] == ["softmax"]
    assert cells["jem"].verdict == "masked"


def test_every_format_shows_it(case: Case) -> None:
    for shift, model in enumerate(MODELS):
        case.measure(model, np.array([1.25, 1.5, 1.75]) + shift)
    report = build_report(case.plan, case.results.store, case.project.bench.settings.literature)
    for name, render in FORMATS.items():
        text = render(report)
        assert "3.5" in text, name  # GMMC (Dis): 1.5 + 2
        assert "cw-l2.common" in text or "mean L2, common" in text, name
    console = Console(width=120, record=True, file=io.StringIO())
    terminal.render(report, console)
    shown = console.export_text()
    assert "mean L2, common" in shown
    assert "3.500" in shown


def results_of(rows: dict[str, dict[int, tuple[list[int], list[float]]]]) -> tuple[list[Any], Any, Any]:
    """Stand-ins for models, column and store."""
    number = Number(metric="common", value=1.0, n=1, definition="mean norm")

    def job(model: Any, seed: int) -> Job:
        return cast(Job, SimpleNamespace(seed=seed, key=f"{model.name}{seed}"))

    def values(model: Any, column: Any) -> tuple[list[Values], list[Any]]:
        found = [
            Values(Measurement(job(model, seed), number), np.array(ids), np.array(v))
            for seed, (ids, v) in rows[model.name].items()
        ]
        return found, []

    models = [SimpleNamespace(name=name, label=name.upper()) for name in rows]
    config = SimpleNamespace(seed=0)
    of_norms = Column(metric="common", label="common", unit="l2", direction="up", definition="mean norm")
    column = SimpleNamespace(id="x.common", evaluation=SimpleNamespace(config=config), column=of_norms)
    return models, column, SimpleNamespace(values=values)


VALUE = st.one_of(st.floats(0, 10), st.just(INF))
ROW = st.dictionaries(st.integers(0, 8), VALUE, min_size=1, max_size=9).filter(lambda r: min(r.values()) < INF)


@settings(deadline=None, max_examples=60)
@given(st.lists(ROW, min_size=2, max_size=4))
def test_it_is_the_mean_over_the_intersection(rows: list[dict[int, float]]) -> None:
    models, column, reader = results_of({f"m{i}": {1: (list(row), list(row.values()))} for i, row in enumerate(rows)})
    found: Across = across_rows(cast(list[ResolvedModel], models), cast(ResolvedColumn, column), cast(Reader, reader))
    common = [i for i in range(9) if all(row.get(i, INF) < INF for row in rows)]
    for number, row in enumerate(rows):
        cell = found.cells[f"m{number}"]
        if not common:
            assert (cell.status, cell.value) == ("n/a", None)
            continue
        assert cell.value == pytest.approx(np.mean([row[i] for i in common]))
        assert cell.n == len(common)
        ids, values = found.items[f"m{number}"][1]
        assert dict(zip(ids.tolist(), values.tolist(), strict=True)) == {i: row[i] for i in common}
