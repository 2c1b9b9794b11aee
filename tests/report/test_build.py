from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.errors import RequestError
from bench.plan.jobs import Plan
from bench.report.build import build_report
from bench.report.formats.json import as_dict
from bench.report.model import Cell, Report, Table
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

SUITE = """\
[suite]
name = "s"
title = "Title of the suite"
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
kind = "accuracy"
[[evaluation]]
kind = "pgd"
eps = ["8/255"]
[[evaluation]]
kind = "calibration"
[[evaluation]]
kind = "generation"
[[table]]
id = "main"
title = "Robustness"
columns = ["accuracy", "pgd@8/255", "calibration.ece", "generation.fcd"]
literature = ["quoted"]
note = "A note."
[[table]]
id = "other"
columns = ["calibration.temperature"]
models = ["JEM"]
"""

QUOTED = """\
[source]
name = "quoted"
title = "Paper 2021"
url = "https://example.org"
[[row]]
label = "softmax"
family = "softmax"
dataset = "DATASET"
table = "Table 5"
[row.values]
accuracy = 0.9356
[[row]]
label = "unrelated"
dataset = "DATASET"
table = "Table 6"
[row.values]
"another@column" = 0.5
"""
N = 100


class Case:
    def __init__(self, project: Project, results: Results) -> None:
        self.project, self.results = project, results
        self.literature = project.write("results/literature/quoted.toml", QUOTED.replace("DATASET", "digits"))
        self.plan: Plan = project.plan(SUITE)

    def measure(self, model: str, what: str, metric: str, wrong: int, seed: int = 1, **options: Any) -> None:
        """A row that errs on the first ``wrong`` of N items."""
        job = planned(self.plan, f"{model}/digits/seed{seed}/{what}")
        correct = np.arange(N) >= wrong
        self.results.measure(
            self.plan,
            job,
            {metric: 1 - wrong / N},
            n=N,
            correct={metric: correct, "clean": np.ones(N, bool)},
            **options,
        )

    def report(self) -> Report:
        return build_report(self.plan, self.results.store, self.project.bench.settings.literature)

    def table(self) -> Table:
        return self.report().tables[0]

    def bold(self, column: int) -> set[str]:
        return {row.label for row in self.table().rows if row.cells[column].best}


@pytest.fixture
def case(project: Project, results: Results) -> Case:
    return Case(project, results)


def row(table: Table, label: str) -> tuple[Cell, ...]:
    (found,) = [row.cells for row in table.rows if row.label == label and row.source == "measured"]
    return found


def accuracies(case: Case, seed: int = 1, **wrong: int) -> None:
    for model, count in wrong.items():
        case.measure(model.replace("_", "-"), "accuracy", "accuracy", count, seed=seed)


def test_shape(case: Case) -> None:
    report = case.report()
    assert (report.suite, report.title, report.profile, report.substitutions) == ("s", "Title of the suite", None, ())
    main, other = report.tables
    assert (main.id, main.title, other.title) == ("main", "Robustness", "other")
    assert [column.id for column in main.columns] == ["accuracy", "pgd@8/255", "calibration.ece", "generation.fcd"]
    assert [row.label for row in main.rows] == ["softmax", "JEM", "GMMC (Dis)", "softmax"]
    assert [row.source for row in main.rows] == ["measured"] * 3 + ["literature"]
    assert [row.label for row in other.rows] == ["JEM"]
    assert all(len(row.cells) == len(table.columns) for table in report.tables for row in table.rows)
    assert report.deviations[0].startswith("epochs:") or report.deviations


def test_an_empty_store_is_all_pending_and_nothing_is_bold(case: Case) -> None:
    table = case.table()
    statuses = {cell.status for row in table.rows[:3] for cell in row.cells}
    assert statuses == {"pending", "n/a"}  # n/a: two families do not generate
    assert not any(cell.best for row in table.rows for cell in row.cells)
    assert "pending (all rows): not run yet." in table.notes


