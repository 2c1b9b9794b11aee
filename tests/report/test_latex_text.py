from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.latex_text import escaped
from tests.report.typesetting import typeset

# A reader of the subset of LaTeX that stands for ASCII text, written from the LaTeX manual, not from the code.
_TOKENS = {
    r"\\textbackslash\{\}": "\\",
    r"\\textasciicircum\{\}": "^",
    r"\\textasciitilde\{\}": "~",
    r"\\\{": "{",
    r"\\\}": "}",
    r"\\\$": "$",
    r"\\&": "&",
    r"\\#": "#",
    r"\\%": "%",
    r"\\_": "_",
    r"\$<\$": "<",
    r"\$>\$": ">",
    r"\$\|\$": "|",
    r"\{\[\}": "[",
    r"\{\*\}": "*",
    r"\{`\}": "`",
    r"-\{\}(?=-)": "-",
    r"'\{\}(?=')": "'",
    r"\{''\}": '"',
    r"-(?!-)": "-",
    r"'(?!')": "'",
}
_PLAIN = r"[^\\{}$&#%_^~<>|\[*`'\-]"


def read_back(tex: str) -> str:
    found, position = [], 0
    while position < len(tex):
        for pattern, character in _TOKENS.items():
            match = re.compile(pattern).match(tex, position)
            if match:
                found.append(character)
                break
        else:
            match = re.compile(_PLAIN).match(tex, position)
            assert match, f"LaTeX would not set {tex[position:]!r} as text"
            found.append(match.group())
        position = match.end()
    return "".join(found)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_ascii_is_set_as_it_is_spelt(text: str) -> None:
    assert read_back(escaped(text)) == re.sub(" +", " ", text).strip(" ")


@given(st.text())
def test_output_is_ascii_on_one_line(text: str) -> None:
    tex = escaped(text)
    assert tex.isascii()
    assert "\n" not in tex
    assert "\r" not in tex


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("accuracy ↑", r"accuracy $\uparrow$"),
        ("n ≤ 400, L²", r"n $\leq$ 400, L$^2$"),
        ("Rényi, Łódź, naïve", r"R\'{e}nyi, {\L}\'{o}d\'{z}, na\"{\i}ve"),
        ("Re\u0301nyi", r"R\'{e}nyi"),
        ("a\n\n b\t c ", "a b c"),
        ("中", "{[}U+4E2D]"),
        ("--force", "-{}-force"),
    ],
)
def test_examples(text: str, tex: str) -> None:
    assert escaped(text) == tex


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_every_character_compiles(tmp_path: Path) -> None:
    characters = [chr(c) for c in (*range(0x21, 0x180), *range(0x391, 0x3CA), *range(0x2010, 0x2300))]
    text = " ".join(escaped(c) for c in [*characters, "中", "🙂"])
    document = rf"\documentclass{{article}}\begin{{document}}\raggedright {text}\end{{document}}"
    assert document.isascii()
    typeset(document, tmp_path)
