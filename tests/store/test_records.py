"""Records: every schema is read, what is written is what was read, and what is no record is damage."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DamagedFileError
from bench.metrics.intervals import Interval
from bench.store import JobFolder, Measured, Number, Provenance, Record, Store, Training, checked
from bench.store.checked import DIGEST, own_digest
from bench.store.folder import CHECKED, RECORD

STORED = Path(__file__).parents[1] / "snapshot" / "stored.tar.xz"
KEY = "ab" * 20


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each record whose own digest was computed to check it."""
    found: list[int] = []

    def noted(record: Any) -> str:
        found.append(1)
        return own_digest(record)

    monkeypatch.setattr(checked, "own_digest", noted)
    return found


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
        assert own_digest(facts) == digest
        record = Record.from_json(facts)
        facts.pop("compiled", None)  # that version could compile training steps
        assert record.as_json() == facts
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
        cudnn="benchmark",
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


class TestSeals:
    """A record that was found right is known by its bytes; of the rest, no answer may differ."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> JobFolder:
        folder = Store(tmp_path).folder(KEY)
        numbers = tuple(
            Number(
                metric=metric, argument=argument, value=0.5, n=8, definition='d\n  },\n ],"metric": "b"', verdict="v"
            )
            for metric, argument in (("a", "1"), ("a", "2"), ('b"\n', ""), ("é", "ü"))
        )
        details = {"numbers": [1], "not_measured": {"a": ["FLAT"]}, "deep": {"metric": "a", "argument": "3"}}
        folder.finish(Record(kind="evaluate", weights="w", measured=Measured(numbers=numbers, details=details)))
        return folder

    def whole(self, folder: JobFolder) -> Record:
        return Record.from_json(json.loads(folder.file(RECORD).read_text(encoding="utf-8")))

    def test_numbers_and_details_are_read_when_somebody_asks(self, folder: JobFolder, digests: list[int]) -> None:
        found, whole = folder.record(), self.whole(folder)
        assert found is not None
        assert digests == []
        assert not {"numbers", "details"} & found.measured.__dict__.keys()
        for number in whole.measured.numbers:
            assert found.measured.number(number.metric, number.argument) == number
        for absent in (("a", "3"), ("b", ""), ("metric", "")):
            assert found.measured.number(*absent) is None
        assert "numbers" not in found.measured.__dict__
        assert found.measured.unmeasured(whole.measured.numbers[0]) == ("FLAT",)
        assert found == whole
        assert pickle.loads(pickle.dumps(folder.record())) == whole
        with pytest.raises(AttributeError, match="no attribute 'other'"):
            found.measured.other  # noqa: B018

    @pytest.mark.parametrize("value", [2**70, 1e-300, 0.00012345678901234567, "\ud800", "\u2028", [[[]]]])
    def test_values_on_which_parsers_differ_are_read_as_written(
        self, folder: JobFolder, value: Any, digests: list[int]
    ) -> None:
        facts = json.loads(folder.file(RECORD).read_text(encoding="utf-8"))
        facts["details"]["more"] = value
        facts = {**facts, DIGEST: own_digest(facts)}
        folder.file(RECORD).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        digests.clear()
        for _ in range(2):
            checked._LOOKS.clear()
            assert folder.damage() is None
            found = folder.record()
            assert found is not None
            more = found.measured.details["more"]
            assert (more, type(more)) == (value, type(value))
        if value not in (2**70, "\ud800"):  # which Python alone can read, so that they get no seal
            assert len(digests) == 1

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"record.json": 3}', b'{"record.json": ["a", "b"]}'])
    def test_without_a_seal_the_digest_is_checked(self, folder: JobFolder, content: bytes, digests: list[int]) -> None:
        folder.file(CHECKED).write_bytes(content)
        assert folder.damage() is None
        assert len(digests) == 1
        checked._LOOKS.clear()
        assert folder.damage() is None
        assert len(digests) == 1

    def test_a_seal_is_of_one_reader_and_of_no_other_bytes(
        self, folder: JobFolder, digests: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checked, "_reader", lambda: "of another version")
        assert folder.damage() is None
        assert len(digests) == 1
        path = folder.file(RECORD)
        times = path.stat()
        path.write_bytes(path.read_bytes().replace(b'"n": 8', b'"n": 9'))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert "another digest" in str(folder.damage())
        assert folder.record() is None

    def test_thorough_checks_believe_no_seal(self, folder: JobFolder, digests: list[int]) -> None:
        """A seal that somebody forged."""
        path = folder.file(RECORD)
        path.write_bytes(path.read_bytes().replace(b'"n": 8', b'"n": 9'))
        seal = [hashlib.sha256(path.read_bytes()).hexdigest(), checked._reader()]
        folder.file(CHECKED).write_text(json.dumps({RECORD: seal}))
        assert "another digest" in str(folder.damage(thorough=True))

    @pytest.mark.parametrize("how", ["replaced", "gone"])
    def test_numbers_of_another_record_are_not_taken_for_its_own(self, folder: JobFolder, how: str) -> None:
        found = folder.record()
        assert found is not None
        if how == "replaced":
            folder.finish(Record(kind="evaluate", weights="w"))
        else:
            folder.file(RECORD).unlink()
        with pytest.raises(DamagedFileError, match=r"was replaced while it was read|cannot be read"):
            found.measured.numbers  # noqa: B018
        with pytest.raises(DamagedFileError):
            found.measured.number("a", "1")

    def test_a_record_with_nan_is_damage(self, folder: JobFolder) -> None:
        path = folder.file(RECORD)
        path.write_bytes(path.read_bytes().replace(b'"value": 0.5', b'"value": NaN'))
        assert "another digest" in str(folder.damage())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=20)), max_size=4),
    st.dictionaries(st.text(max_size=9), st.recursive(st.none() | st.text(), st.lists), max_size=4),
)
def test_any_text_in_a_record_is_read_as_it_was_written(numbers: list[tuple[str, str, str]], details: Any) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Store(Path(temporary)).folder(KEY)
        made = tuple(Number(metric=m, argument=a, value=None, n=0, definition=d) for m, a, d in numbers)
        folder.finish(Record(kind="evaluate", measured=Measured(numbers=made, details=details)))
        found = folder.record()
        assert found is not None
        for number in reversed(made):
            first = next(one for one in made if (one.metric, one.argument) == (number.metric, number.argument))
            assert found.measured.number(number.metric, number.argument) == first
        assert (found.measured.numbers, found.measured.details) == (made, details)
