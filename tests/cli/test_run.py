"""``bench run``, ``plan``, ``status`` and ``check``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bench.execute.executors import Ended
from bench.execute.price import networks
from bench.execute.speed import Speed, save
from bench.plan.jobs import Job
from bench.store import Record, Store
from tests.cli.conftest import bench, finish_all, loaded, ok
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results


def calibrate(project: Project, text: str) -> None:
    """Keep speeds of the networks of a suite: 1, 4 and 9 s for a forward pass, a gradient and an update."""
    plan = project.plan(text)
    speeds = [Speed(network=n, batch=64, forward=1.0, gradient=4.0, update=9.0) for n in networks(plan, plan.jobs)]
    save("cpu", "2026-01-02T03:04:05Z", speeds)


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
    monkeypatch.setattr("bench.execute.engines.Pool", Scripted)
    monkeypatch.setattr(Scripted, "outcome", "ok")
    return Scripted


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
        assert "failed (softmax): an input failed: ValueError: no such thing." in result.stdout  # so says the table
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
        assert "diverged (all rows): training diverged at epoch 2." in result.stdout
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
        *jobs, reason, total, to_run, hint = ok("plan", "tiny").splitlines()
        plan = project.plan(tiny)
        assert [line.split()[0] for line in jobs] == [job.id for job in plan.jobs]
        (blocked,) = [line for line in jobs if line.endswith("[1]")]
        # What cannot run has neither passes nor a price.
        assert blocked.split() == ["softmax/digits/seed1/generation", "n/a", "-", "passes", "-", "[1]"]
        assert reason == "[1] softmax does not generate"
        passes = sum(job.passes for job in plan.jobs if not job.blocked)
        assert total == f"{len(jobs)} jobs, {passes:,.0f} network passes"
        assert to_run.startswith(f"{len(jobs) - 1} to run: ")
        assert to_run.endswith("unknown time")
        assert hint.endswith(": bench doctor --speed --suite tiny")

    def test_plan_as_json(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        facts = loaded("plan", "tiny", "--json", "--only", "softmax/*/accuracy")
        assert (facts["schema"], facts["suite"], facts["profile"]) == (1, "tiny", None)
        assert [row["kind"] for row in facts["jobs"]] == ["train", "predict", "evaluate"]
        assert {"job", "kind", "key", "state", "reason", "passes", "seconds", "at_most", "source"} == set(
            facts["jobs"][0]
        )
        (price,) = facts["prices"]
        assert (price["device"], price["jobs"], price["seconds"], price["critical_path"]) == ("cpu", 3, None, None)
        assert price["sources"] == {"measured": 0, "calibrated": 0, "scaled": 0, "unknown": 3}

    def test_a_calibration_makes_hours_of_passes(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        calibrate(project, tiny)
        text = ok("plan", "tiny", "--workers", "2")
        assert "  calibrated\n" in text
        assert "<= " in text
        assert " on one worker without " in text
        assert ", if every attacked item survives" in text  # passes have a bound, the time of a pass has none
        assert " attacks priced as if every item survives" in text
        assert "at most" not in text.replace("at most one job on each", "")
        assert "  critical path: " in text
        assert "  workers: 2: " in text
        assert " from the calibration of their network of 2026-01-02T03:04:05Z\n" in text
        assert "unknown time: no network passes\n" in text
        assert "doctor --speed" not in text
        facts = loaded("plan", "tiny", "--workers", "2", "--json")
        (price,) = facts["prices"]
        rows = {row["job"]: row for row in facts["jobs"]}
        assert rows["softmax/digits/seed1/predict/test"]["source"] == "calibrated"
        blocked = rows["softmax/digits/seed1/generation"]
        assert (blocked["seconds"], blocked["at_most"], blocked["source"]) == (None, None, "unknown")
        bounded = rows["softmax/digits/seed1/pgd-2@8/255"]
        assert bounded["seconds"] is None
        assert bounded["at_most"] == pytest.approx(2.0 * bounded["passes"])
        assert list(price["workers"]) == ["2"]
        assert price["critical_path"]["seconds"] <= price["workers"]["2"] <= price["seconds"]

    def test_a_device_elsewhere_is_priced_beside_this_one(
        self, project: Project, tiny: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.suite(tiny)
        with monkeypatch.context() as other:
            other.setattr("bench.execute.speed._processor", lambda: ("another CPU", ["avx2"]))
            calibrate(project, tiny)
        calibrate(project, tiny)
        here, elsewhere = loaded("plan", "tiny", "--json")["prices"]
        assert elsewhere["name"] == "cpu (another CPU, 1 thread)"
        assert here["name"] != elsewhere["name"]
        assert here["seconds"] == elsewhere["seconds"]
        assert len(loaded("plan", "tiny", "--json", "--device", "cpu")["prices"]) == 1

    def test_no_worker_is_wrong(self, project: Project, tiny: str) -> None:
        project.suite(tiny)
        result = bench("plan", "tiny", "--workers", "0")
        assert result.exit_code == 2
        assert "expected at least 1" in result.stderr

    def test_a_job_that_is_done_has_the_time_that_it_took(self, project: Project, tiny: str, results: Results) -> None:
        project.suite(tiny)
        first, second = (planned(project.plan(tiny), f"softmax/digits/seed1/pgd-2@{eps}/255") for eps in (8, 16))
        results.finish(first, seconds=3.0)
        results.finish(second, seconds=50.0)
        rows = {row["job"]: row for row in loaded("plan", "tiny", "--json")["jobs"]}
        assert [rows[job.id]["seconds"] for job in (first, second)] == [3.0, 50.0]

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
        assert first == f"{path}: ok, 2 models, 5 evaluations, 1 table, {len(project.plan(tiny).jobs)} jobs"
        assert missing == ["n/a: softmax does not generate"]


def test_a_literature_file_with_mistakes_is_found_before_a_table_is_printed(project: Project, tiny: str) -> None:
    project.write(
        "results/literature/mine.toml",
        '[source]\nname = "mine"\ntitle = "Mine"\nurl = "u"\n[[row]]\nlabel = "m"\ndataset = "digits"\ntable = "1"\n'
        'values = {accuracy = "high"}\n',
    )
    project.suite(tiny + 'literature = ["mine"]\n')
    found = bench("check", "tiny")
    assert found.exit_code == 2
    assert "mine.toml:9:11: row[0].values.accuracy: expected a number, got 'high'" in found.output


def test_a_right_suite_is_ok(project: Project, tiny: str) -> None:
    project.suite(tiny)
    found = bench("check", "tiny", "--profile", "smoke")
    assert (found.exit_code, ": ok, 2 models, 5 evaluations, 1 table" in found.output) == (0, True)
