"""What the documentation says is what the code does."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_models.centers import max_mahalanobis_centers

from bench.commands.schema import schema

ROOT = Path(__file__).parent.parent


def script(name: str) -> Any:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_protocol_page_is_made_from_the_schemas() -> None:
    written = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert written == script("make_protocol").protocol(), "run: python docs/make_protocol.py"


def test_the_reference_of_the_suite_file_is_made_from_the_schemas() -> None:
    written = (ROOT / "docs" / "suite-file.md").read_text(encoding="utf-8")
    assert written == script("make_suite_reference").reference(), "run: python docs/make_suite_reference.py"


def test_the_reference_has_every_key_of_the_schema() -> None:
    page = (ROOT / "docs" / "suite-file.md").read_text(encoding="utf-8")

    def keys(found: Any) -> Iterator[str]:
        if isinstance(found, dict):
            for name, value in found.get("properties", {}).items():
                if "properties" not in value:
                    yield name
                yield from keys(value)
            for part in ("items", "oneOf"):
                yield from keys(found.get(part))
        elif isinstance(found, list):
            for one in found:
                yield from keys(one)

    every = {name for kind in ("suite", "settings") for name in keys(schema(kind))}
    sections = {"suite", "data", "model", "evaluation", "table", "figure", "gate"}
    assert len(every) > 100
    assert {
        name for name in every - sections if not re.search(rf"^\| `([\w.-]+\.)?{name}` \|", page, re.MULTILINE)
    } == set()


@pytest.mark.parametrize(("classes", "told"), [(10, "0.006 for 10 classes"), (100, "0.010 for 100")])
def test_what_the_protocol_says_of_the_recursion_in_float32(classes: int, told: str) -> None:
    """Algorithm 2 as it is published, in float32 with torch and d = 640, against our centers."""
    centers = torch.zeros(classes, 640)
    centers[0, 0] = 1
    for i in range(1, classes):
        for j in range(i):
            centers[i, j] = -(1 / (classes - 1) + torch.dot(centers[i], centers[j])) / centers[j, j]
        centers[i, i] = torch.sqrt(torch.abs(1 - torch.norm(centers[i]) ** 2))
    difference = 10 * centers.double() - max_mahalanobis_centers(classes, 640)
    last = float(difference[classes - 1, classes - 1])
    page = " ".join((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").split())
    # Its last bits depend on the order in which a processor adds.
    assert last == pytest.approx(float(told.split()[0]), abs=1.5e-3)
    assert told in page
    difference[classes - 1, classes - 1] = 0
    assert float(difference.abs().max()) < 1e-5


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_one_version_and_one_date_everywhere() -> None:
    """pyproject.toml, the installed package, the newest release in the changelog, and what people cite."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert version == importlib.metadata.version("gmmc-bench")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", changes, re.MULTILINE)
    assert headings[0] == "Unreleased"
    newest, _, date = headings[1].partition(" - ")
    assert newest == version
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", cited, re.MULTILINE) == [version]
    assert re.findall(r"^date-released: (.*)$", cited, re.MULTILINE) == [date]


@pytest.mark.parametrize(
    "module",
    [*sorted((ROOT / "bench" / "metrics").glob("*.py")), *sorted((ROOT / "bench" / "scores").glob("*.py"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_public_functions_on_arrays_have_a_runnable_example(module: Path) -> None:
    functions = [
        node for node in ast.parse(module.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    ]
    public = [function for function in functions if not function.name.startswith("_")]
    assert [function.name for function in public if ">>> " not in (ast.get_docstring(function) or "")] == []


def test_every_decision_is_listed_and_linked_both_ways() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    for record in sorted(folder.glob("[0-9]*.md")):
        text = record.read_text(encoding="utf-8")
        assert f"[{record.name[:4]}]({record.name})" in listed
        assert f"](decisions/{record.name})" in pages
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert re.search(r"\]\(\.\./\w+\.md#", text)


def test_links_to_headings_lead_somewhere() -> None:
    for page in PAGES:
        for target, heading in re.findall(r"\]\((?!https?:)([^)#]+\.md)#([^)]+)\)", page.read_text(encoding="utf-8")):
            titles = re.findall(r"^#+ (.*)$", (page.parent / target).read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page.name} links to {target}#{heading}"


def test_every_data_set_is_on_its_page() -> None:
    from bench.data.catalogue import DATASETS
    from bench.data.downloads import DOWNLOADS

    sets, places = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("## Places")[::2]
    assert [spec.name for spec in DATASETS if f"`{spec.name}`" not in sets] == []
    assert [name for name in DOWNLOADS if f"`{name}`" not in places.partition("## Downloads")[0]] == []