def test_bold_is_the_best_and_what_cannot_be_told_from_it(case: Case) -> None:
    accuracies(case, softmax=3, jem=6, gmmc_dis=40)
    assert case.bold(0) == {"softmax", "JEM"}
    assert any(note.startswith("Bold: best measured value") for note in case.table().notes)


def test_masked_numbers_take_no_part_in_bold(case: Case) -> None:
    """Whose accuracy under attack is only the attack's failure is not the most robust."""
    for model, wrong, verdict in (
        ("softmax", 60, "no warning"),
        ("jem", 30, "inconclusive"),
        ("gmmc-dis", 0, "masked"),
    ):
        case.measure(model, "pgd@8/255", "ce", wrong, verdict=verdict)
    assert case.bold(1) == {"JEM"}
    assert row(case.table(), "GMMC (Dis)")[1].verdict == "masked"
    assert any("† masked" in note for note in case.table().notes)


def test_one_number_that_is_not_masked_is_not_the_best_of_anything(case: Case) -> None:
    for model, verdict in (("softmax", "no warning"), ("jem", "masked"), ("gmmc-dis", "masked")):
        case.measure(model, "pgd@8/255", "ce", 50, verdict=verdict)
    assert case.bold(1) == set()


def test_rows_without_a_number_do_not_hinder_the_others(case: Case) -> None:
    accuracies(case, softmax=3, jem=40)
    assert case.bold(0) == {"softmax"}


def test_one_row_alone_is_not_bold(case: Case) -> None:
    accuracies(case, softmax=3)
    assert case.bold(0) == set()


def test_columns_without_a_test_have_no_bold_and_say_so(case: Case) -> None:
    for model, value in (("softmax", 0.1), ("jem", 0.2), ("gmmc-dis", 0.3)):
        job = planned(case.plan, f"{model}/digits/seed1/calibration")
        case.results.measure(case.plan, job, {"ece": value})
    accuracies(case, softmax=3, jem=40, gmmc_dis=40)
    assert case.bold(2) == set()
    (note,) = [note for note in case.table().notes if note.startswith("Not tested, nothing bold: ")]
    assert "calibration.ece" in note
    assert "accuracy" not in note


def seeds_of_all(count: int) -> str:
    return re.sub(r'(family = "[a-z-]+"\n)', rf"\1seeds = {list(range(1, count + 1))}\n", SUITE)


def test_three_seeds_are_compared_over_items_by_their_means(case: Case, project: Project) -> None:
    case.plan = project.plan(seeds_of_all(3))
    for seed in (1, 2, 3):
        accuracies(case, softmax=3 + seed, jem=40, seed=seed)
    assert case.bold(0) == {"softmax"}
    (note,) = [note for note in case.table().notes if note.startswith("Bold")]
    assert "permutation of the pairs of common items, means over seeds" in note
    # What the means of these weights show does not say that the families differ: three seeds cannot.
    assert any("No paired test over 3 seeds" in note for note in case.table().notes)


def test_six_seeds_are_compared_as_families(case: Case, project: Project) -> None:
    case.plan = project.plan(seeds_of_all(6))
    for seed in range(1, 7):
        accuracies(case, softmax=3, jem=5 + seed, seed=seed)
    assert case.bold(0) == {"softmax"}  # p = 2 / 2^6
    (note,) = [note for note in case.table().notes if note.startswith("Bold")]
    assert "sign flips of the differences over seeds" in note
    # One seed the other way round: p = .06, although nearly all items of all seeds agree.
    accuracies(case, softmax=40, jem=0, seed=6)
    assert case.bold(0) == {"softmax", "JEM"}


def test_several_seeds_are_not_decided_by_one_runs_items(case: Case, project: Project) -> None:
    text = SUITE.replace('family = "softmax"\n', 'family = "softmax"\nseeds = [1, 2]\n')
    case.plan = project.plan(text)
    accuracies(case, softmax=3, jem=40)
    job = planned(case.plan, "softmax/digits/seed2/accuracy")
    case.results.measure(case.plan, job, {"accuracy": 0.9}, n=N, correct={"accuracy": np.ones(N, bool)})
    assert case.bold(0) == set()
    notes = case.table().notes
    assert any(note.startswith("Mean over seeds 1, 2 (softmax); 1 (JEM), 95% t intervals") for note in notes)
    assert "Not tested, nothing bold: accuracy (rows have different seeds)." in notes


