"""What TeX and a browser make of the stored runs of the shipped suites. ``make extra`` runs this."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import tarfile
from dataclasses import replace
from html import unescape
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from bench.report.formats import FORMATS, OFFERED
from tests.report.typesetting import typeset

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


def pdf_of(tables: str, columns: str, folder: Path) -> Path:
    """The PDF of a document with these tables; nothing in it is wider or longer than the page."""
    head = f"\\documentclass[{columns}]{{article}}\n\\usepackage{{booktabs,graphicx,siunitx}}\n"
    # A document may group digits as it likes, here as `numbers` reads them, and cannot round ours.
    head += "\\sisetup{group-digits=none,round-mode=places,round-precision=1}\n"
    document = f"{head}\\begin{{document}}\n{tables}\n\\end{{document}}"
    program("pdflatex")
    said = typeset(document, folder)
    assert "Overfull" not in said
    assert "Float too large" not in said
    return folder / "t.pdf"


def numbers(pdf: Path) -> list[str]:
    """The numbers of a document, with a hyphen as minus and without the commas of thousands, in any order."""
    shown = subprocess.run([program("pdftotext"), "-raw", str(pdf), "-"], capture_output=True, check=True)
    text = shown.stdout.decode().replace("−", "-")
    return sorted(re.findall(r"(?<![\w.])[+-]?\d*\.?\d+(?![\w.])", re.sub(r"(?<=\d),(?=\d{3})", "", text)))


# The suites whose runs are not stored have hyper-parameters and quoted numbers, and wait for the rest.
@pytest.mark.parametrize("suite", snapshot.SUITES)
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
@pytest.mark.parametrize("format_", ["latex", "latex-siunitx"])
def test_tex_sets_the_tables_within_the_page(
    bench: Bench, suite: str, columns: str, format_: str, tmp_path: Path
) -> None:
    pdf_of(OFFERED[format_](bench.tables(suite, profile="smoke")), columns, tmp_path)


@pytest.mark.parametrize("suite", snapshot.RENDERED)
def test_siunitx_prints_the_same_numbers(bench: Bench, suite: str, tmp_path: Path) -> None:
    report = bench.tables(suite, profile="smoke").without_definitions()
    report = replace(report, tables=tuple(replace(table, notes=()) for table in report.tables))
    found = []
    for name in ("latex", "latex-siunitx"):
        (tmp_path / name).mkdir()
        found.append(numbers(pdf_of(OFFERED[name](report), "onecolumn", tmp_path / name)))
    assert len(found[0]) > 20
    assert found[0] == found[1]


def browser(tmp_path: Path, size: str = "1400,2000") -> list[str]:
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [program(*BROWSERS), "--headless", "--no-sandbox", "--no-first-run", *quiet]
    return [*command, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}"]


def dom(page: Path, tmp_path: Path, size: str = "1400,2000") -> str:
    """The document after its scripts ran; it is an error if the console has one."""
    command = [*browser(tmp_path, size), "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=180, check=True)
    errors = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert not errors, errors
    return shown.stdout


def with_script(page: Path, script: str) -> Path:
    """A copy of a page that runs a further script after its own, without the policy that forbids it."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    copy = page.with_name("scripted.html")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a suite that was run, with figures and pictures, which the stored runs do not have."""
    folder = tmp_path_factory.mktemp("run")
    bench = snapshot.bench_in(folder)
    assert bench.run("digits", profile="smoke").exit_code() == 0
    page: Path = bench.write_report("digits", profile="smoke", out=folder / "report.html")
    return page


def test_the_whole_report_runs_without_an_error(page: Path, tmp_path: Path) -> None:
    text = dom(page, tmp_path)
    assert '<button type="button">' in text  # its own script ran under its own policy


SORT = """
const table = document.querySelector("#table-accuracy table");
const button = [...table.querySelectorAll("th button")].find((one) => one.textContent.startsWith("accuracy"));
const seen = [];
for (let click = 0; click < 4; click++) {
  const values = [...table.tBodies[0].rows].map((row) => row.cells[1].dataset.value ?? "none");
  seen.push([button.parentElement.getAttribute("aria-sort") ?? "no", values.join(" ")]);
  button.click();
}
const group = [...table.querySelectorAll("th button")].find((one) => one.textContent.startsWith("FCD"));
group.click();
const place = [...table.tBodies[0].rows].map((row) => row.cells[5].dataset.value ?? "none");
const out = document.createElement("pre");
out.id = "seen";
out.textContent = JSON.stringify([seen, place]);
document.body.append(out);
"""


def test_tables_sort(page: Path, tmp_path: Path) -> None:
    text = dom(with_script(page, SORT), tmp_path)
    (found,) = re.findall(r'<pre id="seen">(.*?)</pre>', text)
    seen, fcd = json.loads(unescape(found))
    assert [state for state, _ in seen] == ["no", "descending", "ascending", "no"]
    first, best, worst, last = ([float(value) for value in values.split()] for _, values in seen)
    assert len(first) == 5
    assert best == sorted(first, reverse=True)
    assert worst == sorted(first)
    assert last == first
    # The least distance is the best; models without a number come last.
    known = [float(value) for value in fcd if value != "none"]
    assert known == sorted(known)
    assert fcd[: len(known)] == [value for value in fcd if value != "none"]
    assert len(known) == 3


@pytest.mark.parametrize("size", ["1400,2000", "500,900"])
def test_axe_finds_nothing_serious(page: Path, tmp_path: Path, size: str) -> None:
    axe = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    run = """
    axe.run(document, {resultTypes: ["violations"]}).then((found) => {
      const out = document.createElement("pre");
      out.id = "axe";
      out.textContent = JSON.stringify(found.violations.map((one) => [one.impact, one.id, one.nodes[0].html]));
      document.body.append(out);
    });
    """
    text = dom(with_script(page, axe + run), tmp_path, size)
    (found,) = re.findall(r'<pre id="axe">(.*?)</pre>', text, re.DOTALL)
    assert [one for one in json.loads(unescape(found)) if one[0] in ("serious", "critical")] == []


def test_on_a_phone_only_tables_scroll_sideways(page: Path, tmp_path: Path) -> None:
    run = """
    const out = document.createElement("pre");
    out.id = "width";
    out.textContent = `${document.documentElement.scrollWidth} ${innerWidth}`;
    document.body.append(out);
    """
    text = dom(with_script(page, run), tmp_path, "500,900")
    (found,) = re.findall(r'<pre id="width">(.*?)</pre>', text)
    inside, screen = map(int, found.split())
    assert inside <= screen


@pytest.mark.parametrize("suite", snapshot.RENDERED)
def test_a_browser_shows_the_report(bench: Bench, suite: str, tmp_path: Path) -> None:
    report = bench.tables(suite, profile="smoke")
    page = tmp_path / "report.html"
    page.write_text(FORMATS["html"](report), encoding="utf-8")
    command = browser(tmp_path, "1400,2000")
    text = unescape(dom(page, tmp_path))
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
