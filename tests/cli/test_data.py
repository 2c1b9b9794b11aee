"""``bench data``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bench.cli.main import cli
from bench.commands import data as command
from bench.data.downloads import DOWNLOADS, Download
from bench.data.published import PublishedFiles
from bench.data.registry import DATASETS
from bench.evaluate import inception
from tests.cli.conftest import bench, loaded, ok

if TYPE_CHECKING:
    from tests.conftest import Project

CONTENT = b"published"
FILES = PublishedFiles({"tiny.bin": hashlib.md5(CONTENT).hexdigest()}, "put tiny.bin into {root}")


@pytest.fixture
def fetched(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """A published set of one tiny file; the list has the folders into which it was downloaded."""
    spec = replace(
        DATASETS.get("svhn"),
        name="tiny",
        find=FILES.find,
        checksums=FILES.checksums,
        fingerprint=FILES.fingerprint,
    )
    monkeypatch.setattr("bench.data.catalogue.DATASETS", (spec, DATASETS.get("digits")))
    DATASETS.reset()
    calls: list[Path] = []

    def fetch(stage: Path) -> None:
        calls.append(stage)
        (stage / "tiny.bin").write_bytes(CONTENT)

    monkeypatch.setitem(
        DOWNLOADS, "tiny", Download("tiny", 2_000_000, "https://example.org/tiny", fetch, ("tiny.bin",))
    )
    yield calls
    DATASETS.reset()


def root(project: Project) -> Path:
    return project.bench.settings.data


def test_the_list_says_what_is_here_and_where_the_rest_comes_from(project: Project, fetched: list[Path]) -> None:
    text = ok("data", "list")
    assert f"missing: tiny.bin not found below {root(project)}; put tiny.bin into {root(project)}" in text
    assert "or: bench data get tiny\n  73,257 train, 26,032 test; 2 MB to download\n" in text
    assert "licence: non-commercial use only" in text
    assert "source: Y. Netzer et al." in text
    facts = loaded("data", "list", "--json")
    assert [entry["name"] for entry in facts["entries"]] == ["digits", "tiny", "inception"]
    digits, tiny, _ = facts["entries"]
    assert (digits["found"], digits["download"], digits["files"]) == (True, None, [])
    assert (tiny["found"], tiny["download"], tiny["sizes"]) == (False, 2_000_000, {"train": 73_257, "test": 26_032})
    assert fetched == []


def test_nothing_is_downloaded_unless_a_person_agrees(
    project: Project, fetched: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = bench("data", "get", "tiny")
    assert result.exit_code == 2
    assert "without a terminal, agree by --yes" in result.stderr
    monkeypatch.setattr("bench.cli.data.is_terminal", lambda _: True)
    for answer in ("n\n", "\n"):
        result = CliRunner().invoke(cli, ["data", "get", "tiny"], input=answer)
        assert result.exit_code == 1
        for shown in ("size: 2 MB, into ", "licence: non-commercial use only", "https://example.org/tiny", "[y/N]"):
            assert shown in result.output
        assert "tiny was not downloaded" in result.output
    assert fetched == []
    assert not root(project).exists()
    result = CliRunner().invoke(cli, ["data", "get", "tiny"], input="y\n")
    assert result.exit_code == 0
    assert (root(project) / "tiny.bin").read_bytes() == CONTENT


def test_what_is_there_is_not_downloaded_again_and_what_is_damaged_is(project: Project, fetched: list[Path]) -> None:
    assert "tiny is downloaded and verified" in ok("data", "get", "tiny", "--yes")
    assert ok("data", "get", "tiny", "--yes") == "tiny is there and verified\n"
    assert ok("data", "verify", "tiny") == "tiny  found, verified\n"
    assert f"found, verified: {root(project)}" in ok("data", "list")
    assert "found, verified" in loaded("doctor", "--json")["data sets"]["tiny"]
    (root(project) / "tiny.bin").write_bytes(b"damaged")
    result = bench("data", "verify")
    assert result.exit_code == 5
    assert "tiny  found, but damaged: " in result.stdout
    assert "has MD5" in result.stdout
    ok("data", "get", "tiny", "--yes")
    assert len(fetched) == 2
    assert ok("data", "verify") == "tiny  found, verified\n"


def test_verify_without_files(project: Project, fetched: list[Path]) -> None:
    assert ok("data", "verify").startswith("no file with a published checksum is here")
    assert not project.results.exists()
    result = bench("data", "verify", "tiny", "digits")
    assert result.exit_code == 5
    assert "tiny    missing: tiny.bin not found" in result.stdout
    assert "digits  found\n" in result.stdout


def test_unknown_names_and_sets_without_a_download(project: Project) -> None:
    for action in ("get", "verify"):
        result = bench("data", action, "cifr10")
        assert result.exit_code == 2
        assert "unknown data set 'cifr10'; did you mean 'cifar10'?" in result.stderr
    result = bench("data", "get", "digits", "--yes")
    assert result.exit_code == 2
    assert "data set 'digits' needs no download; bench downloads cifar10, " in result.stderr


def test_inception_goes_into_the_weights_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"weights"
    prefix = hashlib.sha256(content).hexdigest()[:8]
    monkeypatch.setattr(inception, "SHA256_PREFIX", prefix)
    monkeypatch.setattr(command, "SHA256_PREFIX", prefix)
    monkeypatch.setattr(command, "fetch_file", lambda _url, stage, name: (stage / name).write_bytes(content))
    monkeypatch.setattr(command, "_INCEPTION", replace(command._INCEPTION, size=1_000))
    assert "inception  missing: put pt_inception" in bench("data", "verify", "inception").stdout
    ok("data", "get", "inception", "--yes")
    assert (project.bench.settings.weights / inception.FILE).read_bytes() == content
    path = project.bench.settings.weights / inception.FILE
    assert ok("data", "verify", "inception") == f"inception  found: {path}, verified\n"
    monkeypatch.setattr(command, "SHA256_PREFIX", "0" * 8)
    (project.bench.settings.weights / inception.FILE).unlink()
    result = bench("data", "get", "inception", "--yes")
    assert result.exit_code == 5
    assert "expected to begin with 00000000" in result.stderr
    assert not (project.bench.settings.weights / inception.FILE).exists()


def test_a_set_that_cannot_say_whether_it_is_there_costs_no_list(
    project: Project, fetched: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(root: Path) -> None:
        raise RuntimeError("no")

    broken = replace(DATASETS.get("tiny"), name="broken", find=fails)
    monkeypatch.setattr("bench.data.catalogue.DATASETS", (broken, DATASETS.get("digits")))
    DATASETS.reset()
    assert "missing: data set 'broken': find(root) raises RuntimeError: no" in ok("data", "list")
    assert loaded("doctor", "--json")["data sets"]["digits"] == "found"


@pytest.mark.parametrize("kind", ["a file", "not writable"])
def test_a_data_root_that_cannot_be_written(project: Project, fetched: list[Path], kind: str) -> None:
    place = root(project)
    place.parent.mkdir(parents=True)
    place.write_text("a file") if kind == "a file" else place.mkdir(mode=0o500)
    if kind == "not writable" and os.access(place, os.W_OK):
        pytest.skip("this user may write everywhere")
    result = bench("data", "get", "tiny", "--yes")
    assert result.exit_code == 5
    assert str(place) in result.stderr
    assert fetched == []
