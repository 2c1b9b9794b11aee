from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from bench.compare.build import compare_models, compare_runs
from bench.errors import NothingSelectedError, RequestError
from bench.metrics.paired import holm, mcnemar
from bench.report.formats import FORMATS
from bench.report.model import Cell, Report
from tests.compare.conftest import SUITE, Run, right, with_seeds
from tests.conftest import Project

THREE = SUITE.replace("[[evaluation]]", '[[model]]\nfamily = "gmmc-dis"\nbackbone = "wrn-10-1"\n[[evaluation]]', 1)


def cells(report: Report, table: int = 0) -> dict[str, Cell]:
    return {row.label: row.cells[0] for row in report.tables[table].rows}


THIRD = """\
[[model]]
family = "softmax"
name = "third"
label = "Third"
seeds = [1, 2, 3, 4, 5, 6]
backbone = "wrn-10-1"
lr = 1e-3
"""


def test_each_model_is_compared_with_the_first_or_the_named_one(project: Project) -> None:
    run = Run(project, THREE, project.root / "results")
    for model, wrong in (("softmax", 10), ("jem", 16), ("gmmc-dis", 40)):
        run.accuracy(model, right(wrong))
    found = cells(compare_models(run.results, run.plan.suite, None))
    assert {label: cell.value for label, cell in found.items()} == pytest.approx({"JEM": -0.03, "GMMC (Dis)": -0.15})
    p = [mcnemar(right(wrong), right(10)) for wrong in (16, 40)]
    assert [cell.p for cell in found.values()] == p
    assert [cell.p_corrected for cell in found.values()] == holm(p)
    assert [cell.best for cell in found.values()] == [p < 0.05 for p in holm(p)] == [True, True]
    named = cells(compare_models(run.results, run.plan.suite, "JEM"))
    assert {label: cell.value for label, cell in named.items()} == pytest.approx({"Softmax": 0.03, "GMMC (Dis)": -0.12})


def test_an_unknown_baseline_names_the_nearest(run: Run) -> None:
    with pytest.raises(RequestError, match="no model 'JEN'; did you mean 'jem'"):
        compare_models(run.results, run.plan.suite, "JEN")


def test_a_single_model_has_nothing_to_be_compared_with(project: Project) -> None:
    text = SUITE.replace('[[model]]\nfamily = "jem"\nlabel = "JEM"\nbackbone = "wrn-10-1"\n', "")
    run = Run(project, text, project.root / "results")
    with pytest.raises(RequestError, match="no model to compare Softmax with"):
        compare_models(run.results, run.plan.suite, None)


def test_several_seeds_give_both_answers(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 3), project.root / "results")
    for seed in (1, 2, 3):
        run.accuracy("softmax", right(10), seed)
        run.accuracy("jem", right(30 + seed), seed)
    report = compare_models(run.results, run.plan.suite, None)
    assert [table.id for table in report.tables] == ["main-weights", "main-families"]
    weights, families = cells(report)["JEM"], cells(report, 1)["JEM"]
    assert (weights.value, families.value) == (pytest.approx(-0.11), pytest.approx(-0.11))
    assert (weights.best, families.best) == (True, False)
    assert (families.p, families.p_corrected) == (0.25, None)
    notes = " ".join(report.tables[1].notes)
    assert "its smallest p is 0.25 with 3 of them." in notes
    assert "95% intervals: Student's t." in notes
    assert "corrected by Holm" not in notes


def test_a_p_that_the_correction_alone_keeps_above_the_level_is_left_out(project: Project) -> None:
    """Six seeds have 1/32; two rows double it to more than .05. One row keeps it."""
    run = Run(project, with_seeds(SUITE, 6).replace("[[evaluation]]", THIRD + "[[evaluation]]", 1), project.root / "r")
    for seed in range(1, 7):
        run.accuracy("softmax", right(10), seed)
        run.accuracy("jem", right(30 + seed), seed)
        run.accuracy("third", right(10 + seed), seed)
    report = compare_models(run.results, run.plan.suite, None)
    families = report.tables[1]
    assert {row.cells[0].p_corrected for row in families.rows} == {None}
    assert "0.0312 with 6 of them (0.0625 corrected for 2 rows)" in " ".join(families.notes)
    alone = compare_models(run.results, replace(run.plan.suite, models=run.plan.suite.models[:2]), None)
    (row,) = alone.tables[1].rows
    assert (row.cells[0].p_corrected, row.cells[0].best) == (1 / 32, True)


