from __future__ import annotations

import pytest

from bench.compare.gate import Checked, GateResult, check_rules
from bench.errors import NothingSelectedError, RequestError
from bench.store.folder import JOB, RECORD
from bench.suite.gate import parse_rule
from tests.compare.conftest import SUITE, Run, right, with_seeds
from tests.conftest import Project, planned


@pytest.fixture
def before(project: Project) -> Run:
    return Run(
        project, SUITE.replace('backbone = "wrn-10-1"', 'backbone = "wrn-10-1"\nlr = 5e-4'), project.root / "old"
    )


def check(run: Run, before: Run, *rules: str) -> GateResult:
    return check_rules(run.results, run.plan.suite, before.former, [parse_rule(rule) for rule in rules])


def one(found: GateResult, label: str = "JEM") -> Checked:
    (checked,) = [checked for checked in found.checks if checked.label == label]
    return checked


@pytest.mark.parametrize(("wrong", "kept"), [(9, True), (11, True), (12, False)])
def test_a_bound_of_the_difference_of_means(run: Run, before: Run, wrong: int, kept: bool) -> None:
    """Half a point of 200 items is one item: the bound itself is kept, although 0.945 - 0.95 rounds to less."""
    run.accuracy("jem", right(wrong))
    before.accuracy("jem", right(10))
    found = check(run, before, "accuracy >= -0.005")
    assert one(found).kept is kept
    assert one(found).difference == pytest.approx((10 - wrong) / 200)
    assert (found.broken == ()) is kept


def test_the_sign_of_a_bound_is_that_of_the_difference(run: Run, before: Run) -> None:
    """A larger error is a positive difference, whatever is better."""
    run.measure("jem", "calibration", {"nll": 0.30})
    before.measure("jem", "calibration", {"nll": 0.25})
    assert one(check(run, before, "calibration.nll <= 0.1")).kept is True
    assert one(check(run, before, "calibration.nll <= 0.04")).kept is False
    assert one(check(run, before, "calibration.nll >= 0")).kept is True


def test_means_over_seeds_are_compared(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 2), project.root / "results")
    before = Run(project, with_seeds(SUITE, 2), project.root / "old")
    for seed, wrong in ((1, 10), (2, 30)):
        run.accuracy("jem", right(wrong), seed)
        before.accuracy("jem", right(20), seed)
    checked = one(check(run, before, "accuracy >= 0"))
    assert (checked.kept, checked.value, checked.baseline) == (True, pytest.approx(0.9), 0.9)
    assert checked.reason == ""


@pytest.mark.parametrize("rule", ["accuracy >= 0", "accuracy not worse at 0.05"])
def test_the_seeds_that_both_have_are_compared_and_said(project: Project, rule: str) -> None:
    """A bound and a test are about the same difference: seed 2 alone would break the bound."""
    run = Run(project, with_seeds(SUITE, 2), project.root / "results")
    before = Run(project, SUITE, project.root / "old")
    for seed, wrong in ((1, 10), (2, 60)):
        run.accuracy("jem", right(wrong), seed)
    before.accuracy("jem", right(20))
    checked = one(check(run, before, rule))
    assert (checked.kept, checked.value, checked.baseline) == (True, 0.95, 0.9)
    assert checked.difference == pytest.approx(0.05)
    assert checked.reason == "over seed 1 alone, which both sides have"


def test_runs_without_a_common_seed_are_not_compared(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 2), project.root / "results")
    before = Run(project, SUITE.replace('family = "jem"', 'family = "jem"\nseeds = [3]'), project.root / "old")
    for seed in (1, 2):
        run.accuracy("jem", right(10), seed)
    before.accuracy("jem", right(20), 3)
    with pytest.raises(NothingSelectedError, match="no training seed in common"):
        check(run, before, "accuracy >= 0")


@pytest.mark.parametrize(("wrong", "kept"), [(6, True), (15, True), (16, False), (0, True)])
def test_significance(run: Run, before: Run, wrong: int, kept: bool) -> None:
    """Five items that only the baseline has right have p = 2/2^5 = .06, six have .03."""
    run.accuracy("jem", right(wrong))
    before.accuracy("jem", right(10))
    assert one(check(run, before, "accuracy not worse at 0.05")).kept is kept
    assert one(check(run, before, "accuracy not lower")).kept is kept


