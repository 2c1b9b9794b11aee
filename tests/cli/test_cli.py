from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result

from bench.cli.inspect import KINDS
from bench.cli.main import cli
from bench.execute.executors import Ended
from bench.files.atomic import write_json
from bench.plan.jobs import Job, Plan
from bench.store import Record, Store
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def ok(*arguments: str) -> str:
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def loaded(*arguments: str) -> Any:
    return json.loads(ok(*arguments))


def finish_all(project: Project, results: Results, text: str) -> Plan:
    """A store in which every job of a suite has a result."""
    plan = project.plan(text)
    for job in plan.jobs:
        if job.blocked is None:
            results.finish(job, **({"numbers": [], "evaluation_kind": "x"} if job.kind == "evaluate" else {}))
    return plan


class Scripted:
    """Takes the place of the pool of workers: leaves what ``outcome`` says for every job."""

    capacity = 2
    outcome = "ok"

    def __init__(self, site: Any, devices: list[str]) -> None:
        self.store = Store(site.store)
        self.running: list[Job] = []

    def start(self, job: Job) -> None:
        self.running.append(job)

    def ended(self, timeout: float) -> list[Ended]:
        if not self.running:
            return []
        job = self.running.pop(0)
        folder = self.store.folder(job.key)
        if self.outcome == "interrupt":
            raise KeyboardInterrupt
        if self.outcome == "fail" and job.id.startswith("softmax") and job.kind == "train":
            folder.fail({"type": "ValueError", "message": "no such thing", "traceback": "Traceback: here\n"})
        else:
            diverged = self.outcome == "diverge" and job.kind == "train"
            extra = {"status": "diverged", "reason": "training diverged at epoch 2"} if diverged else {}
            record: dict[str, Any] = {
                "status": "ok",
                "kind": job.kind,
                "weights": "w",
                "seconds": 1,
                "numbers": [],
                **extra,
            }
            provenance = {"device": "cpu", "versions": {"torch": "2"}, "command": "bench run"}
            folder.finish(Record.from_json({**record, "provenance": provenance, "passes": job.passes}))
        return [Ended(job)]

    def stop(self) -> None:
        self.running.clear()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr("bench.api.Pool", Scripted)
    monkeypatch.setattr(Scripted, "outcome", "ok")
    return Scripted


class TestHelp:
    def test_every_command_is_listed_and_explained(self) -> None:
        text = ok("--help")
        for name, command in cli.commands.items():
            assert f"\n  {name} " in text
            assert (command.help or "").strip(), name
            assert ok(name, "--help").startswith(f"Usage: cli {name}")

    def test_every_option_is_explained(self) -> None:
        for name, command in cli.commands.items():
            for option in command.params:
                if isinstance(option, click.Option) and option.name != "device":  # its choices explain it
                    assert option.help, f"{name} --{option.name}"

    def test_version(self) -> None:
        assert ok("--version").startswith("bench, version ")

    @pytest.mark.parametrize("arguments", [["rnu"], ["list", "familie"], ["run", "--device", "tpu"], ["check"]])
    def test_wrong_usage_is_a_wrong_request(self, arguments: list[str]) -> None:
        assert bench(*arguments).exit_code == 2


