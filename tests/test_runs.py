"""What a run leaves of itself for commands that come later."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench import runs as remembered
from bench.api import Bench
from bench.cli.main import cli
from bench.errors import DamagedFileError, RequestError
from bench.files.atomic import write_json
from bench.plan.jobs import Plan
from bench.report.formats.json import as_dict
from tests.conftest import planned, reset_registries

if TYPE_CHECKING:
    from tests.conftest import Project, Results, Site

PROFILE = '[profile]\nname = "small"\n[model]\nlr = 5e-4\n'


def measured(project: Project, results: Results, text: str, profile: str | None = None, value: float = 0.5) -> Plan:
    """A suite of which every job has a result, run once more: there is nothing to do, and the run is remembered."""
    plan = project.plan(text, profile)
    for job in plan.jobs:
        if job.blocked is None:
            folder = results.store.folder(job.key)
            if job.id.endswith("/accuracy"):
                results.measure(plan, job, {"accuracy": value})
            else:
                results.finish(job, **({"numbers": [], "evaluation_kind": "x"} if job.kind == "evaluate" else {}))
            write_json(folder.file("job.json"), job.as_json())
    overlay = str(project.root / "suites/profiles/small.toml") if profile else None
    outcome = project.bench.run(plan.suite.path, profile=overlay, in_process=True)
    assert outcome.summary.ran == []
    return plan


class TestLast:
    def test_a_project_can_be_moved(self, project: Project, results: Results, tiny: str, tmp_path: Path) -> None:
        plan = measured(project, results, tiny, PROFILE)
        assert project.bench.last() == (str(plan.suite.path), str(project.root / "suites/profiles/small.toml"))
        moved = tmp_path / "elsewhere" / "moved"
        moved.parent.mkdir()
        shutil.move(project.root, moved)
        assert Bench.here(moved).last() == (
            str(moved / "suites" / "tiny.toml"),
            str(moved / "suites/profiles/small.toml"),
        )
        assert Bench.here(moved).tables().profile == "small"

    def test_a_profile_without_a_suite_is_that_of_the_suite_last_run(self, project: Project) -> None:
        """It used to be passed over in silence, and the full run's numbers were shown under the profile's name."""
        path = project.suite()
        for profile in (None, "smoke"):
            remembered.write_last(project.results, project.root, path, profile)
            assert project.bench.last() == (str(path), profile)
            assert project.bench.last("small") == (str(path), "small")

    def test_results_outside_of_the_project(self, project: Project, tmp_path: Path, tiny: str) -> None:
        """They stay where they are when the project moves, and may be shared by several."""
        suite, results = project.suite(tiny), tmp_path / "results"
        remembered.write_last(results, project.root, suite, None)
        assert json.loads((results / "last.json").read_text())["suite"] == str(suite)
        assert remembered.read_last(results) == (str(suite), None)

    def test_a_results_folder_that_is_a_link(self, project: Project, tmp_path: Path, tiny: str) -> None:
        (tmp_path / "disk").mkdir()
        project.results.symlink_to(tmp_path / "disk")
        suite = project.suite(tiny)
        remembered.write_last(project.results, project.root, suite, None)
        assert remembered.read_last(project.results) == (str(suite), None)

    def test_files_of_former_versions(self, project: Project, tiny: str) -> None:
        suite = project.suite(tiny)
        write_json(project.results / "last.json", {"suite": str(suite), "profile": "smoke"})
        assert remembered.read_last(project.results) == (str(suite), "smoke")

    def test_profiles_by_name_stay_names(self, project: Project, tiny: str) -> None:
        remembered.write_last(project.results, project.root, project.suite(tiny), "smoke")
        assert remembered.read_last(project.results)[1] == "smoke"

    def test_a_suite_that_is_gone_is_named(self, project: Project, tiny: str) -> None:
        suite = project.suite(tiny)
        remembered.write_last(project.results, project.root, suite, None)
        suite.unlink()
        with pytest.raises(RequestError, match=r"tiny\.toml, is not there any more .*last\.json"):
            remembered.read_last(project.results)

    @pytest.mark.parametrize(
        "content",
        ["", "{", "[]", "3", "null", "{}", '{"suite": 3, "profile": null}', '{"suite": "x", "profile": 1}', "\ud800"],
    )
    def test_a_damaged_or_foreign_file_is_named(self, project: Project, content: str) -> None:
        path = project.results / "last.json"
        path.parent.mkdir()
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(DamagedFileError, match=r"last\.json does not say which suite was run last"):
            remembered.read_last(project.results)
        result = CliRunner().invoke(cli, ["table"])
        assert result.exit_code == 5
        assert "last.json" in result.stderr

    @given(content=st.binary(max_size=60) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["suite", "profile"]), inner),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()))  # fmt: skip
    def test_anything_is_an_error_for_people_or_a_suite(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        results = tmp_path_factory.getbasetemp() / "anything"
        results.mkdir(exist_ok=True)
        (results / "last.json").write_bytes(content)
        with pytest.raises((RequestError, DamagedFileError)):
            remembered.read_last(results)


class TestTables:
    def test_a_plug_in_may_be_gone(self, project: Project, results: Results, tiny: str, site: Site) -> None:
        site.module("ghost", "from dataclasses import replace\nfrom bench_models.specs import SOFTMAX\n"
                    "SPEC = replace(SOFTMAX, name='ghost', label='Ghost')\n")  # fmt: skip
        text = tiny.replace('family   = "softmax"', 'family   = "ghost:SPEC"', 1)
        measured(project, results, text)
        before = as_dict(project.bench.tables("tiny"))
        assert before["stored"] == ""
        assert before["tables"][0]["rows"][0]["cells"][0]["value"] == 0.5
        (site.root / "ghost.py").unlink()
        sys.modules.pop("ghost", None)
        reset_registries()
        after = as_dict(project.bench.tables("tiny"))
        assert after["stored"].startswith("Printed as the run of 20")
        assert "ghost" in after["stored"]
        assert {**after, "stored": ""} == before
        for format_ in ("markdown", "latex", "html", "csv", "json"):
            result = CliRunner().invoke(cli, ["table", "--format", format_], catch_exceptions=False)
            assert result.exit_code == 0
            assert "Ghost" in result.stdout
            assert "ghost" in result.stderr

    def test_a_mistake_in_an_edited_suite_is_told(self, project: Project, results: Results, tiny: str) -> None:
        plan = measured(project, results, tiny)
        plan.suite.path.write_text(tiny.replace('family   = "softmax"', 'family   = "sofmax"'), encoding="utf-8")
        with pytest.raises(RequestError, match="did you mean 'softmax'"):
            project.bench.tables("tiny")

    def test_what_was_never_run_is_not_there(self, project: Project, tiny: str) -> None:
        project.suite(tiny.replace('family   = "softmax"', 'family   = "ghost:SPEC"'))
        with pytest.raises(RequestError, match="ghost"):
            project.bench.tables("tiny")

    def test_a_suite_and_its_profile_are_two(self, project: Project, results: Results, tiny: str) -> None:
        measured(project, results, tiny)
        measured(project, results, tiny, PROFILE, value=0.25)
        suite, profile = project.root / "suites/tiny.toml", project.root / "suites/profiles/small.toml"
        with_profile, without = (remembered.tables(project.results, suite, p) for p in (profile, None))
        assert with_profile is not None
        assert without is not None
        values = [one.report.tables[0].rows[0].cells[0].value for one in (with_profile, without)]
        assert values == [0.25, 0.5]
        assert (with_profile.report.profile, without.report.profile) == ("small", None)

    @pytest.mark.parametrize("change", [{"report": {}}, {"report": 3}, {"schema": 99}])
    def test_damaged_tables_are_named(
        self, project: Project, results: Results, tiny: str, change: dict[str, Any]
    ) -> None:
        plan = measured(project, results, tiny)
        path = project.results / "runs" / "tiny" / "tables.json"
        write_json(path, {**json.loads(path.read_text()), **change})
        with pytest.raises(DamagedFileError, match=r"tables\.json"):
            remembered.tables(project.results, plan.suite.path, None)


class TestResults:
    def frame(self, project: Project, **options: bool) -> pd.DataFrame:
        return project.bench.results(**options)

    def test_a_changed_hyper_parameter(self, project: Project, results: Results, tiny: str) -> None:
        """Two rows of one job, model and seed: only the last plan's counts, and the difference is a column."""
        measured(project, results, tiny, value=0.25)
        changed = tiny.replace('family   = "softmax"\n', 'family   = "softmax"\nlr = 5e-4\n', 1)
        measured(project, results, changed, value=0.75)
        frame = self.frame(project)
        assert len(frame) == 2
        (row,) = frame[frame.model == "softmax"].to_dict("records")
        assert (row["value"], row["config.lr"], row["suite"], row["profile"]) == (0.75, 5e-4, "tiny", "")
        assert not row["stale"]
        whole = self.frame(project, everything=True)
        rows = whole[whole.model == "softmax"].sort_values("value").to_dict("records")
        assert [(r["value"], r["config.lr"], r["stale"], r["suite"]) for r in rows] == [
            (0.25, 1e-4, True, ""),
            (0.75, 5e-4, False, "tiny"),
        ]

    def test_settings_that_are_alike_are_no_columns(self, project: Project, results: Results, tiny: str) -> None:
        measured(project, results, tiny)
        columns = [name for name in self.frame(project) if name.startswith("config.")]
        assert "config.sampler.steps" in columns  # one family has none
        assert "config.epochs" not in columns
        start = tiny.index('[[model]]\nfamily   = "gmmc-gen"')
        one = tiny[:start] + tiny[tiny.index("[[evaluation]]") :]
        measured(project, results, one)
        assert not [name for name in self.frame(project) if name.startswith("config.")]

    def test_each_suite_has_its_rows_under_its_names(self, project: Project, results: Results, tiny: str) -> None:
        measured(project, results, tiny)
        other = tiny.replace('name  = "tiny"', 'name  = "other"')
        other = other.replace('family   = "softmax"\n', 'family   = "softmax"\nname = "plain"\n', 1)
        path = project.suite(other, "other")
        project.bench.run(path, in_process=True)
        measured(project, results, tiny, PROFILE)
        frame = self.frame(project)
        found = {(row.suite, row.profile, row.model) for row in frame.itertuples()}
        assert found == {
            ("tiny", "", "softmax"),
            ("tiny", "", "gmmc-gen"),
            ("tiny", "small", "softmax"),
            ("tiny", "small", "gmmc-gen"),
            ("other", "", "plain"),
            ("other", "", "gmmc-gen"),
        }
        assert len(frame) == 6
        assert set(frame[frame.suite == "other"].job) == {
            "plain/digits/seed1/accuracy",
            "gmmc-gen/digits/seed1/accuracy",
        }

    def test_numbers_of_other_weights_are_stale(self, project: Project, results: Results, tiny: str) -> None:
        plan = measured(project, results, tiny)
        train = planned(plan, "softmax/digits/seed1/train")
        results.finish(train, weights="w2")
        frame = self.frame(project)
        assert dict(zip(frame.model, frame.stale, strict=True)) == {"softmax": True, "gmmc-gen": False}

    def test_a_store_of_a_former_version(self, project: Project, results: Results, tiny: str) -> None:
        measured(project, results, tiny)
        shutil.rmtree(project.results / "runs")
        frame = self.frame(project)
        assert len(frame) == 2
        assert not frame.stale.any()

    def test_a_selection_is_remembered_as_a_part_of_the_whole(
        self, project: Project, results: Results, tiny: str
    ) -> None:
        plan = measured(project, results, tiny)
        project.bench.run(plan.suite.path, only=["softmax/*"], in_process=True)
        assert set(self.frame(project).model) == {"softmax", "gmmc-gen"}

    def test_a_damaged_plan_is_named(self, project: Project, results: Results, tiny: str) -> None:
        measured(project, results, tiny)
        path = project.results / "runs" / "tiny" / "plan.json"
        for content in (
            "{",
            '{"schema": 1, "jobs": 3}',
            '{"schema": 1, "suite": "s", "profile": null, "jobs": {"k": {}}}',
        ):
            path.write_text(content, encoding="utf-8")
            with pytest.raises(DamagedFileError, match=r"plan\.json"):
                self.frame(project)


