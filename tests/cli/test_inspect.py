"""``bench list``, ``doctor`` and ``clean``, and of ``describe`` what holds for everything listed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.cli.inspect import KINDS
from bench.commands.speed import _spread
from bench.execute.speed import Network, calibration
from bench.plan.jobs import Plan
from tests.cli.conftest import bench, finish_all, loaded, ok
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results


class TestListAndDescribe:
    @pytest.mark.parametrize("kind", KINDS)
    def test_lists(self, project: Project, kind: str) -> None:
        facts = loaded("list", kind, "--json")
        lines = ok("list", kind).splitlines()
        assert facts["kind"] == kind
        assert len(lines) == len(facts["entries"]) > 0
        for line, entry in zip(lines, facts["entries"], strict=True):
            assert line.startswith(entry["name"])
            assert entry["error"] is None
            assert entry["summary"], entry["name"]

    def test_names_in_lists(self, project: Project) -> None:
        project.suite()
        assert "GMMC" in ok("describe", "gmmc-gen")
        assert ok("list", "suites").splitlines()[0].startswith("tiny")
        assert any(line.startswith("smoke ") for line in ok("list", "profiles").splitlines())

    @pytest.mark.parametrize("kind", ["families", "datasets", "evaluations", "attacks", "scores"])
    def test_everything_listed_can_be_described(self, project: Project, kind: str) -> None:
        for entry in loaded("list", kind, "--json")["entries"]:
            text = ok("describe", entry["name"])
            assert f"{entry['name']}: " in text
            assert entry["summary"] in text
            assert "source: " in text

    def test_a_family_with_what_paper_and_code_say(self, project: Project) -> None:
        text = ok("describe", "gmmc-gen")
        assert "  sampler.buffer = 100000" in text
        assert "      paper: 100,000; code: 100,000; joint 50,000" in text
        assert "preset" in text

    def test_a_backbone_and_a_metric(self, project: Project) -> None:
        assert "multiply-adds" in ok("describe", "wrn-28-10")
        metric = ok("describe", "calibration.ece")
        assert "calibration.ece: unit fraction, lower is better" in metric
        assert "ece[w20, (lo,hi]" in metric
        assert loaded("describe", "calibration.ece", "--json")["lines"] == metric.splitlines()


class TestClean:
    @pytest.fixture
    def stale(self, project: Project, tiny: str, results: Results) -> Plan:
        """Results of a suite that has been edited since: only its pgd jobs are no longer referred to."""
        plan = finish_all(project, results, tiny)
        project.suite(tiny.replace("items = 32", "items = 33"))
        return plan

    def keys(self, project: Project) -> set[str]:
        return {folder.key for folder in project.bench.store.folders()}

    def test_it_shows_first(self, project: Project, stale: Plan) -> None:
        before = self.keys(project)
        text = ok("clean")
        assert "softmax/digits/seed1/pgd-2@8/255" in text
        assert text.splitlines()[-1].startswith("4 results, ")
        assert text.splitlines()[-1].endswith("delete them with: bench clean --yes")
        assert self.keys(project) == before

    def test_it_deletes_what_no_suite_refers_to(self, project: Project, stale: Plan) -> None:
        before = self.keys(project)
        assert "deleted 4 of 4 results" in ok("clean", "--yes")
        gone = before - self.keys(project)
        assert {stale.job(key).evaluation for key in gone} == {"pgd-2"}
        assert ok("clean").startswith("0 results")

    def test_what_a_further_suite_refers_to_is_kept(self, project: Project, stale: Plan, tiny: str) -> None:
        kept = project.write("elsewhere/tiny.toml", tiny)
        assert ok("clean", "--keep", str(kept)).startswith("0 results")

    def test_what_a_profile_refers_to_is_kept(self, project: Project, stale: Plan) -> None:
        project.profile('[profile]\nname = "p"\n[evaluation.pgd]\nitems = 32\n', "p")
        assert ok("clean").startswith("0 results")

    def test_what_was_run_last_is_kept(self, project: Project, stale: Plan, tiny: str) -> None:
        last = project.write("elsewhere/last.toml", tiny)
        (project.results / "last.json").write_text(json.dumps({"suite": str(last), "profile": None}), encoding="utf-8")
        assert ok("clean").startswith("0 results")

    def test_jobs_at_work_are_not_touched(self, project: Project, stale: Plan) -> None:
        job = planned(stale, "softmax/digits/seed1/pgd-2@8/255")
        with project.bench.store.folder(job.key).lock():
            facts = loaded("clean", "--yes", "--json")
        assert len(facts["removed"]) == 3
        assert job.key in self.keys(project)

    def test_what_kills_left_of_checkpoints_goes(self, project: Project, tiny: str) -> None:
        plan = project.plan(tiny)
        jobs = [job for job in plan.jobs if job.kind == "train"]
        working, killed = (project.bench.store.folder(job.key) for job in jobs[:2])
        for folder in (working, killed):
            folder.path.mkdir(parents=True)
            folder.file("job.json").write_text('{"id": "a job"}')
            checkpoints = [{"number": 1, "file": "checkpoint-1.safetensors", "sha256": "", "iteration": 3}]
            index = {"checkpoints": checkpoints, "segments": ["rows-0-8.safetensors"], "number": 2}
            folder.file("checkpoint.json").write_text(json.dumps(index))
            for name in ("checkpoint-1.safetensors", "rows-0-8.safetensors"):
                folder.file(name).write_bytes(bytes(500_000))
        kept = {path.name for path in killed.path.iterdir()}
        for folder in (working, killed):
            folder.file("rows-2-8.safetensors").write_bytes(bytes(2_000_000))
            folder.file(".checkpoint-2.safetensors.x1y2.tmp").write_bytes(bytes(1_000_000))
        assert loaded("doctor", "--json")["folders"]["checkpoints"] == (
            "1.0 MB for 2 jobs, and 1.0 MB in segments of shared rows; "
            "6.0 MB being written, or left by a kill: see bench clean"
        )
        with working.lock():
            shown = ok("clean")
            assert f"      3.00 MB  {killed.key[:12]}  a job: needed by no checkpoint\n" in shown
            assert shown.splitlines()[-1] == (
                "0 results, 0.0 MB, are referred to by no suite; delete them with: bench clean --yes"
            )
            facts = loaded("clean", "--yes", "--json")
            assert working.file("rows-2-8.safetensors").exists()
        assert facts["unreferenced"] == facts["removed"] == []
        assert facts["orphaned"] == [{"job": "a job", "key": killed.key, "bytes": 3_000_000}]
        assert facts["swept"] == [killed.key]
        assert {path.name for path in killed.path.iterdir()} == kept | {"lock"}
        assert f"{working.key[:12]}  a job: needed by no checkpoint; deleted\n" in ok("clean", "--yes")
        assert ok("clean") == "0 results, 0.0 MB, are referred to by no suite\n"
        assert loaded("doctor", "--json")["folders"]["checkpoints"] == (
            "1.0 MB for 2 jobs, and 1.0 MB in segments of shared rows"
        )

    def test_a_suite_that_cannot_be_read_stops_it(self, project: Project, stale: Plan) -> None:
        before = self.keys(project)
        project.suite("[suite\n", "broken")
        result = bench("clean", "--yes")
        assert result.exit_code == 2
        assert "broken.toml:1:" in result.stderr
        assert self.keys(project) == before


def test_doctor(project: Project) -> None:
    text, facts = ok("doctor"), loaded("doctor", "--json")
    assert set(facts) == {"schema", "versions", "devices", "folders", "data sets", "weights"}
    assert facts["versions"]["torch"] != "not installed"
    assert facts["data sets"]["digits"] == "found"
    assert facts["data sets"]["cifar10"].startswith("missing: ")
    assert str(project.root / "results") in facts["folders"]["results"]
    assert "(bench.toml)" in facts["folders"]["results"]
    for section in ("versions", "devices", "folders", "data sets", "weights"):
        assert section in text


class TestSpeed:
    def test_it_measures_the_networks_of_a_suite(
        self, project: Project, tiny: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bench.commands.speed.SECONDS", 0.5)
        project.suite(tiny)
        text = ok("doctor", "--speed", "--suite", "tiny")
        assert "  wrn-10-1 on 1x8x8, batches of " in text
        assert " training updates of one image a second" in text
        made = calibration("cpu")
        assert made is not None
        assert text.startswith(made.name)
        assert {network.backbone for network in made.speeds} == {"wrn-10-1", "bench.evaluate.judge:BACKBONE"}
        assert "calibrated" in ok("plan", "tiny")

    def test_many_networks_are_thinned_to_the_smallest_the_largest_and_those_nothing_stands_for(self) -> None:
        sizes = [Network(f"wrn-10-{width}", (1, 8, 8)) for width in range(1, 12)]
        judge = Network("bench.evaluate.judge:BACKBONE", (1, 8, 8))
        chosen = _spread([*sizes[::-1], judge])
        assert chosen[0] == judge
        assert (chosen[1], chosen[-1]) == (sizes[0], sizes[-1])
        assert len(set(chosen)) == len(chosen) == 6
        assert _spread(sizes[:3]) == sizes[:3]

    def test_its_options_need_it(self, project: Project) -> None:
        result = bench("doctor", "--suite", "tiny")
        assert result.exit_code == 2
        assert "belong to --speed" in result.stderr

    def test_an_unknown_suite_is_an_error(self, project: Project) -> None:
        assert bench("doctor", "--speed", "--suite", "nothing").exit_code == 2
