"""Quoted rows in the tables of a suite, and differences to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from bench.errors import NothingSelectedError
from bench.metrics.intervals import Interval, wilson
from bench.report.build import build_report
from bench.report.cells import Results
from bench.report.files import plot
from bench.report.model import Cell, Table, TableColumn, TableRow
from bench.report.quoted import Quoted, difference_rows
from bench.report.text import cell_text
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project
    from tests.conftest import Results as StoredResults

SHARE = TableColumn("accuracy", "accuracy", "", "up", "fraction", "", tested=True)
NORM = TableColumn("cw", "L2", "", "up", "l2", "", tested=True)


def difference(cell: Cell, column: TableColumn, paper: float, n: int | None) -> Cell:
    measured = [TableRow("m", "f", "measured", (cell,))]
    quoted = TableRow("p", "f", "literature", (Cell(column=column.id, value=paper, status="ok"),), "Paper")
    (found,) = difference_rows(measured, Quoted((quoted,), items=({column.id: n},)), [column])
    assert (found.source, found.label) == ("difference", "m - p")
    return found.cells[0]


def test_one_seed_has_the_interval_of_two_samples() -> None:
    mine = Cell(column="accuracy", value=56 / 70, n=70, seeds=(1,), status="ok", interval=wilson(56, 70))
    found = difference(mine, SHARE, 48 / 80, 80)
    assert found.value == pytest.approx(0.2)
    assert isinstance(found.interval, Interval)
    # Newcombe 1998, Table II, contrast (a), method 10.
    assert (round(found.interval.low, 4), round(found.interval.high, 4)) == (0.0524, 0.3339)


def test_three_seeds_have_a_prediction_interval() -> None:
    values = np.array([0.90, 0.92, 0.97])
    sd = float(values.std(ddof=1))
    mine = Cell(column="accuracy", value=float(values.mean()), n=100, seeds=(1, 2, 3), sd=sd, status="ok")
    found = difference(mine, SHARE, 0.95, 10_000)
    half = stats.t.ppf(0.975, 2) * sd * math.sqrt(4 / 3)
    assert found.interval is not None
    assert found.interval.high - found.interval.low == pytest.approx(2 * half)


@pytest.mark.parametrize(
    ("cell", "column", "n"),
    [
        (Cell(column="cw", value=0.5, n=70, seeds=(1,), status="ok"), NORM, 100),
        (Cell(column="accuracy", value=0.5, n=70, seeds=(1,), status="ok"), SHARE, None),
        (Cell(column="accuracy", value=0.5, n=70, seeds=(1, 2), sd=0.1, status="ok"), SHARE, 100),
    ],
)
def test_other_differences_have_no_interval(cell: Cell, column: TableColumn, n: int | None) -> None:
    assert difference(cell, column, 0.25, n).interval is None


SUITE = """\
[suite]
name = "s"
[data]
dataset = ["digits", "fashion-mnist"]
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
[[table]]
id = "both"
columns = ["digits/accuracy", "fashion-mnist/accuracy"]
literature = ["paper"]
differences = true
"""
SETTINGS = (
    SUITE.split("[[table]]")[0].replace('["digits", "fashion-mnist"]', '"digits"')
    + """\
