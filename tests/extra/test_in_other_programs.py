"""What TeX and a browser make of the stored runs of the shipped suites. ``make extra`` runs this."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import tarfile
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from bench.report.formats import FORMATS

if TYPE_CHECKING:
    from bench.api import Bench

pytestmark = pytest.mark.extra

snapshot = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "test_snapshot.py")))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(snapshot.FOLDER / "stored.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    found: Bench = snapshot.bench_in(folder)
    return found


def program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name)) is not None), None)
    assert found is not None, f"none of {', '.join(names)} is installed: see CONTRIBUTING.md"
    return found


@pytest.mark.parametrize("suite", snapshot.RENDERED)
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_tex_sets_the_tables_within_the_page(bench: Bench, suite: str, columns: str, tmp_path: Path) -> None:
    tables = FORMATS["latex"](bench.tables(suite, profile="smoke"))
    document = f"\\documentclass[{columns}]{{article}}\\usepackage{{booktabs,graphicx}}\\begin{{document}}\n"
    (tmp_path / "t.tex").write_text(f"{document}{tables}\n\\end{{document}}", encoding="utf-8")
    command = [program("pdflatex"), "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log


@pytest.mark.parametrize("suite", snapshot.RENDERED)
def test_a_browser_shows_the_report(bench: Bench, suite: str, tmp_path: Path) -> None:
    report = bench.tables(suite, profile="smoke")
    page = tmp_path / "report.html"
    page.write_text(FORMATS["html"](report), encoding="utf-8")
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [program(*BROWSERS), "--headless", "--no-sandbox", "--no-first-run", *quiet]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2000"]
    shown = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    text = unescape(shown.stdout)
    for table in report.tables:
        assert table.title in text
        assert all(row.label in text for row in table.rows)
    picture = tmp_path / "page.png"
    subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=120, check=True)
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size == (1400, 2000)
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
    assert colours is not None
    assert len(colours) > 20  # letters and lines, not an empty page