class TestNamesake:
    def test_another_suite_of_the_name_is_told(self, project: Project, tiny: str) -> None:
        bench, first = project.bench, project.suite(tiny, "first")
        plan = bench.plan(first)
        assert bench.warnings(plan.suite) == plan.suite.warnings == ()
        remembered.write_plan(bench.settings.results, project.root, plan)
        assert bench.warnings(plan.suite) == ()
        second = bench.suite(project.suite(tiny + "\n# another\n", "second"))
        (text,) = bench.warnings(second)
        assert text.startswith(f"another suite was run under the name 'tiny': {first}; ")
        assert bench.warnings(bench.suite(second.path, "smoke")) == ()  # a profile has a place of its own
        first.unlink()
        assert bench.warnings(second) == ()

    def test_a_copy_of_the_suite_is_no_other(self, project: Project, tiny: str) -> None:
        bench = project.bench
        remembered.write_plan(bench.settings.results, project.root, bench.plan(project.suite(tiny, "first")))
        assert bench.warnings(bench.suite(project.suite(tiny, "copy"))) == ()
        (bench.settings.results / "runs" / "tiny" / "plan.json").write_text("damaged")
        assert bench.warnings(bench.suite(project.suite(tiny + "\n", "other"))) == ()


def test_a_suite_that_prints_no_number_is_warned_of(project: Project, tiny: str) -> None:
    """Everything was measured, and only the log had a number."""
    (text,) = project.bench.warnings(project.bench.suite(project.suite(tiny[: tiny.index("[[table]]")])))
    assert text == "the suite has no [[table]] and no [[figure]]: no number that it measures is printed"
