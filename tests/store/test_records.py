"""Records: every schema is read, what is written is what was read, and what is no record is damage."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.metrics.intervals import Interval
from bench.store import Measured, Number, Provenance, Record, Store, Training
from bench.store.checked import DIGEST, own_digest
from bench.store.folder import RECORD

STORED = Path(__file__).parents[1] / "snapshot" / "stored.tar.xz"
KEY = "ab" * 20


def stored() -> Iterator[dict[str, Any]]:
    """Records that workers have written."""
    with tarfile.open(STORED) as archive:
        for member in archive:
            if member.name.endswith(f"/{RECORD}"):
                file = archive.extractfile(member)
                assert file is not None
                yield json.load(file)


def test_records_of_workers_are_written_as_they_were_read() -> None:
    kinds = set()
    for facts in stored():
        digest = facts.pop(DIGEST)
        record = Record.from_json(facts)
        assert record.as_json() == facts
        assert own_digest(record.as_json()) == digest
        kinds.add((record.kind, record.status))
    assert {kind for kind, _ in kinds} == {"train", "predict", "evaluate"}


def test_all_that_training_can_say_is_written(tmp_path: Path) -> None:
    training = Training(
        data={"seed": 2, "n_train": 96},
        init_from="w0",
        history="history.json",
        epochs=2,
        iterations=[{"iteration": 0, "loss": "inf"}],
        trips=[{"epoch": 1}],
        restarts=1,
        resumed="continued at iteration 7",
        precision="bf16",
        compiled=False,
        not_compiled="no compiler",
        selected_epoch=2,
        validation_accuracy=0.5,
    )
    record = Record(kind="train", job="a/train", weights="w", training=training, provenance=Provenance(device="cpu"))
    folder = Store(tmp_path).folder(KEY)
    folder.finish(record)
    found = folder.record()
    assert found is not None
    assert (found.training, found.weights, found.key) == (training, "w", KEY)
    assert not found.diverged


def test_numbers_of_numpy_become_plain() -> None:
    interval = Interval(0.25, 0.75, 0.95, "wilson")
    number = Number(metric="accuracy", value=np.float32(0.5), n=np.int64(8), definition="d", interval=interval)  # type: ignore[arg-type]
    written = json.loads(json.dumps(Measured(numbers=(number,)).as_json()))["numbers"][0]
    assert (written["value"], written["n"]) == (0.5, 8)
    assert Number.from_json(written) == Number(metric="accuracy", value=0.5, n=8, definition="d", interval=interval)


def test_a_field_that_an_older_record_lacks_has_its_default() -> None:
    """Such as ``note`` of a number, ``read`` of an evaluation, and all of provenance."""
    number = {"metric": "accuracy", "argument": "", "value": 0.5, "n": 8, "definition": "d", "interval": None}
    record = Record.from_json({"schema": 1, "kind": "evaluate", "numbers": [number]})
    (found,) = record.measured.numbers
    assert (found.note, found.not_finite, found.verdict) == (None, 0, None)
    assert (record.measured.read, record.provenance.device, record.seconds) == ({}, "none", 0.0)


def test_a_field_that_is_not_known_here_is_no_obstacle(tmp_path: Path) -> None:
    """A later version may write more: it is read by nobody, and shown to who asks for the record whole."""
    folder = Store(tmp_path).folder(KEY)
    folder.finish(Record(kind="train", weights="w"))
    facts = {**(folder.record_json() or {}), "of_a_later_version": {"a": 1}}
    facts.pop(DIGEST)
    folder.file(RECORD).write_text(json.dumps({**facts, DIGEST: own_digest(facts)}))
    assert folder.damage() is None
    found, whole = folder.record(), folder.record_json()
    assert found is not None
    assert whole is not None
    assert found.weights == "w"
    assert whole["of_a_later_version"] == {"a": 1}


@pytest.mark.parametrize("facts", [{"kind": "train", "provenance": 3}, {"kind": "evaluate", "numbers": [{}]}])
def test_what_is_no_record_is_damage(tmp_path: Path, facts: dict[str, Any]) -> None:
    """Its digest is right, so somebody meant to write it, but nothing can be read from it."""
    folder = Store(tmp_path).folder(KEY)
    folder.path.mkdir(parents=True)
    whole = {"schema": 2, "key": KEY, "artefacts": {}, **facts}
    folder.file(RECORD).write_text(json.dumps({**whole, DIGEST: own_digest(whole)}))
    assert folder.record() is None
    assert "is no record that this version can read" in str(folder.damage())


def test_records_of_schema_1_vouch_for_their_weights_alone(tmp_path: Path) -> None:
    """Those of training are believed although they have no digest: what they cost is dear."""
    folder = Store(tmp_path).folder(KEY)
    folder.path.mkdir(parents=True)
    folder.file(RECORD).write_text(json.dumps({"schema": 1, "key": KEY, "kind": "train", "weights": "w"}))
    assert folder.artefacts() == {"weights.safetensors": "w"}
    folder.file(RECORD).write_text(json.dumps({"schema": 1, "key": KEY, "kind": "evaluate", "weights": "w"}))
    assert folder.record() is None
    assert "before records had digests" in str(folder.damage())


def test_checks_that_were_not_made_belong_to_a_verdict() -> None:
    robust = Number(metric="ce", value=0.5, n=8, definition="d", verdict="no warning")
    clean = Number(metric="clean", value=0.5, n=8, definition="d")
    by_metric = Measured(details={"not_measured": {"ce": ["FLAT"]}})
    assert by_metric.unmeasured(robust) == ("FLAT",)
    assert Measured(details={"not_measured": ["ITER"]}).unmeasured(robust) == ("ITER",)
    assert Measured().unmeasured(robust) == by_metric.unmeasured(clean) == ()
