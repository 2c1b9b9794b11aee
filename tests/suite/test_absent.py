"""Models whose family is not installed: rows of n/a with the command that installs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import SuiteError

if TYPE_CHECKING:
    from tests.conftest import Project

SUITE = """\
[suite]
name = "with-absent"
[data]
dataset = "digits"
[[model]]
family  = "elsewhere"
{install}
blocks  = 4
[[model]]
family   = "softmax"
backbone = "wrn-10-1"
epochs   = 1
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind   = "transfer"
source = "elsewhere"
eps    = ["8/255"]
steps  = 40
items  = 4
[[table]]
id      = "main"
columns = ["accuracy", "transfer@8/255"]
"""
INSTALL = 'install = "pip install their-package"'
REASON = "the family elsewhere is not installed: pip install their-package"


def test_its_row_is_not_applicable_and_says_what_installs_it(project: Project) -> None:
    outcome = project.bench.run(project.suite(SUITE.format(install=INSTALL)), in_process=True, device="cpu")
    assert outcome.exit_code() == 0
    reasons = {job.id: job.blocked for job in outcome.plan.jobs if job.kind != "predict"}
    assert reasons["elsewhere/digits/seed1/train"] == REASON
    assert reasons["elsewhere/digits/seed1/accuracy"] == REASON
    assert reasons["softmax/digits/seed1/transfer@8/255"] == REASON
    assert reasons["softmax/digits/seed1/accuracy"] is None
    assert outcome.report is not None
    (table,) = outcome.report.tables
    assert [row.label for row in table.rows] == ["elsewhere", "softmax"]
    assert [cell.value is None for cell in table.rows[0].cells] == [True, True]
    assert table.rows[1].cells[0].value is not None


def test_a_profile_applies_to_a_suite_with_an_absent_family(project: Project) -> None:
    profile = '[profile]\nname = "small"\n[model]\nbackbone = "wrn-10-1"\n[caps]\ntrain = 96\nepochs = 1\n'
    plan = project.plan(SUITE.format(install=INSTALL), profile)
    assert [job.blocked for job in plan.jobs if job.id == "elsewhere/digits/seed1/train"] == [REASON]
    (table,) = project.bench.report(plan).tables
    assert table.title.endswith("digits, wrn-10-1)")


def test_without_the_command_it_is_a_mistake(project: Project) -> None:
    with pytest.raises(SuiteError, match="unknown family 'elsewhere'"):
        project.plan(SUITE.format(install=""))


def test_an_installed_family_is_read_as_always(project: Project) -> None:
    text = SUITE.format(install=INSTALL).replace("elsewhere", "gmmc-dis")
    with pytest.raises(SuiteError, match="blocks"):
        project.plan(text)
    plan = project.plan(text.replace("blocks  = 4", 'backbone = "wrn-10-1"'))
    assert all(job.blocked is None for job in plan.jobs if job.id.endswith(("train", "accuracy")))


def test_a_misspelt_key_of_the_entry_is_found_nevertheless(project: Project) -> None:
    with pytest.raises(SuiteError, match="seeds"):
        project.plan(SUITE.format(install=INSTALL + '\nseeds = "one"'))