def test_significance_is_corrected_for_the_models(run: Run, before: Run) -> None:
    for model in ("jem", "softmax"):
        run.accuracy(model, right(16))
        before.accuracy(model, right(10))
    found = check(run, before, "accuracy not worse")
    assert [checked.p for checked in found.checks] == [0.0625, 0.0625]  # 2 * .03125
    assert not found.broken


def test_a_pattern_checks_every_column_once(project: Project) -> None:
    text = SUITE.replace('eps = ["8/255"]', 'eps = ["4/255", "8/255"]')
    run, before = (Run(project, text, project.root / name) for name in ("results", "old"))
    for side in (run, before):
        for eps in ("4/255", "8/255"):
            side.measure("jem", f"pgd@{eps}", {"ce": 0.5}, correct={"ce": right(100), "clean": right(0)})
    found = check(run, before, "pgd@* >= -0.01")
    assert [c.column for c in found.checks if c.label == "JEM"] == ["pgd@4/255", "pgd@8/255"]
    assert all(c.kept for c in found.checks if c.label == "JEM")


def test_a_number_that_got_lost_breaks_the_rule(run: Run, before: Run) -> None:
    before.accuracy("jem", right(10))
    before.accuracy("softmax", right(10))
    run.accuracy("softmax", right(10))
    found = check(run, before, "accuracy >= -1")
    assert [(c.label, c.kept) for c in found.checks] == [("Softmax", True), ("JEM", False)]
    assert "not run yet" in one(found).reason
    run.writer.finish(
        planned(run.plan, "jem/digits/seed1/train"), status="diverged", reason="training diverged at epoch 3"
    )
    assert "diverged" in one(check(run, before, "accuracy >= -1")).reason


def test_a_number_that_the_baseline_lacks_is_not_compared(run: Run, before: Run) -> None:
    for model in ("jem", "softmax"):
        run.accuracy(model, right(10))
    before.accuracy("softmax", right(10))
    found = check(run, before, "accuracy >= -1")
    assert (one(found).kept, one(found).reason) == (None, "the baseline has no number")
    assert found.compared == 1


def test_not_applicable_by_design_is_no_failure(run: Run, before: Run) -> None:
    for side in (run, before):
        side.accuracy("jem", right(10))
    before.measure("jem", "calibration", {"ece": 0.1})
    # JEM has no read-out "paper"; neither side has the number.
    found = check(run, before, "accuracy >= -1", "calibration.ece@paper <= 1")
    assert not found.broken
    assert found.compared == 1


def test_an_empty_comparison_is_an_error(run: Run, before: Run) -> None:
    run.accuracy("jem", right(10))
    with pytest.raises(NothingSelectedError, match=r"the gate compared nothing .*JEM: the baseline has no number"):
        check(run, before, "accuracy >= -1")


def test_unknown_columns_and_aimless_tests_are_refused(run: Run, before: Run) -> None:
    with pytest.raises(RequestError, match=r"unknown column 'acuracy'; did you mean 'accuracy'"):
        check(run, before, "acuracy >= 0")
    with pytest.raises(RequestError, match=r"calibration\.temperature has no better direction"):
        check(run, before, "calibration.temperature not worse")


def test_each_rule_compares_something(run: Run, before: Run) -> None:
    for side in (run, before):
        side.accuracy("jem", right(10))
    with pytest.raises(NothingSelectedError, match=r"rule 'calibration.nll <= 1' of the gate compared nothing"):
        check(run, before, "accuracy >= -1", "calibration.nll <= 1")


def test_a_damaged_baseline_breaks_the_rule(run: Run, before: Run) -> None:
    for side in (run, before):
        for model in ("jem", "softmax"):
            side.accuracy(model, right(10))
    job = planned(before.plan, "jem/digits/seed1/accuracy")
    before.writer.store.folder(job.key).file(RECORD).write_text("{")
    checked = one(check(run, before, "accuracy >= -1"))
    assert checked.kept is False
    assert "jem/digits/seed1/accuracy is damaged" in checked.reason


def test_items_of_other_data_are_not_tested(run: Run, before: Run) -> None:
    for side in (run, before):
        for model in ("jem", "softmax"):
            side.accuracy(model, right(10))
    for job in before.plan.jobs:
        before.writer.store.folder(job.key).file(JOB).unlink(missing_ok=True)
    with pytest.raises(NothingSelectedError, match="its items cannot be paired"):
        check(run, before, "accuracy not worse")
