"""The published results: intact, and quoted as they are in the pages that read them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from bench.report.formats import FORMATS
from bench.report.publish import MANIFEST, read_published

FOLDER = Path(__file__).parents[1] / "docs" / "results"
PUBLISHED = sorted(path.parent for path in FOLDER.glob(f"*/{MANIFEST}"))
_QUOTED = re.compile(r"<!-- table: (\S+) (\S+) -->\n\n((?:\|.*\n)+)")


def test_there_are_some() -> None:
    assert {path.name for path in PUBLISHED} == {"digits", "fashion-mnist", "systems"}


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_files_are_as_they_were_published(folder: Path) -> None:
    facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(facts["files"]) == names - {MANIFEST}
    changed = [
        name for name, sha in facts["files"].items() if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha
    ]
    assert changed == []


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_they_are_of_shipped_suites_and_of_code_that_was_committed(folder: Path) -> None:
    facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert "edited" not in facts["provenance"]["commit of bench"]
    assert facts["suite"] == folder.name


def test_the_page_quotes_the_tables() -> None:
    quoted = _QUOTED.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    assert len(quoted) >= 4
    for name, table, lines in quoted:
        report = read_published(FOLDER / name).only_tables([table]).without_definitions()
        made = [line for line in FORMATS["markdown"](report).splitlines() if line.startswith("|")]
        assert lines.splitlines() == made, f"{name} {table}: bench table --from docs/results/{name} --id {table}"
