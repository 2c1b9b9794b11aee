"""Whole runs, from the text of a suite to its tables: what is computed, what is kept, and what a kill costs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench.api import Bench, Run
from bench.report.formats.json import as_dict
from tests.conftest import planned

SUITE = """\
[suite]
name = "pair"

[data]
dataset = "digits"

[[model]]
family   = "softmax"
backbone = "wrn-10-1"

[[model]]
family   = "gmmc-dis"
backbone = "wrn-10-1"

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "calibration"

[[evaluation]]
kind = "ood"
sets = ["patches"]

[[evaluation]]
kind  = "pgd"
id    = "pgd-3"
steps = 3
step  = "eps/2"
eps   = ["25/255"]

[[table]]
id      = "main"
columns = ["accuracy", "calibration.ece", "calibration.ece@fitted", "ood.log-density.auroc@patches", "pgd-3@25/255"]
"""

# The size of the profile that ships with the harness: 180 iterations of 64 digits.
SMALL = """\
[profile]
name = "small"

[model]
epochs       = {epochs}
lr           = 2e-3
warmup       = 0
decay_epochs = [8, 10]

[caps]
train      = 960
validation = 100
items      = 64
"""

TIMINGS = frozenset({"seconds", "finished", "provenance", "resumed", "digest"})


def write(root: Path, suite: str = SUITE, epochs: int = 12) -> Path:
    """A project folder with one suite and one profile, and with nothing of this machine in reach."""
    (root / "suites" / "profiles").mkdir(parents=True, exist_ok=True)
    (root / "bench.toml").write_text('[paths]\nresults = "results"\ndata = "data"\nweights = "weights"\n')
    (root / "suites" / "pair.toml").write_text(suite)
    (root / "suites" / "profiles" / "small.toml").write_text(SMALL.format(epochs=epochs))
    return root


@pytest.fixture(autouse=True, scope="module")
def of_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS", "BENCH_INCEPTION_WEIGHTS"):
            patch.delenv(name, raising=False)
        yield


def run(root: Path, **options: Any) -> Run:
    here = Bench.here(root)
    return here.run(root / "suites" / "pair.toml", profile="small", device="cpu", workers=2, **options)


def tables(root: Path) -> dict[str, Any]:
    here = Bench.here(root)
    return as_dict(here.report(here.plan(root / "suites" / "pair.toml", profile="small")))


def records(root: Path) -> dict[str, dict[str, Any]]:
    """Every record in the store by the id of its job."""
    found = {}
    for folder in Bench.here(root).store.folders():
        record = folder.record_json()
        if record is not None:
            assert record["job"] not in found, "two records of one job"
            found[record["job"]] = record
    return found


def timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in record.items() if key not in TIMINGS}
    # A history tells how long each epoch took.
    facts["artefacts"] = {name: digest for name, digest in record["artefacts"].items() if name != "history.json"}
    return facts


def value(record: Mapping[str, Any], metric: str) -> float:
    (number,) = [number for number in record["numbers"] if number["metric"] == metric and not number["argument"]]
    return float(number["value"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """The suite, run once on a pool of two processes. To be looked at, not changed."""
    root = write(tmp_path_factory.mktemp("finished"))
    return root, run(root)


@pytest.fixture
def copy(finished: tuple[Path, Run], tmp_path: Path) -> Path:
    """A copy of the finished project, to be gone on with."""
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


# --- results ----------------------------------------------------------------------------------------------------


def test_both_models_learn(finished: tuple[Path, Run]) -> None:
    root, outcome = finished
    assert outcome.exit_code(strict=True) == 0
    assert outcome.summary.counts() == {"done": len(outcome.plan.jobs)}
    found = records(root)
    for model in ("softmax", "gmmc-dis"):
        assert value(found[f"{model}/digits/seed1/accuracy"], "accuracy") > 0.85


def test_tables_show_what_records_hold(finished: tuple[Path, Run]) -> None:
    root, _ = finished
    found = records(root)
    report = tables(root)
    assert report["profile"] == "small"
    (table,) = report["tables"]
    assert "PROFILE small" in table["title"]
    assert [row["label"] for row in table["rows"]] == ["softmax", "GMMC (Dis)"]
    for row, model in zip(table["rows"], ("softmax", "gmmc-dis"), strict=True):
        cells = {cell["column"]: cell for cell in row["cells"]}
        assert {cell["status"] for cell in cells.values()} == {"ok"}
        accuracy = found[f"{model}/digits/seed1/accuracy"]
        assert cells["accuracy"]["value"] == value(accuracy, "accuracy")
        assert cells["accuracy"]["records"] == [accuracy["key"]]
        assert cells["accuracy"]["n"] == 64
        assert cells["calibration.ece"]["value"] == value(found[f"{model}/digits/seed1/calibration"], "ece")


def test_every_number_explains_itself(finished: tuple[Path, Run]) -> None:
    root, _ = finished
    found = records(root)
    for name, record in found.items():
        assert record["provenance"]["versions"]["torch"], name
        assert record["seconds"] >= 0, name
        for number in record.get("numbers", ()):
            assert number["definition"], name
            assert number["n"] > 0, name
        if record["kind"] != "train":
            model = name.split("/")[0]
            assert record["weights"] == found[f"{model}/digits/seed1/train"]["weights"], name


def test_results_are_a_data_frame(finished: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = finished
    monkeypatch.chdir(root)
    frame = bench.results()
    assert isinstance(frame, pd.DataFrame)
    found = records(root)
    assert len(frame) == sum(len(record.get("numbers", ())) for record in found.values())
    row = frame[(frame.model == "gmmc-dis") & (frame.evaluation == "accuracy")].iloc[0]
    record = found["gmmc-dis/digits/seed1/accuracy"]
    assert row.value == value(record, "accuracy")
    assert row.low <= row.value <= row.high
    assert row.definition == record["numbers"][0]["definition"]
    assert (row.key, row.weights, row.interval) == (record["key"], record["weights"], "wilson")


@pytest.mark.parametrize("name", ["softmax", "gmmc-dis", "gmmc-dis/digits/seed1"])
def test_a_trained_model_is_a_plain_module(
    finished: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """From images in [0, 1] to the logits that the evaluations read."""
    root, outcome = finished
    monkeypatch.chdir(root)
    model = bench.load_model(name)
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    predict = planned(outcome.plan, f"{name.split('/')[0]}/digits/seed1/predict/test")
    with np.load(Bench.here(root).store.folder(predict.key).file("outputs.npz")) as stored:
        logits, ids = stored["logits"], stored["ids"]
    from sklearn.datasets import load_digits

    images = torch.from_numpy((load_digits().images[ids] / 16).astype(np.float32))[:, None]
    with torch.no_grad():
        assert torch.allclose(model(images), torch.from_numpy(logits), atol=1e-3, rtol=1e-5)


def test_this_process_gives_the_numbers_of_the_pool(finished: tuple[Path, Run], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcome = run(write(tmp_path), in_process=True, only=("softmax/*",))
    finally:
        torch.set_num_threads(threads)
    assert outcome.exit_code() == 0
    there, here = records(finished[0]), records(tmp_path)
    assert {name for name in there if name.startswith("softmax/")} == set(here)
    for name, record in here.items():
        assert timeless(record) == timeless(there[name])


# --- what is computed again -------------------------------------------------------------------------------------


def ran(outcome: Run) -> list[str]:
    return sorted(job.id for job in outcome.summary.ran)


def test_a_second_run_computes_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(copy)  # files of the copy have other times: they are hashed once
    before = {path: path.stat().st_mtime_ns for path in (copy / "results" / "store").rglob("*") if path.is_file()}
    monkeypatch.setattr("bench.execute.engines.Pool", lambda *_: pytest.fail("an executor was made"))
    outcome = run(copy)
    assert ran(outcome) == []
    assert outcome.exit_code() == 0
    after = {path: path.stat().st_mtime_ns for path in (copy / "results" / "store").rglob("*") if path.is_file()}
    assert after == before


def test_another_hyper_parameter_of_one_model_reruns_that_model(copy: Path) -> None:
    before = records(copy)
    write(copy, SUITE.replace('family   = "softmax"', 'family   = "softmax"\nsigma    = 0.0'))
    outcome = run(copy)
    expected = [f"softmax/digits/seed1/{job}" for job in ("accuracy", "calibration", "ood", "pgd-3@25/255")]
    predictions = [
        f"softmax/digits/seed1/predict/{part}"
        for part in ("patches", "patches.gradient", "test", "test.gradient", "validation")
    ]
    assert ran(outcome) == sorted([*expected, *predictions, "softmax/digits/seed1/train"])
    store = Bench.here(copy).store
    for name, record in before.items():
        # What was there is still there, so that the old suite is answered at once, too.
        assert store.folder(record["key"]).record_json() == record, name


def test_another_number_of_bins_reruns_calibration_alone(copy: Path) -> None:
    write(copy, SUITE.replace('kind = "calibration"', 'kind = "calibration"\nbins = 10'))
    outcome = run(copy)
    assert ran(outcome) == ["gmmc-dis/digits/seed1/calibration", "softmax/digits/seed1/calibration"]
    (table,) = tables(copy)["tables"]
    definitions = {column["id"]: column["definition"] for column in table["columns"]}
    assert "w10" in definitions["calibration.ece"]


def test_another_table_computes_nothing(copy: Path) -> None:
    write(copy, SUITE + '\n[[table]]\nid = "more"\ncolumns = ["calibration.nll", "pgd-3.margin@25/255"]\n')
    assert ran(run(copy)) == []
    assert [table["id"] for table in tables(copy)["tables"]] == ["main", "more"]


def test_one_more_budget_is_one_more_attack(copy: Path) -> None:
    write(copy, SUITE.replace('["25/255"]', '["8/255", "25/255"]'))
    assert ran(run(copy)) == [f"{model}/digits/seed1/pgd-3@8/255" for model in ("gmmc-dis", "softmax")]


def test_force_drops_results_and_what_depends_on_them(copy: Path) -> None:
    outcome = run(copy, force=("softmax/*/predict/test",))
    # Predictions are made again because calibration, accuracy and detection read them; training is not.
    assert "softmax/digits/seed1/predict/test" in ran(outcome)
    assert "softmax/digits/seed1/accuracy" in ran(outcome)
    assert not [name for name in ran(outcome) if name.endswith("/train") or name.startswith("gmmc-dis")]
    assert outcome.exit_code() == 0


# --- processes that end before their time -----------------------------------------------------------------------


def start(root: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench", "run", "pair", "--profile", "small", "--device", "cpu", *options]
    with (root / f"output-{time.monotonic_ns()}.txt").open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def output(root: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(root.glob("output-*.txt")))


def kill(process: subprocess.Popen[bytes]) -> None:
    """``kill -9`` of the command, its fork server and its workers, all at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], within: float = 90) -> None:
    deadline = time.monotonic() + within
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def there(root: Path, name: str, count: int = 1) -> Callable[[], bool]:
    return lambda: len(list((root / "results" / "store").glob(f"*/*/{name}"))) >= count


