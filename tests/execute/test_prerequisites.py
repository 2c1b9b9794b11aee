"""What a run needs is verified once, before anything runs; what is damaged stops it with one message."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli.main import cli
from bench.data import fashion_mnist
from bench.data.registry import DATASETS
from bench.errors import PrerequisiteError
from bench.evaluate.inception import FILE as INCEPTION
from bench.evaluate.inception import SHA256_PREFIX
from bench.execute import prerequisites
from bench.execute.prerequisites import Needed, Verified, needed, require
from bench.files.checksums import Checksum

SUITE = """\
[suite]
name = "far"

[data]
dataset = "digits"

[[model]]
family   = "softmax"
backbone = "wrn-10-1"
epochs   = 1

[[evaluation]]
kind = "ood"
sets = ["fashion-mnist", "uniform"]

[[evaluation]]
kind = "accuracy"

[[table]]
id      = "main"
columns = ["accuracy"]
"""

CONTENTS = {name: name.encode() * 9 for name in fashion_mnist.SHA256}
PACKED = [f"{name}.gz" for name in CONTENTS]


@pytest.fixture
def files(project: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins of the four files of Fashion-MNIST, with their checksums in place of the published ones."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    DATASETS.get("fashion-mnist")  # its identity, which other tests of this process read, has the published checksums
    monkeypatch.setattr(fashion_mnist, "SHA256", sums)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", project.root / "absent")  # the machine may have the package
    folder: Path = project.bench.settings.data / "fashion-mnist"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    found: list[str] = []
    read = Checksum.read

    def counted(file: Checksum) -> bytes:
        found.append(file.path.name)
        return read(file)

    monkeypatch.setattr(Checksum, "read", counted)
    return found


def test_a_damaged_file_stops_a_run_with_one_message(project: Any, files: Path) -> None:
    path = files / "t10k-labels-idx1-ubyte"
    path.write_bytes(b"damaged")
    suite = project.suite(SUITE, "far")
    result = CliRunner().invoke(cli, ["run", str(suite)])
    assert result.exit_code == 5, result.output
    found, expected = hashlib.sha256(b"damaged").hexdigest(), fashion_mnist.SHA256[path.name]
    assert f"{path} has SHA-256 {found}, expected {expected} (data set 'fashion-mnist')" in result.stderr
    assert result.stderr.count("expected") == 1
    assert list(project.bench.store.folders()) == []


def test_jobs_that_do_not_read_it_run_and_absent_files_stay_n_a(project: Any, files: Path) -> None:
    suite = project.suite(SUITE, "far")
    (files / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    plan = project.bench.plan(suite, only=["*/accuracy"])
    require(needed(plan.jobs, project.bench.settings.data, project.root), project.bench.verified)
    (files / "t10k-labels-idx1-ubyte").unlink()
    plan = project.bench.plan(suite)
    todo = [job for job in plan.jobs if not job.blocked]
    require(needed(todo, project.bench.settings.data, project.root), project.bench.verified)
    blocked = {job.id.rpartition("/")[2] for job in plan.jobs if job.blocked}
    assert blocked == {"fashion-mnist", "fashion-mnist.gradient"}  # the other sets are measured


def test_nothing_is_verified_where_nothing_has_to_run(project: Any, results: Any, files: Path) -> None:
    plan = project.bench.plan(project.suite(SUITE, "far"))
    for job in plan.jobs:
        results.finish(job, numbers=[])
    (files / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    assert project.bench.run(plan.suite.path, in_process=True).exit_code() == 0


def test_files_are_read_once_and_again_when_they_change(
    project: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = project.bench.plan(project.suite(SUITE, "far"))
    todo = needed(plan.jobs, project.bench.settings.data, project.root)
    assert sorted(one.file.path.name for one in todo) == sorted(CONTENTS)
    found = reads(monkeypatch)
    require(todo, project.bench.verified)
    assert sorted(found) == sorted(CONTENTS)
    require(todo, project.bench.verified)
    assert len(found) == 4
    path = files / "train-labels-idx1-ubyte"
    path.write_bytes(CONTENTS[path.name])
    require(todo, project.bench.verified)
    assert found[4:] == [path.name]
    path.write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(PrerequisiteError, match=f"{path} has SHA-256"):
            require(todo, project.bench.verified)
    assert found[5:] == [path.name] * 2
    path.write_bytes(CONTENTS[path.name])
    require(todo, project.bench.verified)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"files": 3}', b"[" * 100_000, b'{"files": {"a": 1}}'])
def test_a_damaged_memory_only_costs_time(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / prerequisites.FILE).write_bytes(content)
    (tmp_path / "data").write_bytes(b"data")
    file = Checksum(tmp_path / "data", hashlib.sha256(b"data").hexdigest())
    found = reads(monkeypatch)
    for _ in range(2):
        require([Needed(file, "a test")], Verified(tmp_path / prerequisites.FILE))
    assert found == ["data"]


def test_doctor_says_what_is_known_and_verifies_when_asked(
    project: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doctor(*options: str) -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(cli, ["doctor", "--json", *options])
        return result.exit_code, json.loads(result.stdout)

    unknown = "found, not verified: bench data verify reads it"
    code, facts = doctor()
    assert (code, facts["data sets"]["fashion-mnist"]) == (0, unknown)
    code, facts = doctor("--verify")
    assert (code, facts["data sets"]["fashion-mnist"]) == (0, "found, verified")
    found = reads(monkeypatch)
    assert doctor()[1]["data sets"]["fashion-mnist"] == "found, verified"
    assert found == []
    inception = project.bench.settings.weights / INCEPTION
    inception.parent.mkdir(parents=True, exist_ok=True)
    inception.write_bytes(b"no network")
    (files / "t10k-images-idx3-ubyte").write_bytes(b"damaged")
    assert doctor()[1]["data sets"]["fashion-mnist"] == unknown
    code, facts = doctor("--verify")
    assert code == 5
    assert facts["data sets"]["fashion-mnist"].startswith(f"found, but damaged: {files / 't10k-images-idx3-ubyte'} has")
    network = facts["weights"]["Inception (FID, IS)"]
    assert network.startswith(f"found: {inception}, but damaged: ")
    assert network.endswith(f"expected to begin with {SHA256_PREFIX}")


def test_a_damaged_inception_stops_a_run(project: Any) -> None:
    inception = project.bench.settings.weights / INCEPTION
    inception.parent.mkdir(parents=True, exist_ok=True)
    inception.write_bytes(b"no network")
    text = project.suite().read_text() + '\n[[evaluation]]\nkind = "fid"\n'
    result = CliRunner().invoke(cli, ["run", str(project.suite(text))])
    assert result.exit_code == 5, result.output
    assert f"{inception} has SHA-256" in result.stderr
    assert f"expected to begin with {SHA256_PREFIX} (evaluation 'fid')" in result.stderr
