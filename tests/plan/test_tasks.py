"""Tasks: keys from their own fields, inputs by role, and what a job.json holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.data.job import JobData, OodData
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask, PredictTask, TrainTask
from bench.store import PlannedJob
from bench.weights.find import Blueprint, Found

MODEL = Blueprint(family="softmax", backbone="wrn-10-1", config={"lr": 0.1, "file": "/home/net.pt"}, seed=1)
DATA = JobData(dataset="digits", fingerprint="sha256:1", identity={"name": "digits"}, seed=2, test_cap=100)
TRAIN = TrainTask(model=MODEL, data=DATA, settings={"lr": 0.1, "file": "net.pt"}, code={"family": {"version": 1}})
OTHER = replace(TRAIN, settings={"lr": 0.2})
JUDGE = replace(TRAIN, settings={"lr": 0.3})
PREDICT = PredictTask(train=TRAIN, output="forward", split="test")
EVALUATE = EvaluateTask(
    train=TRAIN,
    evaluation="transfer",
    config={"seed": 3},
    evaluation_code={"name": "transfer", "version": 1},
    needs={"test/forward": PREDICT},
    judge=JUDGE,
    others={"jem": OTHER},
)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"lr": 0.2}},
        {"code": {"family": {"version": 2}}},
        {"model": replace(MODEL, seed=2)},
        {"data": replace(DATA, validation=10)},
        {"data": replace(DATA, identity={"name": "another"})},
        {"draws": True},
        {"identity": {"file": "sha256:2"}},
        {"init_from": OTHER},
        {"weights": "missing"},
        {"weights": Found(Path("w"), None, "1")},
        {"weights": Found(Path("w"), Path("s"), "1", "2")},
    ],
)
def test_the_key_of_training_holds_what_determines_the_weights(change: dict[str, Any]) -> None:
    assert replace(TRAIN, **change).key != TRAIN.key


@pytest.mark.parametrize(
    "change",
    [
        {"passes": 7.0},
        {"blocked": "no data"},
        {"data": replace(DATA, test_cap=10, dataset="/elsewhere/digits", fingerprint="sha256:3")},
        {"model": replace(MODEL, config={"lr": 0.1, "file": "/elsewhere/net.pt"})},
    ],
)
def test_the_key_of_training_holds_nothing_else(change: dict[str, Any]) -> None:
    assert replace(TRAIN, **change).key == TRAIN.key


def test_a_bound_on_test_items_is_in_the_keys_of_what_reads_them() -> None:
    fewer = replace(TRAIN, data=replace(DATA, test_cap=10))
    assert replace(PREDICT, train=fewer).key != PREDICT.key
    assert replace(EVALUATE, train=fewer).key == EVALUATE.key
    assert replace(EVALUATE, train=fewer, reads_model=True).key != replace(EVALUATE, reads_model=True).key
    validation = replace(PREDICT, split="validation")
    assert replace(validation, train=fewer).key == validation.key


def test_inputs_have_roles() -> None:
    assert TRAIN.inputs == ()
    assert replace(TRAIN, init_from=OTHER).inputs == (OTHER,)
    assert PREDICT.inputs == (TRAIN,)
    assert EVALUATE.inputs == (TRAIN, PREDICT, JUDGE, OTHER)
    assert EVALUATE.trainings == (TRAIN, JUDGE, OTHER)
    assert [EVALUATE.other(task.key) for task in EVALUATE.inputs] == [None, None, None, "jem"]


def test_what_an_input_lacks_blocks() -> None:
    lacking = replace(OTHER, blocked="no weights")
    assert (TRAIN.blocked, PREDICT.blocked, EVALUATE.blocked) == (None, None, None)
    assert replace(EVALUATE, others={"jem": lacking}).blocked == "no weights"
    assert replace(EVALUATE, others={"jem": lacking}, absent="no density").blocked == "no density"
    assert replace(PREDICT, train=lacking).blocked == "no weights"
    assert replace(PREDICT, absent="no data").blocked == "no data"


def test_all_evaluations_of_a_kind_share_a_seed_and_trainings_have_their_own() -> None:
    second = replace(TRAIN, model=replace(MODEL, seed=2))
    assert replace(EVALUATE, train=second).random_seed == EVALUATE.random_seed
    assert replace(EVALUATE, config={"seed": 4}).random_seed != EVALUATE.random_seed
    seeds = {
        replace(PREDICT, train=train, split=split).random_seed for train in (TRAIN, second) for split in ("test", "ood")
    }
    assert len(seeds) == 4
    assert len({*seeds, TRAIN.random_seed, second.random_seed}) == 6


def test_what_a_job_json_holds() -> None:
    """Names that other tools read; `bench show --json` prints them."""
    far = OodData(dataset="svhn", fingerprint="sha256:4", identity={}, cap=5)
    predict = replace(PREDICT, split="ood", ood=far).as_json()
    assert predict["fingerprints"]["data"] == {"digits": "sha256:1", "svhn": "sha256:4"}
    assert TRAIN.as_json()["fingerprints"]["data"] == {"digits": "sha256:1"}
    assert (predict["train"], predict["split"], predict["ood"], predict["cap"]) == (TRAIN.key, "ood", "svhn", 5)
    whole = EVALUATE.as_json()
    assert whole["needs"] == {"test/forward": PREDICT.key}
    assert (whole["judge"], whole["others"]) == (JUDGE.key, {"jem": OTHER.key})
    assert whole["models"] == {task.key: task.as_json() for task in (TRAIN, JUDGE, OTHER)}
    assert set(whole["fingerprints"]["code"]) == {"family", "evaluation"}
    foreign = replace(TRAIN, weights=Found(Path("/w"), Path("/s"), "1", "2", {"source": "theirs"})).as_json()
    assert {name: foreign[name] for name in ("weights", "state", "weights_digest", "state_digest", "imported")} == {
        "weights": "/w",
        "state": "/s",
        "weights_digest": "1",
        "state_digest": "2",
        "imported": {"source": "theirs"},
    }


def test_a_job_json_is_read_again() -> None:
    read = PlannedJob.from_json(json.loads(json.dumps(Job("a/transfer", EVALUATE).as_json())))
    assert (read.id, read.train, read.settings, read.config) == ("a/transfer", TRAIN.key, {"seed": 3}, MODEL.config)
    assert (read.family, read.backbone, read.dataset, read.data_seed, read.seed) == (
        "softmax",
        "wrn-10-1",
        "digits",
        2,
        1,
    )
    assert read.spec == json.loads(json.dumps(EVALUATE.as_json()))
    assert PlannedJob.from_json({"id": 3, "spec": "damaged"}) == PlannedJob(id="3")
