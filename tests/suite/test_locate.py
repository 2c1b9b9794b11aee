from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.suite.locate import DEEPEST, Position, TooDeepError, locate, lookup
from bench.suite.locate import Path as KeyPath

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("suites/**/*.toml"), *ROOT.glob("results/literature/*.toml"), ROOT / "pyproject.toml"])


def flattened(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every key and array index of a parsed document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {path} if path else set()
    for key, child in children:
        found |= flattened(child, (*path, key))
    return found


class Writer:
    """Writes TOML and notes where it put each key: an oracle that shares nothing with the scanner."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.text = ""
        self.positions: dict[KeyPath, Position] = {}

    def mark(self, path: KeyPath) -> None:
        line_start = self.text.rfind("\n") + 1
        self.positions.setdefault(path, Position(self.text.count("\n") + 1, len(self.text) - line_start + 1))

    def choose(self, *options: str) -> str:
        return str(self.draw(st.sampled_from(options)))

    def space(self) -> None:
        self.text += self.choose("", "", " ", "\t ")

    def end_of_line(self) -> None:
        self.text += self.choose("\n", " # note\n", '# "[x]" = {\n\n', "\n\t\n  # [[a]]\n")

    def blank(self) -> None:
        """Anything that may stand between the elements of an array."""
        self.text += self.choose("", " ", "\n", "\n  # a ] comment, with } and '''\n\t")

    def key(self, name: str) -> str:
        plain = name != "" and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
        styles = ["basic", *(["bare", "bare"] if plain else []), *(["literal"] if "'" not in name else [])]
        style = self.choose(*styles)
        return name if style == "bare" else f"'{name}'" if style == "literal" else f'"{escaped(name)}"'

    def dotted(self, names: tuple[str, ...]) -> str:
        return self.choose(".", ".", " . ").join(self.key(name) for name in names)

    def string(self) -> str:
        kind = self.choose("basic", "literal", "long basic", "long literal")
        text = str(self.draw(st.text("ab#[]{}=,.'\"\\\n é", max_size=8)))
        if kind == "basic":
            return f'"{escaped(text)}"'
        if kind == "literal":
            return "'" + text.replace("'", "").replace("\n", "") + "'"
        if kind == "long literal":
            return "'''" + text.replace("'", "") + self.choose("", "'", "''", "\n") + "'''"
        return '"""' + escaped(text).replace("\\n", "\n") + self.choose("", '"', '""', "\\\n  ") + '"""'

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.choose("scalar", "scalar", "string", "string", *(("array", "inline") if depth else ()))
        if kind == "scalar":
            self.text += self.choose("1_000", "-2.5e-3", "true", "inf", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00")
        elif kind == "string":
            self.text += self.string()
        elif kind == "array":
            self.text += "["
            size = self.draw(st.integers(0, 3))
            for index in range(size):
                self.blank()
                self.mark((*path, index))
                self.value((*path, index), depth - 1)
                self.blank()
                if index < size - 1 or self.draw(st.booleans()):
                    self.text += ","
            self.blank()
            self.text += "]"
        else:
            self.text += "{"
            for index, name in enumerate(self.names()):
                self.text += "," if index else ""
                self.space()
                self.pair(path, (name, *self.deeper()), depth - 1)
                self.space()
            self.text += "}"

    def names(self) -> list[str]:
        return list(self.draw(st.lists(NAMES, max_size=3, unique=True)))

    def deeper(self) -> tuple[str, ...]:
        """More parts of a dotted key."""
        return tuple(self.draw(st.lists(NAMES, max_size=1)))

    def pair(self, base: KeyPath, names: tuple[str, ...], depth: int) -> None:
        for end in range(1, len(names) + 1):
            self.mark((*base, *names[:end]))
        self.text += self.dotted(names)
        self.space()
        self.text += "="
        self.space()
        self.value((*base, *names), depth)

    def table(self, path: KeyPath, header: tuple[str, ...], depth: int) -> None:
        """The body of the table at ``path``, whose headers are written ``[header]``."""
        names = self.names()
        for name in names:
            self.space()
            self.pair(path, (name, *self.deeper()), 2)
            self.space()
            self.end_of_line()
        for name in self.names() if depth else ():
            if name not in names:
                self.child(path, header, name, depth)

    def child(self, path: KeyPath, header: tuple[str, ...], name: str, depth: int) -> None:
        if self.draw(st.booleans()):
            for index in range(self.draw(st.integers(1, 2))):
                self.space()
                self.mark((*path, name))
                self.mark((*path, name, index))
                self.text += f"[[{self.choose('', ' ')}{self.dotted((*header, name))}{self.choose('', ' ')}]]"
                self.end_of_line()
                self.table((*path, name, index), (*header, name), depth - 1)
        else:
            # A header may name a table below one that has none of its own.
            whole = (name, *self.deeper())
            self.space()
            for end in range(1, len(whole) + 1):
                self.mark((*path, *whole[:end]))
            self.text += f"[{self.choose('', ' ')}{self.dotted((*header, *whole))}{self.choose('', ' ')}]"
            self.end_of_line()
            self.table((*path, *whole), (*header, *whole), depth - 1)


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


NAMES = st.one_of(st.sampled_from(["a", "b-1", "lr", "model"]), st.text("a.# ]='\"é", max_size=3))


@st.composite
def documents(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[str, dict[KeyPath, Position]]:
    writer = Writer(draw)
    writer.end_of_line()
    writer.table((), (), 2)
    text = writer.text.removesuffix("\n") if draw(st.booleans()) else writer.text
    return (text.replace("\n", "\r\n") if draw(st.booleans()) else text), writer.positions


@settings(max_examples=120, deadline=None)
@given(documents())
@example(("", {}))
@example(('[a."b.c"]', {("a",): Position(1, 1), ("a", "b.c"): Position(1, 1)}))
def test_every_key_is_found_where_it_was_written(case: tuple[str, dict[KeyPath, Position]]) -> None:
    text, positions = case
    parsed = tomllib.loads(text)
    assert set(positions) == flattened(parsed), "the generator noted another set of keys than it wrote"
    assert locate(text) == positions


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = locate(text)
    assert set(found) == flattened(tomllib.loads(text))
    lines = text.split("\n")
    for key, position in found.items():
        rest = lines[position.line - 1][position.column - 1 :]
        named = str(key[-1])
        assert rest.startswith(("[", named, f'"{named}"')) or (isinstance(key[-1], int) and rest[0] not in " #,]"), (
            key,
            rest,
        )


def test_an_explicit_header_wins_over_one_that_implies_the_table() -> None:
    found = locate("[a.b]\nx = 1\n\n[a]\ny = 1\n")
    assert found["a",] == Position(4, 1)
    assert found["a", "b"] == Position(1, 1)


def test_sub_tables_belong_to_the_last_element() -> None:
    found = locate("[[m]]\n[m.s]\nx = 1\n[[m]]\n[m.s]\nx = 2\n[[m.t]]\n[[m.t]]\ny = 1\n")
    assert found["m", 0, "s", "x"] == Position(3, 1)
    assert found["m", 1, "s", "x"] == Position(6, 1)
    assert found["m", 1, "t", 1, "y"] == Position(9, 1)
    assert ("m", 0, "t") not in found


def test_lookup_of_an_absent_key_names_its_table() -> None:
    found = locate("[a]\n[a.b]\nx = 1\n")
    assert lookup(found, ("a", "b", "missing", 3)) == Position(2, 1)
    assert lookup(found, ("c",)) is None


def test_many_keys_are_located() -> None:
    """64,000 keys took 24 s when every position counted the lines before it."""
    blocks = [f'[a{i}]\n"k {i}" = {i}\n  list = [{i},\n    "#"]\n' for i in range(16_000)]
    found = locate("".join(blocks))
    assert len(found) == 16_000 * 5
    for i in (0, 1, 7_999, 15_999):
        line = 4 * i + 1
        assert found[(f"a{i}",)] == Position(line, 1)
        assert found[f"a{i}", f"k {i}"] == Position(line + 1, 1)
        assert found[f"a{i}", "list"] == Position(line + 2, 3)
        assert found[f"a{i}", "list", 0] == Position(line + 2, 11)
        assert found[f"a{i}", "list", 1] == Position(line + 3, 5)


def test_the_deepest_document_is_located_and_a_deeper_one_refused() -> None:
    assert len(locate("a = " + "[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1))) == DEEPEST
    with pytest.raises(TooDeepError) as error:
        locate("\n a = " + "[" * DEEPEST + "1" + "]" * DEEPEST)
    assert error.value.position == Position(2, 6 + DEEPEST)
