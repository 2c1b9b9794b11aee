"""Text of suites and plug-ins is data in every format: whatever it holds, the structure stays, the text comes back.

Each format is read by an independent reader: ``json`` and ``html.parser`` of the standard library; for Markdown and
LaTeX small ones written from the specifications. CSV has its own in ``formats/test_csv.py``.
"""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from bench.plain import plain
from bench.report import terminal
from bench.report.formats import html as page
from bench.report.formats import json as as_json
from bench.report.formats import latex, markdown
from bench.report.formats.markdown import escaped as md_escaped
from bench.report.latex_text import escaped as tex_escaped
from bench.report.model import Report
from bench.report.page import ModelFacts, Page, Picture

# Anything at all, and texts dense in what the formats give a meaning to.
TEXT = st.text(st.characters()) | st.text(
    "|\\`*_{}[]()#+-.!~$<>&\"'=@%^/:;a1 \n\r\t\x1b\x00\u202e\u2028\ud800é", max_size=24
)
HOSTILE = (
    "<script>alert(1)</script>",
    "two\nlines | and a bar",
    "a\\|b",
    "a\\\\|b\\",
    "\x1b[2J\x1b]0;title\x07",
    "\u202eright to left",
    "\ud800 half a pair",
    "[red]markup[/red] [/scratch/run/x.pt]",
    "![x](http://example.org/x.png) [y]: z",
    "$E$ {x} \\input{/etc/passwd} ^^4d % comment",
    "&lt;b&gt; &#60; &amp",
    '" onmouseover="alert(1)',
    "# heading",
    "1. list",
    "---",
    "=1+1",
    "",
)
ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)


def everywhere(report: Report, text: str) -> Report:
    """The report with one text in each place that a suite, a plug-in or a file can fill."""
    tables = []
    for table in report.tables:
        columns = tuple(replace(c, label=text, group=text, definition=text) for c in table.columns)
        rows = []
        for row in table.rows:
            cells = tuple(
                replace(cell, reason=text if cell.reason else None, flags={text: text}, not_measured=(text,))
                for cell in row.cells
            )
            rows.append(replace(row, label=text, origin=text and row.origin and text, made_with=text, cells=cells))
        tables.append(replace(table, title=text, columns=columns, rows=tuple(rows), notes=(text,)))
    return replace(
        report,
        suite=text,
        title=text,
        profile=text,
        substitutions=((text, text),),
        deviations=(text,),
        tables=tuple(tables),
        budget=text,
        stored=text,
    )


def controls(text: str, but: str = "\n") -> set[str]:
    """Characters that a terminal obeys, that reorder text, or that cannot be encoded."""
    return set(re.findall(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text)) - set(but)


def cells_of(line: str) -> list[str]:
    """The cells of a line of a GitHub table: a bar behind a backslash is text."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip(" ") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def from_markdown(text: str) -> str:
    """Inline Markdown without any construct but escapes and entities."""
    token = r"\\([!-/:-@\[-`{-~])|(&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);)"
    return re.sub(token, lambda match: match[1] or html.unescape(match[2]), text)


class Tags(HTMLParser):
    """What a browser takes for markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.other: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    unknown_decl = handle_comment


def with_examples(test: object) -> object:
    for text in HOSTILE:
        test = example(text=text)(test)  # type: ignore[arg-type]
    return test


@with_examples  # type: ignore[arg-type]
@ANY
@given(text=TEXT)
def test_markdown(report: Report, text: str) -> None:
    hostile = everywhere(report, text)
    source = markdown.render(hostile)
    assert controls(source) == set()
    assert Tags(source).found == []
    assert Tags(source).other == []
    lines = source.splitlines()
    bars = [line for line in lines if line.startswith("|")]
    assert len(bars) == sum(2 + len(table.rows) for table in hostile.tables)
    start = 0
    for table in hostile.tables:
        block = bars[start : start + 2 + len(table.rows)]
        start += len(block)
        assert re.fullmatch(r"[|:-]+", block[1])
        assert {len(cells_of(line)) for line in (block[0], *block[2:])} == {1 + len(table.columns)}
        assert from_markdown(cells_of(block[2])[0]) == plain(text)
    notes = [line for line in lines if line and not line.startswith(("|", "**"))]
    assert all(line.startswith("- ") for line in notes)
    assert f"- {md_escaped(text)}" in lines


@with_examples  # type: ignore[arg-type]
@ANY
@given(text=TEXT)
def test_what_markdown_would_obey_is_escaped(text: str) -> None:
    """Read with every construct of inline Markdown that could be meant, nothing but the text comes out."""
    source = md_escaped(text)
    assert from_markdown(source) == plain(text)
    left = re.sub(r"\\[!-/:-@\[-`{-~]|&[#A-Za-z0-9]+;", " ", source)  # what is not escaped
    assert not re.search(r"[*`~$|]|<[A-Za-z/!?]|\]\(", left)
    assert not re.match(r"#|>|[-+] |\d+[.)] |\[", source)


@with_examples  # type: ignore[arg-type]
@ANY
@given(text=TEXT)
def test_json(report: Report, text: str) -> None:
    source = as_json.render(everywhere(report, text))
    assert source.isascii()
    facts = json.loads(source)
    assert as_json.from_dict(facts) == everywhere(report, text)
    assert {row["label"] for table in facts["tables"] for row in table["rows"]} == {text}


@with_examples  # type: ignore[arg-type]
@ANY
@given(text=TEXT)
def test_html(report: Report, text: str) -> None:
    harmless, hostile = (Tags(page.render(everywhere(report, word))) for word in ("word", text))
    if plain(text):
        assert hostile.found == harmless.found
    else:
        assert {tag for tag, _ in hostile.found} <= {tag for tag, _ in harmless.found}
    assert hostile.other == harmless.other == []
    model = ModelFacts(text, text, text, text, (text,), ((text, text),))
    pictures = [Picture(text, text, b"\x89PNG\r\n\x1a\n")]
    beside = Page({"f": text}, pictures, [model], {text: text}, [text], [(text, text)])
    source = page.render(everywhere(report, text), beside)
    assert controls(source) == set()
    source.encode("utf-8")


@with_examples  # type: ignore[arg-type]
@ANY
@given(text=TEXT)
def test_latex(report: Report, text: str) -> None:
    harmless, hostile = (latex.render(everywhere(report, word)) for word in ("word", text))
    body = "\n".join(line for line in hostile.splitlines() if not line.startswith("%"))
    assert body.isascii()
    assert controls(hostile) == set()
    bare = re.sub(r"\\.", "", body)
    assert bare.count("{") == bare.count("}")
    for name in (r"\begin{", r"\end{", r"\midrule", r"\caption{", r"\textit{"):
        assert body.count(name) == harmless.count(name) or not plain(text)
    if plain(text):
        assert tex_escaped(text) in body


@with_examples  # type: ignore[arg-type]
@ANY
@given(text=TEXT)
def test_terminal(report: Report, text: str) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False, legacy_windows=False)
    terminal.render(everywhere(report, text), console)
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert controls(drawn) == set()
    if plain(text).isascii() and " " not in plain(text) and len(plain(text)) < 10:
        assert plain(text) in drawn


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_long_label_widens_no_line(report: Report, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    table = report.tables[1]
    rows = tuple(replace(row, label="[x](y) " * 40) for row in table.rows)
    terminal.render(replace(report, tables=(replace(table, rows=rows),)), console)
    assert isinstance(console.file, io.StringIO)
    assert max(map(cell_len, console.file.getvalue().splitlines())) <= width
