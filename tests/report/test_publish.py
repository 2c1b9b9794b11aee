"""Publications: written whole, read back equal, and never over anything else."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.errors import DamagedFileError, NothingSelectedError, RequestError
from bench.report import publish as publishing
from bench.report.formats import FORMATS
from bench.report.publish import MANIFEST, publish, read_published
from tests.cli.conftest import bench as command
from tests.conftest import planned

if TYPE_CHECKING:
    from bench.plan.jobs import Plan
    from tests.conftest import Project, Results


@pytest.fixture
def plan(project: Project, tiny: str, results: Results) -> Plan:
    """A plan with one number."""
    made = project.plan(tiny)
    correct = {"accuracy": np.arange(100) < 75}
    results.measure(made, planned(made, "softmax/digits/seed1/accuracy"), {"accuracy": 0.75}, correct=correct)
    return made


def test_what_is_written_is_read_back(project: Project, plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "published"
    page = publish(project.bench, plan, None, folder)
    assert page == folder / "index.html"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        *("index.html", "tables.md", "tables.tex", "tables.csv", "tables.json", MANIFEST, "suite/tiny.toml"),
        "records/softmax/digits/seed1/accuracy.json",
    } <= names
    facts = json.loads((folder / MANIFEST).read_text())
    assert set(facts["files"]) == names - {MANIFEST}
    for name, digest in facts["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    report = project.bench.report(plan)
    for render in FORMATS.values():
        assert render(read_published(folder)) == render(report)
    assert [path.name for path in folder.parent.iterdir()] == ["published"]  # no temporary folder is left


def test_without_the_store_and_its_suite(project: Project, plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(project.bench, plan, None, folder)
    shutil.rmtree(project.results)
    plan.suite.path.unlink()
    done = command("table", "--from", str(folder), "--format", "csv")
    assert done.exit_code == 0
    assert "0.75" in done.output


def test_a_publication_of_the_suite_is_replaced(project: Project, plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    publish(project.bench, plan, None, folder)
    (folder / "index.html").unlink()
    publish(project.bench, plan, None, folder)
    assert (folder / "index.html").is_file()
    (folder / "CNAME").write_text("example.org")
    with pytest.raises(RequestError, match="CNAME is no file of the publication"):
        publish(project.bench, plan, None, folder)
    assert (folder / "CNAME").is_file()
    assert [path.name for path in tmp_path.glob(".published*")] == []


def test_nothing_else_is_overwritten(project: Project, plan: Plan, tiny: str, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(RequestError, match="has files that are no publication"):
        publish(project.bench, plan, None, folder)
    (folder / "thesis.tex").unlink()
    publish(project.bench, plan, None, folder)
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"suite": "tiny"', '"suite": "other"'))
    with pytest.raises(RequestError, match="is a publication of other, not of tiny"):
        publish(project.bench, plan, None, folder)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RequestError, match="is a file"):
        publish(project.bench, plan, None, file)


def test_a_failure_leaves_what_was_there(
    project: Project, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "published"
    publish(project.bench, plan, None, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        publish(project.bench, plan, None, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.glob(".published*")] == []


def test_no_results(project: Project, tiny: str, tmp_path: Path) -> None:
    with pytest.raises(NothingSelectedError, match="no results to publish"):
        publish(project.bench, project.plan(tiny), None, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_damage_is_named(project: Project, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"is no publication: it has no publication.json"):
        read_published(tmp_path)
    folder = tmp_path / "published"
    publish(project.bench, plan, None, folder)
    tables = folder / "tables.json"
    whole = tables.read_text()
    tables.write_text(whole.replace("0.75", "0.99"))
    with pytest.raises(DamagedFileError, match="is not the file that was published"):
        read_published(folder)
    tables.unlink()
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_published(folder)
    for text in ("{", "[]", '{"schema": 2, "files": {}}'):
        (folder / MANIFEST).write_text(text)
        with pytest.raises(DamagedFileError, match=MANIFEST):
            read_published(folder)


def test_a_suite_beside_a_folder_is_a_mistake(project: Project, tiny: str, tmp_path: Path) -> None:
    done = command("table", "tiny", "--from", str(tmp_path))
    assert done.exit_code == 2
    assert "names the results already" in done.output
