"""The packages in examples/: installed as a stranger would install them, listed, checked and run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from bench.cli.main import cli

if TYPE_CHECKING:
    from tests.conftest import Project, Site

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))
SUITES = {path.stem: path for path in sorted(EXAMPLES.glob("*/*.toml")) if path.stem != "pyproject"}


def missing(folder: Path) -> list[str]:
    """The libraries that an example needs beside bench and that are not installed here."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = [re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]]  # type: ignore[index]
    return [name for name in needs if name != "gmmc-bench" and importlib.util.find_spec(name) is None]


def with_library(suites: Iterable[str]) -> list[Any]:
    """Suites as parameters, skipped where the library of the example is not installed."""
    gone = {name: " ".join(missing(SUITES[name].parent)) for name in suites}
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(need), reason=f"pip install {need}"))
        for name, need in gone.items()
    ]


CAPS = """\
[profile]
name = "caps"

[caps]
train  = 96
items  = 16
epochs = 1
"""
TOGETHER = """\
[suite]
name = "together"

[data]
dataset = "digits"

[[model]]
family       = "smoothed-softmax"
backbone     = "cnn-8"
epochs       = 1
warmup       = 0
decay_epochs = []

[[evaluation]]
kind   = "noise"
sigmas = [0.1]

[[evaluation]]
kind   = "attack"
id     = "mi"
attack = "momentum"
eps    = ["8/255"]

[[evaluation]]
kind   = "ood"
sets   = ["uniform", "bars"]
scores = ["entropy"]

[[table]]
id      = "main"
columns = ["noise@0.1", "mi@8/255", "ood.entropy.auroc@uniform", "ood.entropy.auroc@bars"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples in one folder, installed without a network. Building writes beside the sources: from copies."""
    folder = tmp_path_factory.mktemp("examples")
    sources = [shutil.copytree(EXAMPLES / name, folder / name) for name in NAMES]
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", folder / "site"]
    command = [sys.executable, "-m", "pip", "install", *options, *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def with_examples(project: Project, site: Site, installed: Path) -> Project:
    project.profile(CAPS, "caps")
    project.suite(TOGETHER, "together")
    for name, path in SUITES.items():
        project.suite(path.read_text(encoding="utf-8"), name)
    archive = project.root / "suites" / "ddpm.npz"  # noise in the place of what bench-diffusion writes
    np.savez(archive, images=np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32))
    shutil.copytree(installed, site.root, dirs_exist_ok=True)
    importlib.invalidate_caches()
    return project


def bench(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def run(project: Project, installed: Path, suite: str) -> list[dict[str, Any]]:
    """``bench run`` in a process of its own, and the tables as data."""
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", suite, "--profile", "caps", "--no-tables", "--workers", "1"],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tables_of(suite)


def tables_of(suite: str) -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = json.loads(bench("table", suite, "--profile", "caps", "--format", "json"))["tables"]
    return tables


@pytest.mark.parametrize(
    ("kind", "name", "origin"),
    [
        ("families", "smoothed-softmax", "bench-smoothed-softmax"),
        ("families", "glow", "bench-flows"),
        ("families", "glow-class", "bench-flows"),
        ("families", "residual-flow", "bench-flows"),
        ("families", "torchebm-pcd", "bench-torchebm"),
        ("evaluations", "noise", "bench-gaussian-noise"),
        ("backbones", "cnn-<channels>", "bench"),
        ("attacks", "momentum", "bench-momentum"),
        ("scores", "entropy", "bench-entropy"),
        ("datasets", "bars", "bench-bars"),
    ],
)
def test_it_is_listed(with_examples: Project, kind: str, name: str, origin: str) -> None:
    entries = {entry["name"]: entry for entry in json.loads(bench("list", kind, "--json"))["entries"]}
    assert (entries[name]["origin"], entries[name]["error"]) == (origin, None)


@pytest.mark.parametrize(
    "name",
    [
        *("smoothed-softmax", "noise", "cnn-32", "momentum", "entropy", "bars"),
        *("glow", "glow-class", "residual-flow", "torchebm-pcd"),
    ],
)
def test_it_is_described(with_examples: Project, name: str) -> None:
    assert bench("describe", name).startswith(f"{name}: ")


@pytest.mark.parametrize("suite", with_library(SUITES))
def test_its_suite_has_no_mistake(with_examples: Project, suite: str) -> None:
    assert f"{suite}.toml: ok" in bench("check", suite)
    document = tomllib.loads(SUITES[suite].read_text(encoding="utf-8"))
    assert [error.message for error in Draft7Validator(json.loads(bench("schema"))).iter_errors(document)] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_page_names_its_suite(name: str) -> None:
    (suite,) = (path for path in SUITES.values() if path.parent.name == name)
    assert f"bench run examples/{name}/{suite.name}" in (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert f"]({name}/README.md)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_all_of_them_run_together(with_examples: Project) -> None:
    """In this process, which has torch loaded; the suites of the examples run in processes of their own (slow)."""
    done = with_examples.bench.run("together", profile="caps", in_process=True)
    assert done.exit_code(strict=True) == 0, done.summary
    (table,) = tables_of("together")
    (row,) = table["rows"]
    cell, attacked, ranked, against_bars = row["cells"]
    assert (row["label"], row["family"]) == ("softmax, smoothed", "smoothed-softmax")
    assert (cell["status"], cell["n"]) == ("ok", 16)
    assert cell["interval"]["kind"] == "wilson"
    assert (attacked["status"], attacked["n"]) == ("ok", 16)
    assert attacked["value"] <= 1
    assert (ranked["status"], ranked["n"]) == (against_bars["status"], against_bars["n"]) == ("ok", 32)
    assert "softmax at T = 1, mean and sd over training items" in table["columns"][2]["definition"]
    assert "momentum-linf[8/255, steps=10, decay=1, loss=ce" in table["columns"][1]["definition"]


@pytest.mark.slow
@pytest.mark.parametrize("suite", with_library(SUITES))
def test_its_suite_runs(with_examples: Project, installed: Path, suite: str) -> None:
    for table in run(with_examples, installed, suite):
        cells = [cell for row in table["rows"] for cell in row["cells"] if "fitted" not in cell["column"]]
        absent = [cell["reason"] for cell in cells if cell["status"] != "ok"]
        # A judge of 96 images is too weak for numbers of generation.
        assert [why for why in absent if not re.search("does not classify|judge", str(why))] == []
        assert len(absent) < len(cells) or suite == "diffusion"
