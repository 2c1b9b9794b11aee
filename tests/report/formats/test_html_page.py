from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bench.report.formats.html import render
from bench.report.model import Report
from bench.report.page import ModelFacts, Picture
from bench.report.page import Page as Beside

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags with attributes, in order; fails on a tag that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def inside(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


BESIDE = Beside(
    pictures=[Picture("JEM, seed 1", "samples", PNG)],
    facts={"devices": "cpu & more"},
    models=[
        ModelFacts("GMMC (Gen)", "gmmc-gen", "wrn-10-1", "digits", ("seed 1: trained",), (("sampler.steps", "10"),))
    ],
    commands=["bench run tiny.toml --profile smoke"],
    sources=[("tiny.toml", '[suite]\nname = "tiny"\n')],
)


def picture(label: str = "GMMC (Gen), seed 1") -> Picture:
    return Picture(label, 'samples; rows are "classes"', PNG)


def test_sections_in_order(report: Report) -> None:
    page = Page(render(report, BESIDE))
    assert page.inside("h2") == [
        "Summary",
        report.tables[0].title,
        report.tables[1].title,
        "Pictures",
        "What is missing",
        "Differs from the paper",
        "Models",
        "Provenance",
        "Repeat it",
    ]
    sections = [section["id"] for section in page.all("section")]
    assert sections == [
        "summary",
        "table-main_table",
        "table-ood",
        "pictures",
        "gaps",
        "deviations",
        "models",
        "provenance",
        "repeat",
    ]
    # The summary links to the tables of its findings, the contents to all that follows.
    linked = [a["href"].removeprefix("#") for a in page.all("a")]
    assert linked == ["table-main_table", "table-ood", *sections[1:]]
    assert page.inside("dd")[-1] == "cpu & more"
    assert page.inside("h3") == ["GMMC (Gen)"]
    assert {"sampler.steps", "bench run tiny.toml --profile smoke", "[suite]"} <= set(page.inside("code")) | set(
        "\n".join(page.inside("code")).splitlines()
    )
    assert set(report.deviations) <= set(page.inside("li"))


def test_what_is_absent_has_no_section(report: Report) -> None:
    page = Page(render(replace(report, deviations=(), tables=report.tables[1:])))
    assert [s["id"] for s in page.all("section")] == ["summary", "table-ood"]


def test_profile_is_said_in_title_and_banner(report: Report) -> None:
    page = Page(render(report))
    assert page.inside("title") == ["Softmax & GMMC on <digits> (PROFILE smoke)"]
    assert "PROFILE smoke: data sets cifar10 → digits, svhn → patches" in page.inside("p")
    full = Page(render(replace(report, profile=None, substitutions=())))
    assert full.inside("title") == ["Softmax & GMMC on <digits>"]
    assert not [p for p in full.all("p") if p.get("class") == "banner"]


def test_stands_alone(report: Report) -> None:
    facts = {"commands": "bench run https://example.org/suite.toml"}
    text = render(report, Beside(pictures=[picture()], facts=facts))
    page = Page(text)
    (policy,) = [tag["content"] for tag in page.all("meta") if "http-equiv" in tag]
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
    assert page.all("script") == [{}]
    assert not page.all("link")
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    style = text.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import", style)


def test_texts_are_escaped(report: Report, special_label: str) -> None:
    hostile = replace(report, deviations=("lr: <img src=x>",))
    facts = {"<i>name</i>": "</dl><script>"}
    page = Page(render(hostile, Beside(pictures=[picture("<b>x</b>")], facts=facts)))
    assert special_label in page.inside("th")
    assert "lr: <img src=x>" in page.inside("li")
    assert "<b>x</b>" in page.inside("b")
    assert page.inside("dt")[-1] == "<i>name</i>"
    assert page.inside("dd")[-1] == "</dl><script>"
    assert len(page.all("script")) == 1


def test_pictures_are_embedded_to_the_byte(report: Report) -> None:
    page = Page(render(report, Beside(pictures=[picture()])))
    (image,) = page.all("img")
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == PNG
    assert image["alt"] == 'GMMC (Gen), seed 1: samples; rows are "classes"'
    assert 'samples; rows are "classes"' in page.inside("figcaption")


def test_a_picture_must_be_png() -> None:
    with pytest.raises(ValueError, match="'JEM, seed 2' must be the bytes of a PNG file"):
        Picture("JEM, seed 2", "samples", b"GIF89a")


def test_style_has_light_dark_narrow_and_print(report: Report) -> None:
    text = render(report)
    for query in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert query in text
    style = text.split("<style>")[1].split("</style>")[0]
    assert style.count("{") == style.count("}")
    classes = set(re.findall(r'class="([a-z]+)"', text))
    assert {"banner", "legend", "notes", "absent", "literature", "mark"} <= classes
    # A class without a rule is a misspelt one; measured rows look like any.
    assert {name for name in classes if f".{name}" not in style} == {"measured"}
