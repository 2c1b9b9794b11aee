"""``bench describe``: everything that has a name can be asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from bench.attacks.verdict import CHECKS, WORDS
from bench.cli.main import cli
from bench.commands import glossary
from bench.commands.describe import _example_columns, listing
from bench.evaluate.base import EVALUATIONS
from bench.runs import write_last

if TYPE_CHECKING:
    from tests.conftest import Project, Site


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["describe", *arguments], catch_exceptions=False)


def ok(*arguments: str) -> str:
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = bench(*arguments)
    assert result.exit_code == 2
    return result.stderr


@pytest.mark.parametrize("kind", ["suites", "profiles"])
def test_every_suite_and_profile_that_is_listed(project: Project, kind: str) -> None:
    project.suite()
    project.profile('[profile]\nname = "small"\nsummary = "Less of it"\n[caps]\nitems = 7\n')
    for row in listing(kind):
        assert f"{row.name}: a {kind.removesuffix('s')}\n{row.summary}\nfile: " in ok(row.name)
    assert "  caps.items = 7" in ok("small")


def test_a_profile_by_its_path(project: Project) -> None:
    Path("mine.toml").write_text('[profile]\nname = "small"\nsummary = "Less of it"\n[caps]\nitems = 7\n')
    assert ok("mine.toml").startswith("small: a profile\nLess of it\nfile: mine.toml\n")
    Path("mine.toml").write_text('[profile]\nname = "small"\n[caps]\nitem = 7\n')
    assert "did you mean 'items'?" in refused("mine.toml")


def test_what_a_suite_holds(project: Project) -> None:
    path = project.suite()
    text = ok("tiny")
    assert f"file: {path}" in text
    assert "data: digits, data seed 0" in text
    assert "  gmmc-gen: GMMC (Gen), family gmmc-gen, wrn-10-1, 2 epochs, seed 1" in text
    assert "  pgd-2 (pgd): Accuracy under L_inf" in text
    assert "  main: Accuracy\n      accuracy, pgd-2@8/255, calibration.ece" in text
    assert ok(str(path)) == text


def test_a_suite_with_mistakes_is_told_as_check_does(project: Project) -> None:
    path = project.suite("[suite]\n", "broken")
    assert f"{path}:1:1: suite.name: required key is missing" in refused("broken")


def test_one_name_of_two_things_describes_both(project: Project) -> None:
    text = ok("digits")
    assert "digits: a data set\n" in text
    assert "digits: a suite\n" in text


class TestColumns:
    def test_definition_unit_direction_and_evaluation(self, project: Project) -> None:
        path = project.suite()
        expected = [
            "pgd-2.margin@16/255: unit fraction, higher is better",
            "  pgd-linf[2, 16/255, step=eps/30, margin, final iterate, 1 restart]",
            f"evaluation: pgd-2 of kind pgd, in suite tiny ({path})",
        ]
        assert ok("pgd-2.margin@16/255", "--suite", "tiny").splitlines()[:3] == expected
        assert ok("pgd-2.margin@16/255").splitlines()[:3] == expected  # no other suite has it

    def test_short_names_of_a_table(self, project: Project) -> None:
        project.suite()
        text = ok("pgd-2@8/255", "--suite", "tiny")
        assert text.startswith("pgd-2.ce@8/255: ")
        assert "  also written pgd-2@8/255" in text
        assert ok("pgd-2.ce@8/255", "--suite", "tiny") == text

    def test_all_of_a_metric_and_all_of_an_evaluation(self, project: Project) -> None:
        project.suite()
        metric = ok("pgd-2.margin", "--suite", "tiny")
        assert [line.split(":")[0] for line in metric.splitlines() if ": unit " in line] == [
            "pgd-2.margin@8/255",
            "pgd-2.margin@16/255",
        ]
        assert ok("pgd-2").count(": unit ") == 8  # ce, margin, worst-case, zero-gradient at two budgets

    def test_the_suite_last_run_comes_first(self, project: Project, tiny: str) -> None:
        project.suite(tiny.replace("steps = 2", "steps = 7"), "aaa")
        write_last(project.results, project.root, project.suite(), None)
        assert "pgd-linf[2," in ok("pgd-2@8/255")

    def test_under_a_profile_names_are_those_of_the_file(self, project: Project, tiny: str) -> None:
        project.suite(tiny.replace('"patches"', '"svhn"'))
        project.profile('[profile]\nname = "small"\n[substitute.data]\nsvhn = "interpolations"\n')
        text = ok("ood.log-density.auroc@svhn", "--suite", "tiny", "--profile", "small")
        assert text.startswith("ood.log-density.auroc@interpolations: ")
        assert "in suite tiny with profile small" in text

    def test_suites_that_cannot_be_read_are_passed_over(self, project: Project, tiny: str) -> None:
        project.suite(tiny.replace('"digits"', '"absent.npz"'), "aaa")
        project.suite("[suite\n", "bbb")
        project.suite()
        assert "in suite tiny" in ok("pgd-2@8/255")

    def test_json(self, project: Project) -> None:
        project.suite()
        facts = json.loads(ok("calibration.ece", "--suite", "tiny", "--json"))
        assert facts["lines"][0] == "calibration.ece: unit fraction, lower is better"


class TestNothingIsCalledSo:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("gmmc-gne", "gmmc-gen"),
            ("tinyy", "tiny"),
            ("smoek", "smoke"),
            ("pgd-2.margn@8/255", "pgd-2.margin@8/255"),
            ("wrn-28_10", "wrn-28-10"),
        ],
    )
    def test_the_nearest_name_of_all_kinds(self, project: Project, name: str, meant: str) -> None:
        project.suite()
        assert f"nothing is called {name!r}; did you mean {meant!r}?" in refused(name)

    def test_a_metric_of_an_evaluation(self, project: Project) -> None:
        assert "calibration has no metric 'eec'; did you mean 'ece'?" in refused("calibration.eec")

    def test_without_a_near_one_it_says_where_to_look(self, project: Project) -> None:
        assert "see bench list families" in refused("qqqqqqqq")

    def test_in_one_suite(self, project: Project) -> None:
        project.suite()
        said = refused("pgd-40.margin@8/255", "--suite", "tiny")
        assert "nothing is called 'pgd-40.margin@8/255' in suite tiny; did you mean 'pgd-2.margin@8/255'?" in said


def test_an_evaluation_whose_parameters_nobody_can_guess(project: Project, site: Site) -> None:
    """Somebody's plug-in with a required number: its columns cannot be named, all else can be told."""
    site.module(
        "guess",
        """
        from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Outcome
        class Config(EvaluationConfig):
            radius: float
            name: str
        class Guess(Evaluation):
            name = "guess"
            summary = "Guesses."
            source = "nobody"
            Config = Config
            def columns(self, config):
                return (Column(metric="m", label="m", unit="1", direction=None, definition=f"{config.radius}"),)
            def evaluate(self, config, inputs):
                return Outcome([])
        GUESS = Guess()
        """,
    )
    site.distribution("guess", "bench.evaluations", {"guess": "guess:GUESS"})
    assert "  radius = required  (float)" in ok("guess")
    assert "did you mean 'guess'" in refused("gues")