class TestRun:
    def test_tables_files_and_what_was_last(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        result = bench("run", "tiny")
        assert result.exit_code == 0
        assert result.stdout.startswith("**Accuracy**")
        folder = project.results / "reports" / "tiny"
        assert f"report: {folder / 'report.html'}" in result.stdout
        assert {path.suffix for path in folder.iterdir()} == {".html", ".md", ".tex", ".csv", ".json"}
        last = json.loads((project.results / "last.json").read_text(encoding="utf-8"))
        assert last == {"suite": "../suites/tiny.toml", "profile": None}
        assert ok("table") == ok("table", "tiny")
        assert "done" in ok("status")

    def test_a_second_run_does_nothing(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        first = bench("run", "tiny")
        scripted.outcome = "fail"
        assert bench("run", "tiny").exit_code == 0
        assert ok("table") == ok("table", "tiny")
        assert first.exit_code == 0

    def test_the_default_suite(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        project.write("bench.toml", '[run]\ndefault_suite = "tiny"\n')
        assert bench("run").stdout.startswith("**Accuracy**")

    def test_a_failure(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        scripted.outcome = "fail"
        result = bench("run", "tiny")
        assert result.exit_code == 1
        name = "softmax/digits/seed1/train"
        failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
        assert failed == [f"failed: {name}: ValueError: no such thing; bench show {name}"]
        of_it = [job for job in project.plan(tiny).downstream([name]) if job.blocked is None]
        more = f"{len(of_it) - 1} more failed because they read what these would have left"
        assert result.stderr.splitlines()[-1] == more
        assert "failed: an input failed: ValueError: no such thing (softmax)." in result.stdout  # so says the table
        shown = ok("show", name)
        assert "ValueError: no such thing" in shown
        assert "Traceback: here" in shown

    def test_strict_minds_what_has_no_number(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)  # softmax does not generate
        assert bench("run", "tiny").exit_code == 0
        assert bench("run", "tiny", "--strict").exit_code == 1
        assert bench("run", "tiny", "--strict", "--only", "*/accuracy").exit_code == 0

    def test_divergence_is_a_result(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        scripted.outcome = "diverge"
        result = bench("run", "tiny")
        assert result.exit_code == 0
        assert "training diverged at epoch 2 (all rows)." in result.stdout
        assert bench("run", "tiny", "--strict").exit_code == 1

    def test_an_interrupt(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        scripted.outcome = "interrupt"
        result = bench("run", "tiny")
        assert result.exit_code == 130
        assert "**Accuracy**" not in result.stdout
        scripted.outcome = "ok"
        assert bench("run", "tiny").exit_code == 0

    def test_nothing_selected(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        for option in ("--only", "--force"):
            result = bench("run", "tiny", option, "softmax/*/acuracy")
            assert result.exit_code == 3, result.output
            assert "no job matches" in result.stderr
        assert not project.results.exists()

    def test_nothing_can_run(self, project: Project, tiny: str) -> None:
        project.suite(tiny.replace('"digits"', '"cifar10"'))
        result = bench("run", "tiny")
        assert result.exit_code == 5
        assert "cifar-10" in result.stdout

    def test_no_gpu(self, project: Project, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        project.suite(tiny)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        result = bench("run", "tiny", "--device", "cuda")
        assert result.exit_code == 5
        assert result.stderr.startswith("bench: no CUDA device is visible")

    def test_force_drops_what_depends_on_it(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        bench("run", "tiny")
        kept = {f.key for f in project.bench.store.folders() if f.record()}
        scripted.outcome = "interrupt"  # so that what was dropped stays dropped
        bench("run", "tiny", "--force", "softmax/*/predict/validation")
        gone = kept - {f.key for f in project.bench.store.folders() if f.record()}
        plan = project.plan(tiny)
        assert {plan.job(key).id for key in gone} == {
            f"softmax/digits/seed1/{what}" for what in ("predict/validation", "calibration")
        }

    def test_json_lines(self, project: Project, tiny: str, scripted: type[Scripted]) -> None:
        project.suite(tiny)
        lines = [json.loads(line) for line in ok("run", "tiny", "--json").splitlines()]
        assert lines
        assert all(isinstance(line, dict) for line in lines)

    def test_dry_run_is_plan(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        assert ok("run", "tiny", "--dry-run", "--only", "*/accuracy") == ok("plan", "tiny", "--only", "*/accuracy")
        assert not project.results.exists()


class TestPlanAndStatus:
    def test_plan(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        *jobs, reason, total, to_run = ok("plan", "tiny").splitlines()
        plan = project.plan(tiny)
        assert [line.split()[0] for line in jobs] == [job.id for job in plan.jobs]
        (blocked,) = [line for line in jobs if line.endswith("[1]")]
        assert blocked.split()[:2] == ["softmax/digits/seed1/generation", "n/a"]
        assert reason == "[1] softmax does not generate"
        passes = sum(job.passes for job in plan.jobs)
        assert total == f"{len(jobs)} jobs, {passes:,.0f} network passes"
        assert to_run.startswith(f"{len(jobs) - 1} to run: ")
        assert to_run.endswith("unknown time")

    def test_plan_as_json(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        facts = loaded("plan", "tiny", "--json", "--only", "softmax/*/accuracy")
        assert (facts["schema"], facts["suite"], facts["profile"]) == (1, "tiny", None)
        assert [row["kind"] for row in facts["jobs"]] == ["train", "predict", "evaluate"]
        assert {"job", "kind", "key", "state", "reason", "passes", "seconds"} == set(facts["jobs"][0])

    def test_plan_with_everything_done(self, project: Project, tiny: str, results: Results) -> None:
        finish_all(project, results, tiny)
        assert ok("plan", "tiny").splitlines()[-1] == "0 to run: 0 network passes"

    def test_equal_work_is_priced_once(self, project: Project, tiny: str) -> None:
        text = tiny + '[[evaluation]]\nkind = "pgd"\nid = "again"\nsteps = 2\neps = ["8/255"]\nitems = 32\n'
        project.suite(tiny)
        before = ok("plan", "tiny").splitlines()[-2:]
        project.suite(text)
        after = ok("plan", "tiny").splitlines()[-2:]
        assert [line.partition(": ")[2] or line.partition(", ")[2] for line in after] == [
            line.partition(": ")[2] or line.partition(", ")[2] for line in before
        ]

    def test_status(self, project: Project, tiny: str, results: Results) -> None:
        plan = finish_all(project, results, tiny)
        results.store.folder(plan.jobs[0].key).forget()
        results.store.folder(plan.jobs[0].key).fail({"type": "ValueError", "message": "no"})
        lines = ok("status", "tiny").splitlines()
        assert lines[0].split(maxsplit=2) == ["failed", "softmax/digits/seed1/train", "ValueError: no"]
        assert lines[-1] == f"{len(plan.jobs) - 2} done, 1 failed, 1 n/a"
        facts = loaded("status", "tiny", "--json")
        assert [row["job"] for row in facts["jobs"]] == [job.id for job in plan.jobs]
        assert facts["jobs"][0]["state"] == "failed"

    def test_check_says_what_will_be_missing(self, project: Project, tiny: str) -> None:
        path = project.suite(tiny)
        first, *missing = ok("check", str(path)).splitlines()
        assert first == f"{path}: ok, 2 models, 5 evaluations, 1 tables, {len(project.plan(tiny).jobs)} jobs"
        assert missing == ["n/a: softmax does not generate"]


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
        shown = dict(line.strip().split(" = ") for line in lines[start:] if line.startswith("  "))
        assert (shown["epochs"], shown["sampler.steps"], shown["optimizer"]) == ("2", "3", '"adam"')
        assert loaded("show", job.id, "--suite", "tiny", "--json")["spec"]["config"]["epochs"] == 2

    def test_a_job_that_never_ran(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        assert ok("show", "softmax/digits/seed1/train", "--suite", "tiny").startswith(
            "softmax/digits/seed1/train: pending"
        )


class TestTable:
    @pytest.mark.parametrize("format_", ["markdown", "latex", "html", "csv", "json"])
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


def test_a_profile_without_a_suite_is_that_of_the_suite_last_run(project: Project) -> None:
    """It used to be passed over in silence, and the full run's numbers were shown under the profile's name."""
    path = project.suite()
    project.bench._remember(project.bench.suite(path))
    assert project.bench.last() == (str(path.resolve()), None)
    assert project.bench.last("small") == (str(path.resolve()), "small")
    project.bench._remember(replace(project.bench.suite(path), profile="smoke"))
    assert project.bench.last() == (str(path.resolve()), "smoke")
    assert project.bench.last("small")[1] == "small"
