from __future__ import annotations

import pytest

from bench.errors import SuiteError
from bench.suite.gate import parse_rule
from tests.conftest import TINY, Project


@pytest.mark.parametrize(
    ("text", "column", "operator", "bound"),
    [
        ("accuracy >= -0.005", "accuracy", ">=", -0.005),
        ("  pgd@8/255>=-.01 ", "pgd@8/255", ">=", -0.01),
        ("calibration.ece < 1e-2", "calibration.ece", "<", 0.01),
        ("accuracy not worse", "accuracy", "worse", 0.05),
        ("pgd@* not lower at 0.01", "pgd@*", "lower", 0.01),
    ],
)
def test_rules_are_read(text: str, column: str, operator: str, bound: float) -> None:
    rule = parse_rule(text)
    assert (rule.column, rule.operator, rule.bound) == (column, operator, bound)
    assert rule.is_test == (" not " in text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "accuracy", "accuracy = 0.1", "accuracy >= half", "accuracy >= nan", "accuracy >= inf", ">= 0.1"),
        *("accuracy not worse at 2", "accuracy not nicer", "accuracy >= 0.1 0.2", "accuracy not worse at 0"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_rule(text)
    assert repr(text) in str(caught.value)


def test_a_suite_brings_its_rules(project: Project) -> None:
    gate = '[gate]\nrules = ["accuracy >= -0.005", "accuracy not worse"]\nagainst = "../baseline"\n'
    suite = project.plan(TINY + gate).suite
    assert suite.rules == ("accuracy >= -0.005", "accuracy not worse")
    assert suite.baseline == suite.path.parent / "../baseline"
    assert project.plan(TINY).suite.rules == ()


def test_a_wrong_rule_is_named_with_its_line(project: Project) -> None:
    with pytest.raises(SuiteError) as caught:
        project.plan(TINY + '[gate]\nrules = ["accuracy is fine"]\n')
    line = len(TINY.splitlines()) + 2
    assert f":{line}" in str(caught.value)
    assert "'accuracy is fine' is no rule" in str(caught.value)
