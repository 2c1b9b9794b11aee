"""``bench verify``: what it prints of what was found. That it finds it is in ``tests/test_verifying.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import cli
from bench.commands.verify import Verified

if TYPE_CHECKING:
    from tests.conftest import Project

GOOD = Verified("a/digits/seed1/pgd@8/255", "ce", "8/255", 30, 30, 0, 8 / 255, "8/255", 0.7, 0.7)

Says = Callable[..., Result]


@pytest.fixture
def says(project: Project, monkeypatch: pytest.MonkeyPatch) -> Says:
    """The command, where the check finds what is given."""
    project.suite()

    def say(*found: Verified, options: tuple[str, ...] = ()) -> Result:
        monkeypatch.setattr("bench.commands.verify.verify", lambda *_: list(found))
        return CliRunner().invoke(cli, ["verify", "tiny", *options], catch_exceptions=False)

    return say


def line(result: Result) -> str:
    first, _ = result.stdout.splitlines()
    return " ".join(first.split())


def test_all_confirmed(says: Says) -> None:
    result = says(GOOD)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "a/digits/seed1/pgd@8/255  ce  30 of 30 confirmed; largest norm 8/255 of 8/255; 70.0% (record: 70.0%)",
        "30 adversarial images of 1 number: every claim holds",
    ]


def test_within_rounding_is_said_and_holds(says: Says) -> None:
    result = says(replace(GOOD, confirmed=28, rounding=2, measured=0.72))
    assert result.exit_code == 0
    assert "28 of 30 confirmed, 2 within rounding; largest" in line(result)
    assert "72.0% (record: 70.0%)" in line(result)


def test_not_confirmed(says: Says) -> None:
    result = says(GOOD, replace(GOOD, metric="margin", confirmed=25, rounding=2, measured=0.75))
    assert result.exit_code == 1
    good, bad, total = result.stdout.splitlines()
    assert "NOT CONFIRMED" not in good
    assert bad.startswith("a/digits/seed1/pgd@8/255  margin  25 of 30 confirmed, 2 within rounding, 3 NOT CONFIRMED; ")
    assert good.index("30 of 30") == bad.index("25 of 30")
    assert total == "60 adversarial images of 2 numbers: 1 does not hold"
    assert says(*[replace(GOOD, confirmed=0)] * 2).stdout.endswith(": 2 do not hold\n")


def test_a_problem_stands_in_place_of_counts(says: Says) -> None:
    result = says(replace(GOOD, confirmed=0, largest=None, measured=None, problem="adversarials.npz is damaged"))
    assert result.exit_code == 1
    assert line(result) == "a/digits/seed1/pgd@8/255 ce NOT CONFIRMED: adversarials.npz is damaged"


def test_norms_are_in_the_units_of_the_budget(says: Says) -> None:
    decimal = replace(GOOD, eps="0.5", largest=0.4999999)
    assert "largest norm 0.5 of 0.5;" in line(says(decimal))
    smallest = Verified("a/digits/seed1/cw", "l2", "", 30, 30, 0, 1.23456, None, 0.71234, 0.71234)
    assert line(says(smallest)).endswith("30 of 30 confirmed; largest norm 1.235; 0.7123 (record: 0.7123)")
    nothing = replace(smallest, claimed=0, confirmed=0, largest=None, recorded=None, measured=None)
    assert line(says(nothing)).endswith("l2 0 of 0 confirmed")


def test_json_holds_everything(says: Says) -> None:
    result = says(GOOD, replace(GOOD, confirmed=29), options=("--json",))
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert facts["schema"] == 1
    assert facts["verified"][0] == {
        "job": "a/digits/seed1/pgd@8/255",
        "metric": "ce",
        "argument": "8/255",
        "claimed": 30,
        "confirmed": 30,
        "rounding": 0,
        "largest": 8 / 255,
        "eps": "8/255",
        "recorded": 0.7,
        "measured": 0.7,
        "problem": None,
        "holds": True,
    }
    assert facts["verified"][1]["holds"] is False


def test_without_a_suite_it_is_the_one_last_run(project: Project) -> None:
    result = CliRunner().invoke(cli, ["verify"])
    assert result.exit_code == 2
    assert "no suite was run yet" in result.stderr
    project.bench._remember(project.bench.suite(project.suite()))
    result = CliRunner().invoke(cli, ["verify"])
    assert result.exit_code == 3
    assert result.stderr == (
        "bench: no job has kept adversarial images; set adversarials = true in an [[evaluation]] of an attack and run "
        "it\n"
    )
