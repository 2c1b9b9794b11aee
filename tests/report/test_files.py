"""What a run leaves for people."""

from __future__ import annotations

import base64
import html
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.report.drawing import Drawing
from bench.report.figures import safely
from bench.report.figures.curves import Chart, Line, Panel
from bench.report.files import charts_of, write_report
from bench.report.formats.html import render
from bench.report.model import Report
from bench.report.page import Page

if TYPE_CHECKING:
    from tests.conftest import Project

LINE = Line("softmax", 0, (0.0, 0.5), (0.9, 0.1), (0.8, 0.0), (1.0, 0.2), (False, False))
CHART = Chart("Title", (Panel("C&W", "L2 norm", (LINE,), True, (0.5,), 0.6),), 'Robust "accuracy" & more; n = 30.')


def test_charts_stand_beside_the_report_and_in_it(project: Project, report: Report) -> None:
    drawn = replace(report, tables=(replace(report.tables[0], chart=CHART), report.tables[1]))
    page, *files = write_report(project.bench, project.plan(), drawn, None)
    assert all(path.is_file() for path in files)
    assert page == project.results / "reports" / "tiny_suite-smoke" / "report.html"
    assert {path.name for path in page.parent.iterdir()} == {
        *("report.html", "tables.md", "tables.tex", "tables.csv", "tables.json", "main_table.png", "main_table.pdf"),
    }
    png = (page.parent / "main_table.png").read_bytes()
    text = page.read_text(encoding="utf-8")
    section = text.split('<section id="table-main_table">')[1].split("</section>")[0]
    (data,) = re.findall(r'<figure class="chart">\n<img src="data:image/png;base64,([^"]+)" width="440"', section)
    assert base64.b64decode(data) == png
    assert '<figcaption>Robust "accuracy" & more; n = 30.</figcaption>' in html.unescape(section)
    assert text.count("<img") == 1
    # A later report without the chart leaves none that looks as if it belonged to it.
    write_report(project.bench, project.plan(), report, None)
    assert not list(page.parent.glob("main_table.*"))


def test_the_page_draws_for_itself_where_nobody_did(report: Report) -> None:
    drawn = replace(report, tables=(replace(report.tables[0], chart=CHART), report.tables[1]))
    assert render(drawn).count('<figure class="chart">') == 1
    assert render(report).count('<figure class="chart">') == 0


@dataclass(frozen=True)
class Broken(Drawing):
    """A figure that matplotlib refuses."""

    title = "Broken"
    caption = "No picture."

    @property
    def size(self) -> tuple[float, float]:
        return 2.0, 2.0

    def paint(self, figure: object) -> None:
        raise ValueError("no such axis")


def test_a_figure_that_cannot_be_drawn_costs_no_report(project: Project, report: Report) -> None:
    reason = safely(Broken)
    assert reason == "could not be drawn: ValueError: no such axis"
    broken = replace(report, tables=(replace(report.tables[0], chart=Broken()), report.tables[1]))
    assert charts_of(broken)[report.tables[0].id] == reason
    page = write_report(project.bench, project.plan(), broken, None)[0]
    assert '<section id="table-main_table">' in page.read_text(encoding="utf-8")
    text = render(report, Page(figures={"broken": str(reason)}))
    assert '<p id="figure-broken">broken: could not be drawn: ValueError: no such axis.</p>' in text