def test_one_run_each_is_said(case: Case) -> None:
    accuracies(case, softmax=3, jem=4)
    (note,) = [note for note in case.table().notes if note.startswith("One run each")]
    assert "differences between runs are not covered" in note


def test_absence_says_why_and_of_whom(case: Case) -> None:
    jem = planned(case.plan, "jem/digits/seed1/train")
    case.results.finish(jem, status="diverged", reason="training diverged at epoch 7")
    notes = case.table().notes
    assert notes[0] == "A note."
    assert "diverged (JEM): training diverged at epoch 7." in notes
    assert "n/a in generation.fcd: softmax does not generate." in notes
    assert "n/a in generation.fcd: GMMC (Dis) does not generate." in notes
    assert row(case.table(), "JEM")[0].reason == "training diverged at epoch 7"


def quoted(table: Table) -> tuple[str, tuple[Cell, ...]]:
    (found,) = [row for row in table.rows if row.source == "literature"]
    return found.origin, found.cells


def test_literature_stands_apart(case: Case) -> None:
    accuracies(case, softmax=40, jem=45, gmmc_dis=45)
    origin, cells = quoted(case.table())
    assert origin == "Paper 2021, Table 5"
    assert (cells[0].value, cells[0].status, cells[0].best, cells[0].records) == (0.9356, "ok", False, ())
    assert (cells[1].value, cells[1].status, cells[1].reason) == (None, "n/a", "not in the source")
    assert case.bold(0) <= {"softmax", "JEM", "GMMC (Dis)"}
    measured = [row for row in case.table().rows if row.source == "measured"]
    assert any(row.cells[0].best for row in measured)


def test_numbers_under_a_profile_cannot_be_compared(case: Case) -> None:
    case.plan = case.project.plan(SUITE, '[profile]\nname = "small"\n[caps]\nitems = 64\n')
    origin, _ = quoted(case.table())
    assert origin == "Paper 2021, Table 5, DIGITS, not comparable"


@pytest.mark.parametrize("profile", [None, '[profile]\nname = "small"\n[caps]\nitems = 64\n'])
def test_numbers_of_another_data_set_are_not_quoted(case: Case, profile: str | None) -> None:
    case.project.write("results/literature/quoted.toml", QUOTED.replace("DATASET", "cifar10"))
    case.plan = case.project.plan(SUITE, profile)
    table = case.table()
    assert all(row.source == "measured" for row in table.rows)
    assert "Paper 2021 quotes no number of this table for digits." in table.notes


def test_a_profile_is_in_every_title(case: Case) -> None:
    case.plan = case.project.plan(SUITE, '[profile]\nname = "small"\n[caps]\nitems = 64\n')
    report = case.report()
    assert report.profile == "small"
    assert [table.title for table in report.tables] == [
        "Robustness (PROFILE small: digits, wrn-10-1, n <= 64)",
        "other (PROFILE small: digits, wrn-10-1, n <= 64)",
    ]


def test_tables_by_id(case: Case) -> None:
    report = case.report()
    assert report.only_tables([]) is report
    assert [table.id for table in report.only_tables(["other"]).tables] == ["other"]
    assert [table.id for table in report.only_tables(["other", "main"]).tables] == ["main", "other"]
    with pytest.raises(RequestError, match=r"suite s has no table 'mian'; did you mean 'main'\?"):
        report.only_tables(["mian"])


def test_the_report_as_data_holds_fractions_and_keys(case: Case) -> None:
    accuracies(case, softmax=3, jem=40)
    facts: Mapping[str, Any] = as_dict(case.report())
    first = facts["tables"][0]["rows"][0]["cells"][0]
    assert (first["value"], first["n"], first["best"], first["status"]) == (0.97, N, True, "ok")
    assert first["records"] == [job.key for job in case.plan.jobs if job.id == "softmax/digits/seed1/accuracy"]
    assert facts["schema"] == 1