[[table]]
id = "settings"
settings = ["epochs", "lr"]
transpose = true
literature = ["paper"]
"""
)
PAPER = """\
[source]
name = "paper"
title = "Paper"
url = "https://example.org"
[[row]]
label = "softmax"
family = "softmax"
dataset = "digits"
table = "Table 2"
caveat = "One run."
n = 100
values = { accuracy = 0.5 }
[[row]]
label = "softmax"
family = "softmax"
dataset = "fashion-mnist"
table = "Table 2"
caveat = "One run."
values = { accuracy = 0.25 }
[[row]]
label = "softmax"
dataset = "cifar10"
table = "Table 2"
values = { accuracy = 0.75 }
[[row]]
label = "set"
dataset = "digits"
table = "Table 8"
values = { epochs = 150 }
"""


def table_of(project: Project, results: StoredResults, suite: str = SUITE, profile: str | None = None) -> Table:
    project.write("results/literature/paper.toml", PAPER)
    plan = project.plan(suite, profile)
    job = planned(plan, "softmax/digits/seed1/accuracy")
    results.measure(plan, job, {"accuracy": 0.6}, n=100, correct={"accuracy": np.arange(100) < 60})
    (table,) = build_report(plan, results.store, project.bench.settings.literature).tables
    return table


def test_a_row_has_the_numbers_of_each_data_set(project: Project, results: StoredResults) -> None:
    table = table_of(project, results)
    (quoted,) = [row for row in table.rows if row.source == "literature"]
    assert [cell.value for cell in quoted.cells] == [0.5, 0.25]
    (gap,) = [row for row in table.rows if row.source == "difference"]
    assert gap.cells[0].value == pytest.approx(0.1)
    assert gap.cells[0].interval is not None
    assert gap.cells[1].value is None
    assert [note for note in table.notes if "One run." in note] == ["Quoted softmax: One run."]


def test_no_difference_under_a_profile(project: Project, results: StoredResults) -> None:
    table = table_of(project, results, profile='[profile]\nname = "small"\n[caps]\nitems = 64\n')
    assert {row.source for row in table.rows} == {"measured", "literature"}
    (quoted,) = [row for row in table.rows if row.source == "literature"]
    assert quoted.origin == "Paper, Table 2, DIGITS, FASHION-MNIST, not comparable"


def test_settings_are_texts(project: Project, results: StoredResults) -> None:
    table = table_of(project, results, SETTINGS)
    shown = {row.label: [cell.text for cell in row.cells] for row in table.rows}
    assert shown == {"softmax": ["150", "0.0001"], "set": ["150", ""]}


OOD = """\
[suite]
name = "o"
[data]
dataset = "digits"
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[evaluation]]
kind = "ood"
sets = ["patches"]
[[table]]
id = "o"
columns = ["ood.log-density.auroc@patches"]
literature = ["paper"]
"""


def test_quoted_numbers_of_a_substituted_set_stay(project: Project, results: StoredResults) -> None:
    """Columns under a profile have the name of the substitute, sources that of the original."""
    row = '[[row]]\nlabel = "m"\ndataset = "digits"\ntable = "T"\nvalues = { "ood.log-density.auroc@patches" = 0.51 }\n'
    project.write("results/literature/paper.toml", PAPER.split("[[row]]")[0] + row)
    profile = '[profile]\nname = "small"\n[substitute.ood]\npatches = "uniform"\n'
    plan = project.plan(OOD, profile)
    (table,) = build_report(plan, results.store, project.bench.settings.literature).tables
    assert table.columns[0].id == "ood.log-density.auroc@uniform"
    (quoted,) = [row for row in table.rows if row.source == "literature"]
    assert quoted.cells[0].value == 0.51
    assert cell_text(quoted.cells[0], table.columns[0].unit) == ".51"


def test_charts_of_a_table_with_quoted_numbers(project: Project) -> None:
    """The tables are made for their charts, with the rows that they quote."""
    project.write("results/literature/paper.toml", PAPER)
    plan = project.plan(SUITE)
    bench = project.bench
    with pytest.raises(NothingSelectedError):
        plot(bench, Results(plan, bench.store, bench.states(plan)), (), None)


@pytest.mark.parametrize("reduced", ["resize = [10, 10]", "train = 100"])
def test_no_difference_to_a_suite_on_reduced_data(project: Project, results: StoredResults, reduced: str) -> None:
    table = table_of(project, results, SUITE.replace("[data]", f"[data]\n{reduced}"))
    assert {row.source for row in table.rows} == {"measured", "literature"}
    (quoted,) = [row for row in table.rows if row.source == "literature"]
    assert quoted.origin == "Paper, Table 2, DIGITS, FASHION-MNIST, not comparable"


def test_a_bound_that_does_not_bind_reduces_nothing(project: Project, results: StoredResults) -> None:
    table = table_of(project, results, SUITE.replace("[data]", "[data]\ntrain = 100_000"))
    assert {row.source for row in table.rows} == {"measured", "literature", "difference"}