def test_a_kill_at_any_moment_changes_no_number(finished: tuple[Path, Run], tmp_path: Path) -> None:
    """In training, and right after it; then the same command to its end."""
    root = write(tmp_path)
    only = ("--only", "softmax/*/accuracy")
    for condition in (there(root, "progress.json"), there(root, "record.json")):
        process = start(root, *only)
        wait_for(condition, process)
        assert process.poll() is None, output(root)
        kill(process)
    assert len(records(root)) < 3
    assert start(root, *only).wait(120) == 0, output(root)
    found, expected = records(root), records(finished[0])
    assert set(found) == {f"softmax/digits/seed1/{job}" for job in ("train", "predict/test", "accuracy")}
    for name, record in found.items():
        assert timeless(record) == timeless(expected[name])


@pytest.mark.slow
def test_kills_in_a_row_end_in_the_same_tables(finished: tuple[Path, Run], tmp_path: Path) -> None:
    root = write(tmp_path)
    for seconds in (0.5, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0):
        process = start(root, "--workers", "2")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        kill(process)
    process = start(root, "--workers", "2")
    assert process.wait(300) == 0, output(root)
    assert tables(root) == tables(finished[0])
    written = json.loads((root / "results" / "reports" / "pair-small" / "tables.json").read_text())
    assert written == tables(finished[0])


