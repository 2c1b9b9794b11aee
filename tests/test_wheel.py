"""What a stranger gets by `pip install`: no package called models, and suites and quoted numbers as data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources: building writes beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # Of results only what is quoted: measured ones may lie beside.
    for name in ("bench", "models", "suites", "skeletons", "results/literature"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source],
        check=True,
        capture_output=True,
        text=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_what_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"bench", "bench_models"}
    for suite in [*(ROOT / "suites").rglob("*.toml"), *(ROOT / "suites").rglob("*.json")]:
        assert f"bench/_suites/{suite.relative_to(ROOT / 'suites').as_posix()}" in names
    for source in (ROOT / "results" / "literature").glob("*.toml"):
        assert f"bench/_literature/{source.name}" in names
    for skeleton in [*(ROOT / "skeletons").rglob("*.py"), *(ROOT / "skeletons").rglob("*.toml")]:
        assert f"bench/_skeletons/{skeleton.relative_to(ROOT / 'skeletons').as_posix()}" in names
    modules = {f"bench/{path.relative_to(ROOT / 'bench').as_posix()}" for path in (ROOT / "bench").rglob("*.py")}
    modules |= {f"bench_models/{path.name}" for path in (ROOT / "models").glob("*.py")}
    assert modules <= set(names)
    templates = ROOT / "bench" / "report" / "formats" / "templates"
    assert {f"bench/report/formats/templates/{path.name}" for path in templates.iterdir()} <= set(names)
    assert {"bench/py.typed", "bench_models/py.typed"} <= set(names)


def test_the_wheel_works_where_there_is_no_checkout(wheel: Path, tmp_path: Path) -> None:
    """Suites, profiles, families and literature are found, from an empty folder."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")}
    environ |= {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "import bench, bench_models; print(bench.__file__); print(bench_models.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=work, env=environ, check=True, capture_output=True, text=True
    ).stdout
    assert where.count(str(site)) == 2
    plan = subprocess.run(
        [sys.executable, "-m", "bench", "plan", "robustness", "--profile", "smoke"],
        cwd=work,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "gmmc-gen/digits/seed1/train" in plan
    assert list(work.iterdir()) == []  # planning writes nothing
