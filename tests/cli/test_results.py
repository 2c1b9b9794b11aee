"""``bench show`` and ``table``, and what ``bench verify`` prints of what ``tests/commands/test_verify.py`` finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

from bench.commands.verify import Verified
from bench.files.atomic import write_json
from bench.runs import write_last
from tests.cli.conftest import bench, loaded, ok
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

GOOD = Verified("a/digits/seed1/pgd@8/255", "ce", "8/255", 30, 30, 0, 8 / 255, "8/255", 0.7, 0.7)

Says = Callable[..., Result]


class TestShow:
    def test_numbers_with_their_definitions(self, project: Project, tiny: str, results: Results) -> None:
        plan = project.plan(tiny)
        job = planned(plan, "softmax/digits/seed1/accuracy")
        results.measure(plan, job, {"accuracy": 0.75})
        as_planned = job.as_json()
        write_json(results.store.folder(job.key).file("job.json"), as_planned)
        text = ok("show", job.id, "--suite", "tiny")
        assert f"{job.id}: done" in text
        assert "accuracy = 0.75, n = 100" in text
        assert "accuracy[argmax of logits, clean test set, no noise]" in text
        assert ok("show", job.key[:8]).splitlines()[1:] == text.splitlines()[1:]
        facts = loaded("show", job.id, "--suite", "tiny", "--json")
        assert (facts["state"], facts["record"]["numbers"][0]["value"], facts["error"]) == ("done", 0.75, None)

    def test_the_history_and_the_log(self, project: Project, tiny: str, results: Results) -> None:
        plan = project.plan(tiny)
        folder = results.store.folder(plan.jobs[0].key)
        folder.path.mkdir(parents=True)
        folder.file("history.json").write_text('[{"epoch": 0, "loss": 1.5}]', encoding="utf-8")
        results.finish(plan.jobs[0], artefacts=["history.json"], history="history.json")
        folder.file("log.txt").write_text("said something\n", encoding="utf-8")
        text = ok("show", plan.jobs[0].id, "--suite", "tiny")
        assert "  epoch 0, loss 1.5" in text
        assert text.endswith("log:\nsaid something\n")

    def test_training_with_seed_hyper_parameters_date_and_epoch(
        self, project: Project, tiny: str, results: Results
    ) -> None:
        plan = project.plan(tiny)
        job = planned(plan, "gmmc-gen/digits/seed1/train")
        results.finish(job, selected_epoch=2, validation_accuracy=0.985, finished="2026-11-28T13:37:26Z")
        text = ok("show", job.id, "--suite", "tiny")
        lines = text.splitlines()
        for line in ("seed: 1", "finished: 2026-11-28T13:37:26Z", "selected epoch: 2", "validation accuracy: 0.985"):
            assert line in lines
        start = lines.index("hyper-parameters:") + 1
        shown = dict(line.strip().split(" = ") for line in lines[start:] if " = " in line)
        assert (shown["epochs"], shown["sampler.steps"], shown["optimizer"]) == ("2", "3", '"adam"')
        assert loaded("show", job.id, "--suite", "tiny", "--json")["spec"]["config"]["epochs"] == 2

    def test_a_job_that_never_ran(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        assert ok("show", "softmax/digits/seed1/train", "--suite", "tiny").startswith(
            "softmax/digits/seed1/train: pending"
        )


class TestTable:
    @pytest.mark.parametrize("format_", ["markdown", "latex", "latex-siunitx", "html", "csv", "json"])
    def test_formats_on_screen_and_in_a_file(self, project: Project, tiny: str, format_: str) -> None:
        project.suite(tiny)
        text = ok("table", "tiny", "--format", format_)
        assert "GMMC" in text
        assert ok("table", "tiny", "--format", format_, "--out", "deep/file.txt") == ""
        assert Path("deep/file.txt").read_text(encoding="utf-8") == text

    def test_into_a_pipe_it_is_markdown(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        assert ok("table", "tiny") == ok("table", "tiny", "--format", "markdown")

    def test_one_table(self, project: Project, tiny: str) -> None:
        project.suite(tiny + '[[table]]\nid = "second"\ntitle = "Second"\ncolumns = ["accuracy"]\n')
        assert "**Second**" in ok("table", "tiny")
        assert "**Accuracy**" not in ok("table", "tiny", "--id", "second")

    def test_nothing_is_computed_or_written(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        ok("table", "tiny")
        assert not project.results.exists()


@pytest.fixture
def says(project: Project, monkeypatch: pytest.MonkeyPatch) -> Says:
    """The command, where the check finds what is given."""
    project.suite()

    def say(*found: Verified, options: tuple[str, ...] = ()) -> Result:
        monkeypatch.setattr("bench.commands.verify.verify", lambda *_: list(found))
        return bench("verify", "tiny", *options)

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
    result = bench("verify")
    assert result.exit_code == 2
    assert "no suite was run yet" in result.stderr
    write_last(project.results, project.root, project.suite(), None)
    result = bench("verify")
    assert result.exit_code == 3
    assert result.stderr == (
        "bench: no job has kept adversarial images; set adversarials = true in an [[evaluation]] of an attack and run "
        "it\n"
    )
