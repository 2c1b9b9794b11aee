"""Libraries and machines behind a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.report.build import build_report
from bench.report.formats import FORMATS
from bench.report.model import Report

if TYPE_CHECKING:
    from tests.conftest import Project, Results

BASE: dict[str, Any] = {
    "versions": {"python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.6"},
    "device": "cpu",
    "command": "bench run",
    "threads": 1,
    "cpu_capability": "AVX512",
    "machine": {"system": "Linux", "machine": "x86_64", "cores": 2},
}


def merged(**changes: Any) -> dict[str, Any]:
    versions = changes.pop("versions", {})
    return {**BASE, "versions": {**BASE["versions"], **versions}, **changes}


class Case:
    """A measured suite of two models; jobs are told by their ids what they were made with."""

    def __init__(self, project: Project, results: Results, tiny: str) -> None:
        self.project, self.results, self.tiny = project, results, tiny

    def report(self, made: dict[str, dict[str, Any]]) -> Report:
        plan = self.project.plan(self.tiny)
        for job in plan.jobs:
            if job.blocked is not None:
                continue
            found = next((facts for part, facts in made.items() if part in job.id), BASE)
            numbers: list[dict[str, Any]] = []
            if job.id.endswith("/accuracy"):
                numbers = [
                    {
                        "metric": "accuracy",
                        "argument": "",
                        "value": 0.5,
                        "n": 100,
                        "definition": "d",
                        "interval": None,
                        "items": None,
                        "reason": None,
                        "verdict": None,
                        "flags": {},
                    }
                ]
            self.results.finish(job, numbers=numbers, provenance=found, read={})
        return build_report(plan, self.results.store, ())

    def notes(self, made: dict[str, dict[str, Any]]) -> list[str]:
        return [note for note in self.report(made).tables[0].notes if "not the same" in note]


@pytest.fixture
def case(project: Project, results: Results, tiny: str) -> Case:
    return Case(project, results, tiny)


def test_what_was_made_alike_needs_no_word(case: Case) -> None:
    report = case.report({})
    assert not any("not the same" in note for note in report.tables[0].notes)
    assert {row.made_with for row in report.tables[0].rows} == {""}


@pytest.mark.parametrize("package", ["torch", "numpy", "python", "scipy-of-a-plug-in"])
def test_a_row_of_another_version_is_named(case: Case, package: str) -> None:
    both = {"softmax/": merged(versions={package: "1.0"}), "gmmc-gen/": merged(versions={package: "2.0"})}
    assert case.notes(both) == [f"{package} is not the same for all numbers: 1.0 (softmax), 2.0 (GMMC (Gen))."]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"device": "cuda:1", "device_name": "H100"}, "device is not the same for all numbers: H100 (softmax), cpu"),
        ({"cpu_capability": "AVX2"}, "CPU capability is not the same for all numbers: AVX2 (softmax), AVX512"),
        ({"threads": 4}, "threads is not the same for all numbers: 1 (GMMC (Gen)), 4 (softmax)."),
        (
            {"machine": {"machine": "aarch64"}},
            "architecture is not the same for all numbers: aarch64 (softmax), x86_64",
        ),
    ],
)
def test_another_machine_too(case: Case, changes: dict[str, Any], note: str) -> None:
    assert case.notes({"softmax/": merged(**changes)})[0].startswith(note)


def test_two_gpus_of_one_kind_are_alike(case: Case) -> None:
    gpus = {
        part: merged(device=f"cuda:{i}", device_name="H100", cuda="12.8", cudnn=9)
        for i, part in enumerate(("softmax/", "gmmc-gen/"))
    }
    assert case.notes(gpus) == []
    gpus["softmax/"] = {**gpus["softmax/"], "cuda": "12.4"}
    assert case.notes(gpus) == ["cuda is not the same for all numbers: 12.4 (softmax), 12.8 (GMMC (Gen))."]


def test_training_and_evaluation_are_told_apart(case: Case) -> None:
    report = case.report({"softmax/digits/seed1/train": merged(versions={"torch": "2.13.0"})})
    table = report.tables[0]
    (note,) = [note for note in table.notes if "not the same" in note]
    assert note == (
        "torch is not the same for all numbers: 2.13.0 (softmax: training), "
        "2.14.1 (GMMC (Gen); softmax: evaluation, prediction)."
    )
    assert table.rows[0].made_with == "torch 2.13.0 (training), 2.14.1 (evaluation, prediction)"
    assert table.rows[1].made_with == "torch 2.14.1"


def test_what_no_number_of_the_table_rests_on_does_not_count(case: Case) -> None:
    assert case.notes({"/pgd-2@": merged(versions={"torch": "1.0"})}) == []
    without_network = merged(device="none", versions={"torch": "1.0"})
    assert case.notes({"softmax/digits/seed1/accuracy": without_network}) == []


def test_every_format_says_it(case: Case) -> None:
    report = case.report({"softmax/": merged(versions={"torch": "2.13.0"})})
    for name, render in FORMATS.items():
        assert "2.13.0" in render(report), name
