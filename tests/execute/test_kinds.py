"""What the three kinds of job leave: records, files, checkpoints and reports of progress."""

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
from bench.execute.kinds import uses_network
from bench.execute.worker import run_job
from bench.files.tensors import load_tensors
from bench.plan.jobs import Plan
from bench.store import PlannedJob
from bench.train import checkpoint
from bench.train.loop import Trainer
from tests.conftest import named
from tests.execute.conftest import CAPS, SMALL, folder, record


def test_a_training_job_leaves_weights_history_and_a_record(plan: Callable[..., Plan], where: Site) -> None:
    job = named(plan("gmmc-gen", "[model.sampler]\nsteps = 1\nbuffer = 20"), "/train")
    run_job(job, where)
    found, place = record(where, job), folder(where, job)
    assert found["status"] == "ok"
    assert (found["job"], found["key"], found["kind"]) == (job.id, job.key, "train")
    assert (found["family"], found["seed"], found["epochs"]) == ("gmmc-gen", 1, 2)
    assert found["weights"] == hashlib.sha256(place.file("weights.safetensors").read_bytes()).hexdigest()
    assert found["data"]["n_train"] == 96
    assert found["provenance"]["command"] == "bench run"
    assert found["provenance"]["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert found["seconds"] > 0
    assert (found["trips"], found["restarts"], found["resumed"]) == ([], 0, None)
    history = json.loads(place.file(found["history"]).read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert found["validation_accuracy"] == history[found["selected_epoch"] - 1]["validation_accuracy"]
    weights, _ = load_tensors(place.file("weights.safetensors"))
    assert float(weights["gamma2"]) > 0
    state, _ = load_tensors(place.file("state.safetensors"))
    assert set(state) == {"images", "labels", "age"}
    assert json.loads(place.file("job.json").read_text()) == json.loads(json.dumps(job.as_json()))
    assert place.job() == PlannedJob.from_json(job.as_json())
    assert place.state() == "done"
    left = {path.name for path in place.path.iterdir()}
    assert not [name for name in left if "checkpoint" in name or name.endswith(".tmp")]
    assert "progress.json" not in left


def test_the_record_says_in_which_arithmetic_a_model_was_trained(plan: Callable[..., Plan], where: Site) -> None:
    for given, expected in (("", ("float32", "deterministic")), ('preset = "fast"', ("tf32", "benchmark"))):
        job = named(plan("softmax", given), "/train")
        run_job(job, where)
        found = record(where, job)
        assert (found["precision"], found["cudnn"]) == expected


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
    assert sorted(found["files"]) == ["closest.png", "farthest.png", "samples.png"]
    for name in found["files"]:
        assert folder(where, generation).file(name).read_bytes().startswith(b"\x89PNG")


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
