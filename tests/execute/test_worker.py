"""One job in this process: what it leaves, and what it leaves when it fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.execute import context
from bench.execute.context import Site
from bench.execute.worker import run_job, uses_network
from bench.files.tensors import load_tensors
from bench.plan.jobs import Job, Plan
from bench.store import JobFolder, PlannedJob, Record, Store
from bench.train import checkpoint
from bench.train.loop import Trainer

SMALL = """\
[suite]
name = "small"

[data]
dataset = "digits"

[[model]]
family       = "{family}"
backbone     = "wrn-10-1"
epochs       = 2
batch_size   = 32
warmup       = 0
decay_epochs = []
{more}

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "ood"
sets = ["patches"]

[[evaluation]]
kind  = "pgd"
steps = 2
eps   = ["8/255"]

[[table]]
id      = "main"
columns = ["accuracy"]
"""

CAPS = """\
[profile]
name = "caps"

[caps]
train      = 96
validation = 40
items      = 16
"""

FAILING = """\
from bench_models.softmax import Softmax
from bench.spec import FamilySpec, TrainingConfig


class Failing(Softmax):
    def training_step(self, model, batches, state, iteration):
        if iteration.index == 4:
            print("about to fail")
            {action}
        return super().training_step(model, batches, state, iteration)


SPEC = FamilySpec(
    name="failing", label="failing", summary="Fails.", source="a test",
    config=TrainingConfig, implementation="{module}:Failing",
)
"""


@pytest.fixture
def plan(project: Any) -> Callable[..., Plan]:
    """Plans of one family on 96 digits."""

    def make(family: str = "softmax", more: str = "") -> Plan:
        found: Plan = project.plan(SMALL.format(family=family, more=more), profile=CAPS)
        return found

    return make


@pytest.fixture
def where(project: Any) -> Site:
    root = project.root
    return Site(root / "results" / "store", root / "data", root / "weights", "cpu", "bench run small")


@pytest.fixture
def failing(site: Any) -> Callable[[str, str], str]:
    """Makes families whose fifth training step does something; returns a reference to the spec."""

    def make(action: str, module: str) -> str:
        site.module(module, FAILING.format(action=action, module=module))
        return f"{module}:SPEC"

    return make


def named(plan: Plan, ending: str) -> Job:
    (job,) = [job for job in plan.jobs if job.id.endswith(ending)]
    return job


def folder(where: Site, job: Job) -> JobFolder:
    return Store(where.store).folder(job.key)


def record(where: Site, job: Job) -> dict[str, Any]:
    found = folder(where, job).record_json()
    assert found is not None, folder(where, job).error()
    return found


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every training that begins leaves an entry; an exception would only be a failure of the job."""
    calls: list[str] = []
    original = Trainer.run

    def run(trainer: Trainer, *arguments: Any) -> Any:
        calls.append("trained")
        return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "run", run)
    return calls


# --- results ----------------------------------------------------------------------------------------------------