@pytest.mark.slow
def test_a_kill_long_into_training_costs_no_more_than_since_the_last_checkpoint(tmp_path: Path) -> None:
    """Training of ten to forty seconds, killed right after its first checkpoint."""
    epochs = 150
    undisturbed, root = write(tmp_path / "undisturbed", epochs=epochs), write(tmp_path / "killed", epochs=epochs)
    process = start(root, "--only", "softmax/*/accuracy", BENCH_CHECKPOINT_SECONDS="2")
    wait_for(there(root, "checkpoint.json"), process, within=300)
    assert process.poll() is None, output(root)
    kill(process)
    assert start(root, "--only", "softmax/*/accuracy").wait(600) == 0, output(root)
    assert start(undisturbed, "--only", "softmax/*/accuracy").wait(600) == 0, output(undisturbed)
    found, expected = records(root), records(undisturbed)
    assert found["softmax/digits/seed1/train"]["resumed"].startswith("continued at iteration ")
    assert {name: timeless(record) for name, record in found.items()} == {
        name: timeless(record) for name, record in expected.items()
    }


COUNTED = """\
import os
from pathlib import Path
from bench_models.softmax import Softmax
from bench.spec import FamilySpec, TrainingConfig


class Counted(Softmax):
    def after_training(self, model, clean):
        with (Path(__file__).parent / "trained.txt").open("a") as file:
            file.write(f"{os.getpid()}\\n")


SPEC = FamilySpec(
    name="counted", label="counted", summary="Counts.", source="a test",
    config=TrainingConfig, implementation="counted:Counted",
)
"""


def test_two_runs_at_once_share_the_work(tmp_path: Path) -> None:
    suite = SUITE.replace('"gmmc-dis"', '"counted:SPEC"')
    root = write(tmp_path, suite, epochs=2)
    (root / "counted.py").write_text(COUNTED)
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    options = ("--workers", "1", "--only", "counted/*/accuracy")
    processes = [start(root, *options, PYTHONPATH=path) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0], output(root)
    assert "failed" not in output(root)
    assert len((root / "trained.txt").read_text().splitlines()) == 1
    found = records(root)
    assert {record["status"] for record in found.values()} == {"ok"}
    assert "counted/digits/seed1/accuracy" in found
