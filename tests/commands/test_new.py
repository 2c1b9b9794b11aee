"""``bench new``: what it writes is a plug-in that keeps its contract and whose suite has no mistake."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import cli
from bench.commands.new import ATTRIBUTES, write_skeleton
from bench.commands.parameters import parse_parameters
from bench.errors import RequestError
from bench.keys import canonical

if TYPE_CHECKING:
    from tests.conftest import Project


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.fixture
def importable(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's folder on the path, as ``PYTHONPATH=.`` puts it there."""
    monkeypatch.syspath_prepend(str(project.root))
    importlib.invalidate_caches()
    yield project.root
    for name in [name for name in sys.modules if name.partition(".")[0] == "our_idea"]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_skeleton_keeps_its_contract_and_its_suite_has_no_mistake(importable: Path, kind: str) -> None:
    made = bench("new", kind, "our-idea")
    assert made.exit_code == 0, made.output
    assert f"PYTHONPATH=. bench check-plugin our_idea:{ATTRIBUTES[kind]}" in made.stdout
    text = "".join(path.read_text() for path in importable.rglob("*") if path.suffix in (".py", ".toml"))
    assert "skeleton" not in text.lower()
    importlib.invalidate_caches()
    checked = bench("check-plugin", f"our_idea:{ATTRIBUTES[kind]}")
    assert checked.exit_code == 0, checked.output
    assert "FAIL" not in checked.stdout
    suite = bench("check", "our-idea.toml")
    assert suite.exit_code == 0, suite.output
    assert "our-idea.toml: ok" in suite.stdout


def test_nothing_is_overwritten(project: Project) -> None:
    write_skeleton("family", "our-idea", project.root)
    before = {path: path.read_text() for path in project.root.rglob("*.py")}
    with pytest.raises(RequestError, match="nothing was written: take another name"):
        write_skeleton("evaluation", "our_idea", project.root)
    assert {path: path.read_text() for path in project.root.rglob("*.py")} == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MyFamily", "did you mean 'my-family'"),
        ("../x", "is no name of a plug-in"),
        ("class", "a name of Python itself"),
        ("json", "a name of Python itself"),
        ("numpy", "a module 'numpy' is installed"),
        ("a" * 61, "at most 60 characters"),
    ],
)
def test_names_that_cannot_be_used(project: Project, name: str, said: str) -> None:
    result = bench("new", "family", name)
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(project.root.iterdir()) == [project.root / "bench.toml"]


@pytest.mark.parametrize(("kind", "name"), [("family", "softmax"), ("attack", "pgd"), ("dataset", "digits")])
def test_a_name_that_is_taken(project: Project, kind: str, name: str) -> None:
    """The suite of a skeleton with the name of a family of bench had two models of one name."""
    with pytest.raises(RequestError, match=f"there is a plug-in '{name}' of this kind already"):
        write_skeleton(kind, name, project.root)
    assert not list(project.root.glob("*.py"))


def test_parameters_are_toml_or_text() -> None:
    found = parse_parameters(["sampler.steps=5", "sampler.mode=staged", 'eps=["8/255"]', "x = 1e-3"])
    assert canonical(found) == canonical({"sampler": {"steps": 5, "mode": "staged"}, "eps": ["8/255"], "x": 1e-3})
    for wrong in ("steps", "=5", "a..b=1"):
        with pytest.raises(RequestError, match="expected KEY=VALUE"):
            parse_parameters([wrong])