def test_a_training_job_leaves_weights_history_and_a_record(plan: Callable[..., Plan], where: Site) -> None:
    job = named(plan("gmmc-gen", "[model.sampler]\nsteps = 1\nbuffer = 20"), "/train")
    run_job(job, where)
    found, place = record(where, job), folder(where, job)
    assert found["status"] == "ok"
    assert (found["job"], found["key"], found["kind"]) == (job.id, job.key, "train")
    assert (found["family"], found["seed"], found["epochs"]) == ("gmmc-gen", 1, 2)
    assert found["weights"] == hashlib.sha256(place.file("weights.safetensors").read_bytes()).hexdigest()
    assert found["data"]["n_train"] == 96
    assert found["provenance"]["command"] == "bench run small"
    assert found["provenance"]["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert found["seconds"] > 0
    assert (found["trips"], found["restarts"], found["resumed"]) == ([], 0, None)
    history = json.loads(place.file(found["history"]).read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert found["validation_accuracy"] == history[found["selected_epoch"] - 1]["validation_accuracy"]
    weights, _ = load_tensors(place.file("weights.safetensors"))
    assert float(weights["gamma2"]) > 0
    state, _ = load_tensors(place.file("state.safetensors"))
    assert set(state) == {"images", "labels", "age", "generator"}
    assert json.loads(place.file("job.json").read_text()) == json.loads(json.dumps(job.as_json()))
    assert place.job() == PlannedJob.from_json(job.as_json())
    assert place.state() == "done"
    left = {path.name for path in place.path.iterdir()}
    assert not [name for name in left if "checkpoint" in name or name.endswith(".tmp")]
    assert "progress.json" not in left


def test_the_record_says_in_which_precision_a_model_was_trained(plan: Callable[..., Plan], where: Site) -> None:
    for precision in ("float32", "bf16"):
        job = named(plan("softmax", f'precision = "{precision}"'), "/train")
        run_job(job, where)
        found = record(where, job)
        assert (found["precision"], found["compiled"]) == (precision, False)
        assert "not_compiled" not in found


def test_a_model_that_could_not_be_compiled_is_trained_and_says_why(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", refuse)
    eager, compiled = (named(plan("softmax", f"compile = {asked}"), "/train") for asked in ("false", "true"))
    assert eager.key != compiled.key
    for job in (eager, compiled):
        run_job(job, where)
    found = record(where, compiled)
    assert (found["status"], found["compiled"]) == ("ok", False)
    assert found["not_compiled"] == "RuntimeError: No working C++ compiler found"
    assert found["weights"] == record(where, eager)["weights"]
    log = folder(where, compiled).log()
    assert log == "training runs without torch.compile: RuntimeError: No working C++ compiler found\n"
    assert folder(where, eager).log() == ""


def test_predictions_and_evaluations_read_what_training_left(plan: Callable[..., Plan], where: Site) -> None:
    whole = plan("softmax")
    for job in whole.jobs:
        run_job(job, where)
    train = record(where, named(whole, "/train"))
    predict = named(whole, "/predict/test")
    with np.load(folder(where, predict).file("outputs.npz")) as outputs:
        logits, labels, ids = outputs["logits"], outputs["labels"], outputs["ids"]
    assert logits.shape == (16, 10)
    assert record(where, predict)["weights"] == train["weights"]
    accuracy = record(where, named(whole, "/accuracy"))
    (number,) = accuracy["numbers"]
    assert number["value"] == (logits.argmax(1) == labels).mean()
    assert number["n"] == 16
    assert accuracy["weights"] == train["weights"]
    # It needed no network; the attack did.
    assert accuracy["provenance"]["device"] == "none"
    pgd = record(where, named(whole, "/pgd@8/255"))
    assert pgd["provenance"]["device"] == "cpu"
    assert pgd["weights"] == train["weights"]
    with np.load(folder(where, named(whole, "/pgd@8/255")).file("items.npz")) as items:
        np.testing.assert_array_equal(items["ids"], ids)
    ood = record(where, named(whole, "/ood"))
    assert {number["argument"] for number in ood["numbers"]} == {"patches"}
    assert {number["n"] for number in ood["numbers"]} == {32}


def test_generation_is_measured_by_a_judge_trained_for_it(project: Any, where: Site) -> None:
    text = SMALL.format(family="gmmc-gen", more="[model.sampler]\nsteps = 1\nbuffer = 40")
    text = text.replace('kind = "accuracy"', 'kind = "generation"').replace('["accuracy"]', '["generation"]')
    whole = project.plan(text, profile=CAPS)
    jobs = [job for job in whole.jobs if job.id.startswith("judge/") or job.id.endswith(("/train", "/generation"))]
    assert [job.id.split("/")[0] for job in jobs if job.kind == "train"] == ["gmmc-gen", "judge"]
    for job in jobs:
        run_job(job, where)
    generation = named(whole, "/generation")
    found = record(where, generation)
    judge = record(where, named(whole, "judge/digits/train"))
    assert found["details"]["judge_weights"] == judge["weights"]
    assert judge["weights"] in found["read"].values()
    assert found["files"] == ["samples.png"]
    assert folder(where, generation).file("samples.png").read_bytes().startswith(b"\x89PNG")


def test_divergence_is_a_result(plan: Callable[..., Plan], where: Site) -> None:
    more = "[model.guard]\nloss_limit = 1e-9\nrestarts = 1"
    job = named(plan("softmax", more), "/train")
    run_job(job, where)
    found = record(where, job)
    assert found["status"] == "diverged"
    assert found["reason"] == "training diverged at epoch 1 after 1 restarts"
    assert found["divergence"]["iteration"] == 0
    assert [trip["measures"] for trip in found["trips"]] == [["seed"], []]
    assert folder(where, job).state() == "diverged"
    assert "weights" not in found


def test_a_result_is_not_computed_again(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")
    run_job(job, where)
    first = folder(where, job).file("record.json").read_bytes()
    trained = counted(monkeypatch)
    run_job(job, where)
    assert trained == []
    assert folder(where, job).file("record.json").read_bytes() == first


def test_a_job_at_work_elsewhere_is_left_alone(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")
    trained = counted(monkeypatch)
    place = folder(where, job)
    with place.lock():
        before = sorted(path.name for path in place.path.iterdir())
        assert not run_job(job, where)
        assert sorted(path.name for path in place.path.iterdir()) == before
    assert trained == []
    place.finish(Record(kind="train", job="the other"))
    assert not run_job(job, where)  # the other has finished it: nothing is done, and it does not count as run here
    assert trained == []
    assert record(where, job)["job"] == "the other"


# --- failures ---------------------------------------------------------------------------------------------------


def test_an_exception_leaves_the_traceback_and_the_log(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    job = named(plan(failing('raise RuntimeError("no more")', "raising")), "/train")
    run_job(job, where)
    place = folder(where, job)
    assert place.record() is None
    assert place.state() == "failed"
    error = place.error()
    assert error is not None
    assert (error["job"], error["type"], error["message"]) == (job.id, "RuntimeError", "no more")
    assert "in training_step" in error["traceback"]
    assert error["provenance"]["command"] == "bench run small"
    assert "about to fail" in place.log()
    assert "Traceback" in place.log()
    assert capfd.readouterr() == ("", "")


def test_a_failure_is_no_longer_spoken_of_once_the_job_succeeds(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")

    def broken(*_: object) -> None:
        raise OSError("the disk was full")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", broken)
        run_job(job, where)
    assert folder(where, job).state() == "failed"
    run_job(job, where)
    assert folder(where, job).state() == "done"
    assert folder(where, job).error() is None


@pytest.mark.parametrize("action", ["raise SystemExit(3)", "import sys; sys.exit()"])
def test_a_family_cannot_end_the_worker_unnoticed(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str], action: str
) -> None:
    module = f"exiting{len(action)}"
    job = named(plan(failing(action, module)), "/train")
    run_job(job, where)
    error = folder(where, job).error()
    assert error is not None
    assert error["type"] == "SystemExit"


def test_an_error_that_cannot_say_what_it_is_is_still_a_failure(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    """The worker died of it, with a traceback on the terminal and "exited with code 1" as the reason."""
    action = 'raise type("Odd", (Exception,), {"__str__": lambda self: 1 // 0})'
    job = named(plan(failing(action, "speechless")), "/train")
    run_job(job, where)
    error = folder(where, job).error()
    assert error is not None
    assert (error["type"], error["message"]) == ("Odd", "Odd, whose text cannot be had: ZeroDivisionError")


def test_an_interrupt_is_not_a_failure(
    plan: Callable[..., Plan], where: Site, failing: Callable[[str, str], str]
) -> None:
    job = named(plan(failing("raise KeyboardInterrupt", "interrupting")), "/train")
    with pytest.raises(KeyboardInterrupt):
        run_job(job, where)
    assert folder(where, job).state() == "pending"


# --- checkpoints ------------------------------------------------------------------------------------------------


def test_a_job_that_was_killed_goes_on_and_ends_with_the_same_weights(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch, project: Any
) -> None:
    job = named(plan("gmmc-gen", "[model.sampler]\nsteps = 1\nbuffer = 20"), "/train")
    monkeypatch.setattr(context, "CHECKPOINT_EVERY", 0.0)
    original = Trainer._end_epoch

    def dies_in_the_second_epoch(trainer: Trainer) -> None:
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        original(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_end_epoch", dies_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, where)
    place = folder(where, job)
    assert place.record() is None
    assert place.file(checkpoint.INDEX).is_file()
    run_job(job, where)
    found = record(where, job)
    assert found["resumed"] == "continued at iteration 3"
    assert "continued at iteration 3" in place.log()
    assert not list(place.path.glob("checkpoint*"))

    undisturbed = Site(where.store.parent / "undisturbed", where.data, where.weights, "cpu", "")
    run_job(job, undisturbed)
    assert record(undisturbed, job)["weights"] == found["weights"]
    for name in ("weights.safetensors", "state.safetensors"):
        assert folder(undisturbed, job).file(name).read_bytes() == place.file(name).read_bytes()


def test_a_full_disk_costs_checkpoints_and_not_the_job(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = named(plan(), "/train")
    monkeypatch.setattr(context, "CHECKPOINT_EVERY", 0.0)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    run_job(job, where)
    assert record(where, job)["status"] == "ok"
    assert "no checkpoint at iteration 3: No space left on device" in folder(where, job).log()


def test_progress_is_written_while_it_runs(
    plan: Callable[..., Plan], where: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "PROGRESS_EVERY", 0.0)
    job = named(plan(), "/train")
    place = folder(where, job)
    seen: list[dict[str, Any]] = []
    original = Trainer._end_epoch

    def look(trainer: Trainer) -> None:
        original(trainer)
        seen.append(place.progress() or {})

    monkeypatch.setattr(Trainer, "_end_epoch", look)
    run_job(job, where)
    assert [(facts["done"], facts["total"], facts["epoch"]) for facts in seen] == [(3, 6, 1), (6, 6, 2)]
    assert all(isinstance(facts["loss"], float) for facts in seen)


def test_an_evaluation_that_is_gone_since_the_plan_was_made_fails_with_the_reason(
    plan: Callable[..., Plan], where: Site
) -> None:
    """The worker used to die before it could say anything."""
    accuracy = named(plan(), "/accuracy")
    gone = replace(accuracy, task=replace(accuracy.task, evaluation="left:GONE"))  # type: ignore[call-arg]
    assert uses_network(gone.task)
    assert not uses_network(accuracy.task)
    run_job(gone, where)
    error = folder(where, gone).error()
    assert error is not None
    assert "evaluation 'left:GONE' cannot be imported: No module named 'left'" in error["message"]


def test_cuda_that_does_not_start_is_the_error_of_the_job(plan: Callable[..., Plan], where: Site) -> None:
    """And not the end of the worker: what it records of the device is lost with CUDA, too."""
    if torch.cuda.is_available():
        pytest.skip("CUDA starts here")
    job = named(plan(), "/train")
    run_job(job, replace(where, device="cuda:0"))
    error = folder(where, job).error()
    assert error is not None
    assert error["type"] == "PrerequisiteError"
    assert error["message"].startswith("cuda:0 cannot be used: ")
    assert "run with --device cpu" in error["message"]
    assert error["provenance"]["device"] == "cuda:0"
