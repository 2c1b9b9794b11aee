"""Text of others as data."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plain import TRANSLITERATE, plain, visible


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\r\nlines\x0b and\u2028more", "two lines and more"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\ud83d", r"\ud83d"),
        ("  L² ≤ 8/255, Rényi, 中文, עברית, 👩\u200d🔬 ", "L² ≤ 8/255, Rényi, 中文, עברית, 👩\u200d🔬"),
        ("a\u00a0b", "a\u00a0b"),
        ("\u200bzero\ufeff", r"\u200bzero\ufeff"),
        (r"C:\new [/x]", r"C:\new [/x]"),
    ],
)
def test_lines(text: str, line: str) -> None:
    assert plain(text) == line


def test_several_lines_stay_lines() -> None:
    assert visible("a\r\nb\rc\td\x1b") == "a\nb\nc\td\\x1b"


@given(st.text(st.characters()))
def test_the_result_is_printable_and_stays_what_it_is(text: str) -> None:
    line = plain(text)
    assert all(c.isprintable() or c in "\u00a0\u200c\u200d" or ord(c) > 0x2FF for c in line)
    assert "\n" not in line
    assert plain(line) == line
    assert visible(visible(text)) == visible(text)
    line.encode("utf-8")


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_printable_ascii_is_unchanged(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.characters()))
def test_any_text_can_be_written_in_any_encoding(text: str) -> None:
    for encoding in ("ascii", "latin-1", "cp1252", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=TRANSLITERATE)
        stream.write(text)
        stream.flush()


def test_what_has_a_spelling_is_spelt() -> None:
    assert "n ≤ 400 ↑ †".encode("ascii", TRANSLITERATE) == b"n <= 400 ^ +"
    assert "é 中".encode("ascii", TRANSLITERATE) == rb"\xe9 \u4e2d"
