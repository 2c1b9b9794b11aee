"""What no change of the code's shape may change: keys, costs, columns and tables of the shipped suites.

The expectations lie in ``tests/snapshot``: ``plans.json`` has ids, keys and costs of all jobs; ``expected.tar.xz`` has
every number that a suite can give, with its definition, and what each format makes of the run in ``stored.tar.xz``,
whose weights were left out. A key that changes throws away what people have trained and measured. Where that is meant,
``python tests/test_snapshot.py`` writes the expectations again; the commit says why.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
import json
import re
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.api import Bench
from bench.report.formats import FORMATS
from bench.suite.settings import load_settings

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "snapshot"
SUITES = sorted(path.stem for path in (ROOT / "suites").glob("*.toml"))
PROFILES = [None, *sorted(path.stem for path in (ROOT / "suites" / "profiles").glob("*.toml"))]
RENDERED = ("digits", "masking", "robustness", "table10")
"""Suites whose smoke run is stored."""


def bench_in(folder: Path) -> Bench:
    """The harness with the shipped suites, and nothing but a stored run."""
    settings = dataclasses.replace(load_settings(ROOT), data=folder / "data", weights=folder / "weights")
    return Bench(dataclasses.replace(settings, results=folder / "results"))


def title(suite: str, profile: str | None) -> str:
    return suite if profile is None else f"{suite}@{profile}"


def plans(bench: Bench) -> dict[str, dict[str, list[Any]]]:
    """By suite, by job: its key and its cost in network passes."""
    return {
        title(suite, profile): {
            f"{job.id}": [job.key, round(job.passes)] for job in bench.plan(suite, profile=profile).jobs
        }
        for suite in SUITES
        for profile in PROFILES
    }


def columns(bench: Bench) -> dict[str, dict[str, Any]]:
    """By suite, by column: what the table prints of it."""
    found: dict[str, dict[str, Any]] = {}
    for suite in SUITES:
        for profile in PROFILES:
            rows = found.setdefault(title(suite, profile), {})
            for evaluation in bench.suite(suite, profile).evaluations:
                for column in evaluation.evaluation.columns(evaluation.config):
                    name = f"{evaluation.id}.{column.metric}{'@' if column.argument else ''}{column.argument}"
                    rows[name] = {k: v for k, v in dataclasses.asdict(column).items() if v not in (None, "", (), False)}
    return json.loads(json.dumps(found))


class Tokens(HTMLParser):
    """An HTML page as its tags and texts: pictures, styles and spaces between lines do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        shown = [(name, re.sub(r"^(data:image/\w+).*", r"\1", value or "")) for name, value in attrs]
        self.found.append(f"<{tag}{''.join(f' {name}={value!r}' for name, value in shown)}>")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False
        self.found.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and not self._in_style:
            self.found.append(text)


def written(name: str, text: str) -> str:
    """The text of a format as it is compared."""
    if name != "html":
        return text
    page = Tokens()
    page.feed(text)
    return "\n".join(page.found) + "\n"


def tables(bench: Bench, suite: str) -> dict[str, str]:
    """What every format makes of a suite's stored run."""
    report = bench.tables(suite, profile="smoke")
    return {name: written(name, render(report)) for name, render in FORMATS.items()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(FOLDER / "stored.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return bench_in(folder)


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """By file of the archive its text."""
    found = {}
    with tarfile.open(FOLDER / "expected.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            found[member.name] = file.read().decode()
    return found


@pytest.mark.parametrize("name", [title(suite, profile) for suite in SUITES for profile in PROFILES])
def test_keys_and_costs_of_all_jobs_are_those_of_before(bench: Bench, name: str) -> None:
    suite, _, profile = name.partition("@")
    jobs = bench.plan(suite, profile=profile or None).jobs
    expected = json.loads((FOLDER / "plans.json").read_text())[name]
    assert {job.id: [job.key, round(job.passes)] for job in jobs} == expected


def test_columns_and_definitions_are_those_of_before(bench: Bench, expected: dict[str, str]) -> None:
    assert columns(bench) == json.loads(expected["columns.json"])


@pytest.mark.parametrize("suite", RENDERED)
def test_tables_of_a_stored_run_are_those_of_before(bench: Bench, expected: dict[str, str], suite: str) -> None:
    for name, text in tables(bench, suite).items():
        before = expected[f"tables/{suite}.{name}"]
        difference = difflib.unified_diff(before.splitlines(), text.splitlines(), "before", "now", lineterm="", n=1)
        assert text == before, "\n".join(difference)


def main() -> None:
    """Write the expectations again."""
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with tarfile.open(FOLDER / "stored.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        found = bench_in(folder)
        (FOLDER / "plans.json").write_text(json.dumps(plans(found), indent=0) + "\n", encoding="utf-8")
        files = {"columns.json": json.dumps(columns(found))}
        for suite in RENDERED:
            files |= {f"tables/{suite}.{name}": text for name, text in tables(found, suite).items()}
    with tarfile.open(FOLDER / "expected.tar.xz", "w:xz") as archive:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


if __name__ == "__main__":
    main()
