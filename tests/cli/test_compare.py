from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import cli
from tests.compare.conftest import SUITE, Run, right
from tests.conftest import Project


@pytest.fixture
def suite(project: Project) -> Path:
    run, before = (Run(project, SUITE, project.root / name) for name in ("results", "old"))
    for side, wrong in ((run, 20), (before, 10)):
        side.accuracy("softmax", right(10))
        side.accuracy("jem", right(wrong))
    return project.suite(SUITE)


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_models_are_compared(suite: Path) -> None:
    result = bench("compare", suite)
    assert result.exit_code == 0, result.output
    assert "difference to Softmax, these weights" in result.output
    assert "**-5.0** [" in result.output
    assert "| JEM" in result.output
    assert "JEM, these weights" in bench("compare", suite, "--baseline", "JEM").output


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "json"]])
def test_json_is_the_report(suite: Path, arguments: list[str]) -> None:
    report = json.loads(bench("compare", suite, *arguments).stdout)
    (row,) = report["tables"][0]["rows"]
    assert row["cells"][0]["value"] == pytest.approx(-0.05)


def test_runs_are_compared(suite: Path) -> None:
    result = bench("compare", suite, "--against", "old")
    assert result.exit_code == 0, result.output
    assert "difference to the run in old" in result.output
    assert "weights are the same (all rows)" in result.output


def test_two_kinds_of_baseline_exclude_each_other(suite: Path) -> None:
    result = bench("compare", suite, "--against", "old", "--baseline", "JEM")
    assert result.exit_code == 2
    assert "give one of the two" in result.output


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("accuracy >= -0.05", 0),
        ("accuracy >= -0.04", 4),
        ("accuracy not worse", 4),
        ("accuracy at least 0", 2),
        ("nothing >= 0", 2),
        ("generation.fcd >= 0", 2),
        ("calibration.nll <= 1", 3),
    ],
)
def test_the_exit_code_of_a_gate(suite: Path, rule: str, code: int) -> None:
    result = bench("gate", suite, "--against", "old", "--rule", rule)
    assert result.exit_code == code, result.output


def test_a_gate_names_the_rule_and_the_cell(suite: Path) -> None:
    result = bench("gate", suite, "--against", "old", "--rule", "accuracy >= -0.04")
    assert "BROKEN: accuracy >= -0.04 | JEM, accuracy: 0.9 against 0.95, difference -0.05" in result.output
    assert "kept: accuracy >= -0.04 | Softmax, accuracy" in result.output
    assert "2 comparisons, 1 broken" in result.output


def test_a_gate_as_json(suite: Path) -> None:
    result = bench("gate", suite, "--against", "old", "--rule", "accuracy >= -0.04", "--json")
    assert result.exit_code == 4
    found = json.loads(result.stdout)
    assert (found["kept"], found["compared"]) == (False, 2)
    assert {check["label"]: check["kept"] for check in found["checks"]} == {"Softmax": True, "JEM": False}


def test_a_gate_needs_a_rule_and_a_baseline(suite: Path) -> None:
    assert bench("gate", suite, "--against", "old").exit_code == 2
    assert bench("gate", suite, "--rule", "accuracy >= 0").exit_code == 2
    result = bench("gate", suite, "--against", "nowhere", "--rule", "accuracy >= 0")
    assert (result.exit_code, "is no results folder" in result.output) == (2, True)
