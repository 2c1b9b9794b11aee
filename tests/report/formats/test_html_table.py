from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.plain import plain
from bench.report.formats.html import render
from bench.report.model import Report, Table


def parsed(table: Table) -> ET.Element:
    """The table's section of the page; it is well-formed XML too, so a strict parser reads it."""
    page = render(Report("suite", "title", None, (), (), (table,)))
    (section,) = re.findall(r'<section id="table-.*?</section>', page, re.DOTALL)
    return ET.fromstring(section)


def text(element: ET.Element) -> str:
    return "".join(element.itertext())


def body_rows(section: ET.Element, source: str) -> list[ET.Element]:
    return section.findall(f".//tbody[@class='{source}']/tr")


def cell(section: ET.Element, row: int, column: int) -> ET.Element:
    return body_rows(section, "measured")[row].findall("td")[column]


def test_heading_covers_every_column_once(report: Report) -> None:
    for table in report.tables:
        upper, lower = parsed(table).findall(".//thead/tr")
        spans = [(int(th.get("colspan", "1")), int(th.get("rowspan", "1"))) for th in upper]
        assert sum(width for width, _ in spans) == 1 + len(table.columns)
        assert sum(width for width, height in spans if height == 1) == len(lower)


def test_headings(report: Report) -> None:
    upper, lower = parsed(report.tables[0]).findall(".//thead/tr")
    assert [text(th) for th in upper] == ["model", "accuracy % ↑", "ECE", "PGD-40, 8/255", "mean L2 ↑"]
    assert [text(th) for th in lower] == ["T = 1, % ↓", "T fitted % ↓", "CE % ↑"]
    plain = replace(report.tables[0], columns=tuple(replace(c, group="") for c in report.tables[0].columns))
    assert len(parsed(plain).findall(".//thead/tr")) == 1


def test_every_row_has_every_column(report: Report) -> None:
    for table in report.tables:
        section = parsed(table)
        for source in ("measured", "literature"):
            found = body_rows(section, source)
            assert len(found) == sum(row.source == source for row in table.rows)
            assert all(len(row.findall("td")) == len(table.columns) for row in found)


def test_best_interval_and_mark(report: Report) -> None:
    section = parsed(report.tables[0])
    first = cell(section, 0, 0)
    assert text(first.find("strong")) == "95.7"  # type: ignore[arg-type]
    assert text(first.find("small")) == "[93.7, 97.7]"  # type: ignore[arg-type]
    assert cell(section, 0, 3).find("strong") is None
    masked = cell(section, 1, 3)
    assert text(masked.find("strong")) == "73.5"  # type: ignore[arg-type]
    assert text(masked.find("sup")) == "†"  # type: ignore[arg-type]
    assert cell(section, 0, 1).find("small") is None


def test_hover_tells_what_a_number_rests_on(report: Report) -> None:
    section = parsed(report.tables[0])
    assert (cell(section, 1, 0).get("title") or "").splitlines() == [
        "definition of accuracy, eps <= 8/255 & more",
        "value 0.93451, sd over seeds 0.0042",
        "n = 397 for each seed, seeds 1, 2, 3, 95% interval: wilson",
        "1 of 4 seeds without a number: diverged",
    ]
    masked = cell(section, 1, 3).get("title") or ""
    assert masked.endswith("verdict: masked\nGRAD0: zero input gradient for 31% of the images & more")


def test_hover_tells_that_seeds_have_other_numbers_of_items(report: Report) -> None:
    table = report.tables[0]
    first, *others = table.rows[1].cells
    row = replace(table.rows[1], cells=(replace(first, n=192, n_most=193), *others))
    table = replace(table, rows=(table.rows[0], row, *table.rows[2:]))
    assert "n = 192 to 193 for each seed, seeds 1, 2, 3" in (cell(parsed(table), 1, 0).get("title") or "")


def test_absent_cells_show_their_reason(report: Report) -> None:
    section = parsed(report.tables[0])
    absent = cell(section, 1, 1)
    assert (text(absent), absent.get("class")) == ("n/a", "absent")
    assert (absent.get("title") or "").endswith("n/a: has no read-out 'native' <here>")
    assert text(cell(section, 1, 2)) == "diverged"
    assert text(cell(section, 1, 4)) == "…"


def test_literature_stands_apart_with_its_origin(report: Report) -> None:
    section = parsed(report.tables[0])
    (row,) = body_rows(section, "literature")
    assert text(row.find("th")) == "GMMC (Gen), as printed1"  # type: ignore[arg-type]
    notes = [text(li) for li in section.findall(".//ul[@class='notes']/li")]
    assert notes == [
        *report.tables[0].notes,
        "1 GMMC paper 2021, Table 1, CIFAR10, not comparable",
    ]
    title = row.findall("td")[0].get("title") or ""
    assert "quoted from GMMC paper 2021" in title
    assert "n =" not in title


def test_details_explain_each_column(report: Report, special_label: str) -> None:
    section = parsed(report.tables[0])
    details = section.find("details")
    assert details is not None
    assert text(details[0]) == "How each number was measured"
    columns: dict[str, list[str]] = {}
    for element in details[1]:
        if element.tag == "dt":
            name = text(element)
            columns[name] = []
        else:
            columns[name].append(text(element))
    assert list(columns) == [
        "accuracy % ↑ accuracy",
        "ECE: T = 1, % ↓ calibration.ece",
        "ECE: T fitted % ↓ calibration.ece@fitted",
        "PGD-40, 8/255: CE % ↑ pgd-40@8/255",
        "mean L2 ↑ cw-100",
    ]
    assert columns["PGD-40, 8/255: CE % ↑ pgd-40@8/255"] == [
        "definition of pgd-40@8/255, eps <= 8/255 & more",
        "n = 200, seed 1, 95% interval: wilson (all rows)",
        "verdict: no warning (softmax)",
        f"verdict: masked ({special_label})",
        f"GRAD0: zero input gradient for 31% of the images & more ({special_label})",
    ]
    assert columns["ECE: T = 1, % ↓ calibration.ece"][1:] == [
        "n = 397, seed 1, no interval (softmax)",
        f"n/a: has no read-out 'native' <here> ({special_label})",
    ]


# The reader is one of XML, which has no place for two code points that are no characters.
_TEXT = st.text(st.characters(exclude_characters="\ufffe\uffff"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(words=_TEXT)
def test_any_text_is_only_text(report: Report, words: str) -> None:
    table = report.tables[0]
    columns = tuple(replace(c, label=words, group=words, definition=words) for c in table.columns)
    rows = tuple(replace(r, label=words, origin=words and r.origin and words) for r in table.rows)
    hostile = replace(table, id=words, title=words, columns=columns, rows=rows, notes=(words,))
    section = parsed(hostile)
    tags = {element.tag for element in section.iter()}
    assert tags <= {element.tag for element in parsed(table).iter()} | {"span"}
    shown = plain(words)
    assert (section.findtext("h2") or "") == shown
    assert text(section.find(".//ul[@class='notes']/li")) == shown  # type: ignore[arg-type]
    assert (body_rows(section, "measured")[0].findtext("th") or "") == shown
