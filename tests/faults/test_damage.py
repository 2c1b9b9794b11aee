"""Damage of every kind of stored file: it is found, named, costs its own job alone, and the next run mends it."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.report.files import write_report
from bench.report.formats import FORMATS
from tests.faults.conftest import Small

GEN, SOFTMAX = "gmmc-gen/digits/seed1", "softmax/digits/seed1"
OF_RESULTS = [
    (f"{GEN}/train", "record.json"),
    (f"{GEN}/train", "weights.safetensors"),
    (f"{GEN}/train", "state.safetensors"),
    (f"{GEN}/train", "history.json"),
    (f"{GEN}/predict/test", "outputs.npz"),
    (f"{GEN}/predict/test", "record.json"),
    (f"{SOFTMAX}/accuracy", "items.npz"),
    (f"{SOFTMAX}/accuracy", "record.json"),
    (f"{GEN}/pgd-2@25/255", "items.npz"),
    (f"{GEN}/pgd-2@25/255", "adversarials.npz"),
    (f"{GEN}/generation", "samples.png"),
    ("judge/digits/train", "weights.safetensors"),
]
BESIDE = ["job.json", "log.txt", "lock", "checked.json", "progress.json", "error.json"]
"""Files of a job that are no part of its result."""


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x5A
    path.write_bytes(content)


def look(small: Small) -> None:
    """Everything that only reads: none of it may raise."""
    plan = small.bench.plan(small.suite, profile="tiny")
    report = small.bench.report(plan)
    assert all(render(report) for render in FORMATS.values())
    assert all(path.is_file() for path in write_report(small.bench, plan, report, "tiny"))
    small.bench.results()


def mended(small: Small, finished: Small, *jobs: str) -> None:
    """The next run makes these jobs again and no other; then all is as it was."""
    assert [job.id for job in small.run().summary.ran] == list(jobs)
    assert small.numbers() == finished.numbers()
    assert set(small.states(thorough=True).values()) == {"done", "n/a"}


@pytest.mark.parametrize("how", ["middle", "last", "cut", "empty", "gone", "folder"])
@pytest.mark.parametrize(("job", "name"), OF_RESULTS)
def test_damage_of_a_result_is_named_and_mended(copy: Small, finished: Small, job: str, name: str, how: str) -> None:
    path = copy.folder(job).file(name)
    size = path.stat().st_size
    if how == "middle":
        flip(path, size // 2)
    elif how == "last":
        flip(path, size - 2)
    elif how in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: size // 2 if how == "cut" else 0])
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
    state = copy.states()[job]
    if name == "record.json" and how == "gone":
        assert state == "pending"
    else:
        assert state == "damaged"
        assert str(path) in copy.reason(job)
    assert [name for name, at in copy.states().items() if at not in ("done", "n/a")] == [job]
    look(copy)
    if how in ("middle", "gone"):  # the others are mended in the same way: a run of each would take long
        if state == "pending" and "/predict/" in job:
            assert copy.run().summary.ran == []  # predictions that nothing has to read again
        else:
            mended(copy, finished, job)


def test_a_flip_that_no_date_shows_is_found_by_verify(copy: Small, finished: Small) -> None:
    job = f"{SOFTMAX}/accuracy"
    folder = copy.folder(job)
    flip(folder.file("items.npz"), 100)
    # As if nothing had been written: the marks of the last look are those of now.
    marks = json.loads(folder.file("checked.json").read_text())
    found = folder.file("items.npz").stat()
    marks["items.npz"] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    folder.file("checked.json").write_text(json.dumps(marks))
    assert copy.states()[job] == "done"
    assert copy.states(thorough=True)[job] == "damaged"
    answer = copy.command("status", "small", "--profile", "tiny", "--verify")
    assert f"damaged   {job}" in answer.stdout
    assert "items.npz" in answer.stdout
    mended_by = copy.run(only=[job])
    assert mended_by.exit_code() == 0


def test_hidden_damage_of_an_input_is_found_when_it_is_read(copy: Small, finished: Small) -> None:
    """A job that reads it fails for a moment; the input is made again, and then the job, in the same run."""
    for job, name, reader in (
        (f"{SOFTMAX}/predict/test", "outputs.npz", f"{SOFTMAX}/accuracy"),
        (f"{GEN}/train", "weights.safetensors", f"{GEN}/pgd-2@25/255"),
        ("judge/digits/train", "weights.safetensors", f"{GEN}/generation"),
    ):
        folder = copy.folder(job)
        flip(folder.file(name), 2000)
        found = folder.file(name).stat()
        marks = json.loads(folder.file("checked.json").read_text())
        marks[name] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
        folder.file("checked.json").write_text(json.dumps(marks))
        assert copy.states()[job] == "done"
        outcome = copy.run(force=[reader])
        assert outcome.exit_code() == 0
        assert [ran.id for ran in outcome.summary.ran] == [job, reader]
    assert copy.numbers() == finished.numbers()


def test_an_edited_number_is_found(copy: Small, finished: Small) -> None:
    job = f"{SOFTMAX}/accuracy"
    path = copy.folder(job).file("record.json")
    record = json.loads(path.read_text())
    record["numbers"][0]["value"] = 0.999
    path.write_text(json.dumps(record))
    assert copy.states()[job] == "damaged"
    assert "does not have the content that was written" in copy.reason(job)
    look(copy)
    assert 0.999 not in [cell[1] for table in copy.numbers() for cell in table]
    mended(copy, finished, job)


def test_valid_files_of_another_job_are_found(copy: Small, finished: Small) -> None:
    one, other = copy.folder(f"{GEN}/accuracy"), copy.folder(f"{SOFTMAX}/accuracy")
    shutil.copy(other.file("items.npz"), one.file("items.npz"))
    assert copy.states()[f"{GEN}/accuracy"] == "damaged"
    for path in other.path.iterdir():
        shutil.copy(path, one.path / path.name)
    assert copy.states()[f"{GEN}/accuracy"] == "damaged"
    assert "is the record of another job" in copy.reason(f"{GEN}/accuracy")
    mended(copy, finished, f"{GEN}/accuracy")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[1]", b'{"key": 1}', b"[" * 20_000, b'{"a": ' + b"9" * 9_000])
def test_records_that_are_no_records(copy: Small, finished: Small, content: bytes) -> None:
    job = f"{SOFTMAX}/calibration"
    copy.folder(job).file("record.json").write_bytes(content)
    assert copy.states()[job] == "damaged"
    look(copy)
    mended(copy, finished, job)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"{}", b'{"type": 3}', b"[" * 20_000])
@pytest.mark.parametrize("name", BESIDE)
def test_damage_beside_a_result_costs_nothing(copy: Small, finished: Small, name: str, content: bytes | None) -> None:
    for job in finished.states():
        folder = copy.folder(job)
        if not folder.path.is_dir():
            continue
        folder.file(name).unlink(missing_ok=True)
        if content is not None:
            folder.file(name).write_bytes(content)
    look(copy)
    mended(copy, finished)


def test_without_the_descriptions_of_jobs_every_job_can_run_again(copy: Small, finished: Small) -> None:
    for path in copy.store.glob("*/*/job.json"):
        path.unlink()
    assert copy.run(force=[f"{GEN}/generation", f"{SOFTMAX}/pgd*"]).exit_code() == 0
    assert copy.numbers() == finished.numbers()


def test_failures_that_cannot_be_read_are_failures_of_nobody(copy: Small) -> None:
    job = f"{SOFTMAX}/accuracy"
    folder = copy.folder(job)
    folder.file("record.json").unlink()
    folder.file("error.json").write_bytes(b"\xff")
    look(copy)
    assert copy.states()[job] == "pending"


def test_strangers_in_the_store(copy: Small, finished: Small) -> None:
    (copy.store / "zz").mkdir()
    (copy.store / "zz" / "notes.txt").write_text("mine")
    (copy.store / "README").write_text("mine")
    (copy.store / "zz" / "empty").mkdir()
    look(copy)
    assert copy.command("doctor").returncode == 0
    assert copy.command("clean").returncode == 0
    mended(copy, finished)
    assert (copy.store / "zz" / "notes.txt").read_text() == "mine"


def test_random_bytes_anywhere(copy: Small, finished: Small) -> None:
    """Forty files at once, one byte each."""
    random.seed(7)
    paths = sorted(path for path in copy.store.rglob("*") if path.is_file() and path.stat().st_size)
    for path in random.sample(paths, 40):
        flip(path, random.randrange(path.stat().st_size))
    look(copy)
    assert copy.run().exit_code() == 0
    assert copy.numbers() == finished.numbers()
    assert set(copy.states(thorough=True).values()) == {"done", "n/a"}


@pytest.mark.slow
@pytest.mark.parametrize(("job", "name"), [*OF_RESULTS, *((f"{SOFTMAX}/accuracy", name) for name in BESIDE)])
def test_every_byte_of_one_file_of_each_kind(copy: Small, finished: Small, job: str, name: str) -> None:
    path = copy.folder(job).file(name)
    if not path.exists():
        path.write_text('{"type": "ValueError", "message": "no"}')
    whole = path.read_bytes()
    step = max(1, len(whole) // 20_000)  # weights have 300 kB of which all are alike
    for place in range(0, len(whole), step):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            state = copy.states()[job]
        except BenchError as error:
            pytest.fail(f"byte {place}: {error}")
        assert state == ("damaged" if name not in BESIDE else "done"), f"byte {place}"
    look(copy)