def test_a_table_without_any_difference_is_a_remark(project: Project) -> None:
    """Only accuracies are stored: the table of calibration has nothing to compare."""
    text = SUITE + '[[table]]\nid = "calibration"\ntitle = "Calibration"\ncolumns = ["calibration.nll"]\n'
    run = Run(project, text, project.root / "results")
    run.accuracy("softmax", right(10))
    run.accuracy("jem", right(30))
    report = compare_models(run.results, run.plan.suite, None)
    assert [table.id for table in report.tables] == ["main-weights"]
    (remark,) = report.remarks
    assert remark.startswith("No table “Calibration: difference to Softmax, these weights”: JEM: ")


def test_a_masked_number_is_never_told_apart(run: Run) -> None:
    run.measure("jem", "pgd@8/255", {"ce": 0.25}, correct={"ce": right(150), "clean": right(0)}, verdict="masked")
    run.measure("softmax", "pgd@8/255", {"ce": 1.0}, correct={"ce": right(0), "clean": right(0)}, verdict="no warning")
    table = compare_models(run.results, run.plan.suite, None).tables[0]
    cell = table.rows[0].cells[3]
    assert (cell.verdict, cell.best) == ("masked", False)
    assert cell.p is not None
    assert cell.p < 1e-6
    assert any(note.startswith("† masked on one side") for note in table.notes)


def test_every_format_prints_signs_and_p(run: Run) -> None:
    run.accuracy("softmax", right(10))
    run.accuracy("jem", right(30))
    report = compare_models(run.results, run.plan.suite, None)
    for name in ("markdown", "latex", "html"):
        text = FORMATS[name](report)
        assert "p < .001" in text or "p &lt; .001" in text or "p $<$ .001" in text, name
        assert "10.0" in text, name
    assert "**-10.0** [" in FORMATS["markdown"](report)
    (cell, *_) = json.loads(FORMATS["json"](report))["tables"][0]["rows"][0]["cells"]
    assert cell["value"] == pytest.approx(-0.1)
    assert (cell["signed"], cell["p"], cell["p_corrected"]) == (True, mcnemar(right(30), right(10)), cell["p"])


def test_equal_runs_differ_in_nothing(project: Project, run: Run) -> None:
    for model in ("softmax", "jem"):
        run.accuracy(model, right(10))
    shutil.copytree(run.folder, project.root / "copy")
    former = Run(project, SUITE, project.root / "copy")
    report = compare_runs(run.results, run.plan.suite, former.former)
    assert [cell.value for cell in cells(report).values()] == [0.0, 0.0]
    assert [cell.p for cell in cells(report).values()] == [1.0, 1.0]
    assert report.remarks == ("Between the runs: weights are the same (all rows)",)


def test_runs_are_paired_by_label_and_their_differences_named(project: Project, run: Run) -> None:
    text = SUITE.replace('label = "JEM"\n', 'label = "JEM"\nname = "other"\nlr = 5e-4\n').replace(
        'family = "softmax"\nlabel = "Softmax"', 'family = "softmax"\nlabel = "Gone"\nname = "gone"'
    )
    before = Run(project, text, project.root / "before")
    before.accuracy("other", right(40))
    run.accuracy("jem", right(10))
    report = compare_runs(run.results, run.plan.suite, before.former)
    assert {label: cell.value for label, cell in cells(report).items()} == {"JEM": pytest.approx(0.15)}
    assert cells(report)["JEM"].p == mcnemar(right(10), right(40))
    assert f"Not in {before.folder}: Softmax." in report.remarks
    (rate,) = [line for line in report.remarks if "lr:" in line]
    assert rate == f"Between the runs: lr: 0.0005 → {run.plan.suite.models[1].config.lr} (JEM)"
    # The records of both runs name the same weights, which no two trainings with two learning rates would give.
    assert "Between the runs: weights are the same (JEM)" in report.remarks


def test_runs_without_a_common_model(project: Project, run: Run) -> None:
    text = SUITE.replace('"Softmax"', '"A"').replace('"JEM"', '"B"')
    before = Run(project, text, project.root / "before")
    with pytest.raises(NothingSelectedError, match="no model in common"):
        compare_runs(run.results, run.plan.suite, before.former)


def test_a_folder_without_runs_is_refused(project: Project, run: Run) -> None:
    from bench.compare.sides import former_run

    with pytest.raises(RequestError, match="is no results folder"):
        former_run(project.root / "nowhere", run.plan.suite)
    other = Run(project, SUITE.replace('name = "s"', 'name = "t"'), project.root / "t")
    with pytest.raises(RequestError, match="has no run of s; valid: t"):
        former_run(other.folder, run.plan.suite)