def test_what_is_not_registered_is_described_by_reference(project: Project, site: Site) -> None:
    site.module("absent_minded", "SPEC = 3\n")
    assert "'absent_minded:SPCE' cannot be imported: module 'absent_minded' has no attribute 'SPCE'" in refused(
        "absent_minded:SPCE"
    )
    assert "softmax: softmax, a model family" in ok("bench_models.specs:SOFTMAX")


class TestGlossary:
    def test_a_flag_in_any_case(self, project: Project) -> None:
        text = ok("grad0")
        assert text.startswith(
            "GRAD0: a flag of robust accuracies and norms\nThe loss has an exactly zero input gradient"
        )
        assert "raised, it implies: masked or inconclusive" in text
        assert "docs/robustness.md#the-flags" in text

    def test_every_flag_of_the_verdicts_has_an_answer_that_the_page_agrees_with(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "robustness.md").read_text(encoding="utf-8")
        assert set(CHECKS) <= set(glossary.FLAGS)
        for name in glossary.FLAGS:
            rows = [row for row in page.splitlines() if re.match(rf"\| {name}\b", row)]
            assert rows, name
            told = {word for row in rows for word in ("masked", "inconclusive") if word in row.rpartition("| ")[2]}
            told |= {word for row in rows for word in ("masked", "inconclusive") if word in row.split("|")[-2]}
            assert told == set(glossary.IMPLIED.get(name, ("inconclusive",))), name
            assert len(glossary.flag(name)[1]) > 20

    @pytest.mark.parametrize("name", WORDS)
    def test_every_verdict(self, project: Project, name: str) -> None:
        assert ok(name).startswith(f"{name}: a word beside or in place of a number\nThe verdict")

    def test_a_metric_without_its_evaluation(self, project: Project) -> None:
        text = ok("fcd")
        assert text.startswith("fcd: a metric\nFréchet distance between generated and training images")
        assert "generation.fcd: unit 1, lower is better\n  fcd[judge-cnn 128-d" in text
        assert "starts at which the input gradient" in ok("zero-gradient")
        assert "ood.log-density.auroc@svhn: unit auroc, higher is better" in ok("auroc")

    def test_every_metric_of_ours_has_a_sentence(self) -> None:
        metrics = {c.metric for one in EVALUATIONS.values() for c in _example_columns(one)}
        bare = {metric.rpartition(".")[2] for metric in metrics if not metric.startswith("winner.")}
        assert {name for name in bare if not glossary.metric(name)} == set()

    def test_every_pointer_leads_to_a_heading(self) -> None:
        for _, pointer in (*glossary.WORDS.values(), *glossary.METRICS.values()):
            page, _, anchor = pointer.partition("#")
            text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, pointer

    def test_a_misspelt_flag(self, project: Project) -> None:
        assert "did you mean 'LOSSGAP'?" in refused("LOSGAP")
