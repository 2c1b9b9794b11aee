"""What a person should know before they run a model: told by its family, shown wherever the model appears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench_models.specs import GMMC_DIS, GMMC_GEN, GMMC_JOINT, JEM, SOFTMAX
from click.testing import CliRunner, Result

from bench.cli.main import cli
from bench.execute.displays import Summary
from bench.spec import FamilySpec
from bench.weights.module_spec import MODULE

if TYPE_CHECKING:
    from tests.conftest import Project

SUITE = """\
[suite]
name = "normal"
[data]
dataset = "digits"
[[model]]
label = "JEM with BN"
family = "jem"
backbone = "wrn-10-1-batch"
[[model]]
family = "softmax"
backbone = "wrn-10-1-batch"
[[evaluation]]
kind = "accuracy"
[[table]]
id = "both"
columns = ["accuracy"]
[[table]]
id = "softmax"
models = ["softmax"]
columns = ["accuracy"]
"""
TEXT = "JEM with BN: batch normalisation with sampling: "


def warnings(spec: FamilySpec, backbone: str) -> tuple[str, ...]:
    return spec.warn(spec.config.model_validate({"callable": "a:b"} if spec is MODULE else {}), backbone)


@pytest.mark.parametrize("spec", [JEM, GMMC_GEN, GMMC_JOINT], ids=lambda spec: spec.name)
def test_families_that_sample_warn_of_batch_norm(spec: FamilySpec) -> None:
    for backbone in ("wrn-10-1-batch", "wrn-28-10-batch-drop0.3"):
        (text,) = warnings(spec, backbone)
        assert text.startswith("batch normalisation with sampling: ")
        assert "reported for JEM, issue 13" in text
    for backbone in ("wrn-10-1", "wrn-10-1-layer", "wrn-10-1-drop0.3", "resnet-batch"):
        assert warnings(spec, backbone) == ()


@pytest.mark.parametrize("spec", [SOFTMAX, GMMC_DIS, MODULE], ids=lambda spec: spec.name)
def test_others_do_not(spec: FamilySpec) -> None:
    assert warnings(spec, "wrn-10-1-batch") == ()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def test_check_shows_them(project: Project) -> None:
    result = command("check", str(project.suite(SUITE)))
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("warning: ")] == [
        line for line in result.stdout.splitlines() if TEXT in line
    ]
    assert result.stdout.count("warning: ") == 1


@pytest.mark.parametrize("name", ["run", "train"])
def test_run_shows_them_where_no_script_reads(project: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("bench.api.run_plan", lambda *_: Summary({}, interrupted=True))
    result = command(name, str(project.suite(SUITE)), "--device", "cpu")
    assert result.exit_code == 130
    assert result.stderr.count(f"warning: {TEXT}") == 1
    assert "warning" not in result.stdout


def test_tables_that_show_the_model_carry_them_in_their_notes(project: Project) -> None:
    both, softmax = project.bench.report(project.plan(SUITE)).tables
    assert [note for note in both.notes if note.startswith("Warning: ")] == [
        note for note in both.notes if f"Warning: {TEXT}" in note
    ]
    assert sum("batch normalisation" in note for note in both.notes) == 1
    assert not any("batch normalisation" in note for note in softmax.notes)


def test_without_reason_there_is_none(project: Project) -> None:
    plan = project.plan(SUITE.replace("-batch", ""))
    assert plan.suite.warnings == ()
    assert not any("Warning" in note for table in project.bench.report(plan).tables for note in table.notes)


def test_imported_weights_warn_and_claim_no_training(project: Project) -> None:
    """Nobody here knows for how long they were trained, nor on which images."""
    from bench.report.deviations import deviations

    text = """
[suite]
name = "theirs"
[data]
dataset = "digits"
[[model]]
family = "gmmc-gen"
backbone = "wrn-10-1"
weights = "theirs"
[[evaluation]]
kind = "accuracy"
"""
    suite = project.bench.suite(project.suite(text, "theirs"))
    assert any("were not trained here" in warning for warning in suite.warnings)
    lines = deviations(suite)
    assert lines[0] == "GMMC (Gen): imported weights 'theirs'; how they were trained is not known here"
    assert not [line for line in lines if line.startswith(("epochs", "lr", "sampler", "replay"))]
    assert [line for line in lines if line.startswith("network: wrn-10-1")]
