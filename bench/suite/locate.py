"""Finds the line and column of each key in a TOML file.

``tomllib`` gives values without positions. This scanner walks the same text and returns the line and column of
every key, so that an error about a value can name its place. It does not validate: ``tomllib`` must have accepted the
text. Its cost is linear in the length of the text.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DEEPEST", "Path", "Position", "TooDeepError", "locate", "lookup"]

Path = tuple[str | int, ...]
"""Keys and array indices from the root, such as ``("model", 1, "sampler", "steps")``."""

DEEPEST = 32
"""Largest number of nested tables and lists. No suite needs ten, and the readers of values recurse."""


@dataclass(frozen=True)
class Position:
    """Line and column, both from 1."""

    line: int
    column: int


class TooDeepError(Exception):
    """The document has more than ``DEEPEST`` levels at ``position``."""

    def __init__(self, position: Position) -> None:
        super().__init__(position)
        self.position = position


def locate(text: str) -> dict[Path, Position]:
    """The position of every key, table and array element of a valid TOML document.

    Raises:
        TooDeepError: The document has more than ``DEEPEST`` levels. This also holds for a text that ``tomllib``
            refused for its depth: this scanner stops before the place where ``tomllib`` did.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.found


def lookup(positions: Mapping[Path, Position], path: Path) -> Position | None:
    """The position of ``path``, or of its nearest enclosing table if the key itself is absent."""
    for end in range(len(path), 0, -1):
        if path[:end] in positions:
            return positions[path[:end]]
    return None


_BARE = re.compile(r"[A-Za-z0-9_-]*")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRINGS = {
    # Up to two quotes before the closing three belong to the content.
    '"""': re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL),
    '"': re.compile(r'"(?:[^"\\]|\\.)*"'),
    "'": re.compile(r"'[^']*'"),
}


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Position] = {}
        self.arrays: dict[Path, int] = {}
        self.implied: set[Path] = set()
        self.line_ends = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        base: Path = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self.text.startswith("[[", self.at):
                position = self._position()
                self.at += 2
                names = self._dotted()
                self.at += 2
                base = self._element(names, position)
            elif self.text[self.at] == "[":
                position = self._position()
                self.at += 1
                names = self._dotted()
                self.at += 1
                base = self._resolve(names, position)
                if base in self.implied:
                    self.found[base] = position
                    self.implied.remove(base)
            else:
                self._pair(base)

    def _element(self, names: tuple[str, ...], position: Position) -> Path:
        """Open the next element of an array of tables."""
        parent = (*self._resolve(names[:-1], position), names[-1])
        index = self.arrays.get(parent, -1) + 1
        self.arrays[parent] = index
        self.found.setdefault(parent, position)
        self.found[(*parent, index)] = position
        return (*parent, index)

    def _resolve(self, names: tuple[str, ...], position: Position) -> Path:
        """The path of a dotted header; an array of tables in it stands for its last element.

        The position of a table without a header of its own is that of the first header that implies it.
        """
        path: Path = ()
        for name in names:
            path = (*path, name)
            if path not in self.found:
                self.found[path] = position
                self.implied.add(path)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return path

    def _pair(self, base: Path) -> None:
        position = self._position()
        names = self._dotted()
        path = base
        for name in names:
            path = (*path, name)
            self.found.setdefault(path, position)
        self._checked_depth(path, position)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        char = self.text[self.at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "]":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
                continue
            element, position = (*path, index), self._position()
            self._checked_depth(element, position)
            self.found[element] = position
            self._value(element)
            index += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == "}":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(path)

    def _dotted(self) -> tuple[str, ...]:
        """Read a dotted key, up to ``=`` or ``]``."""
        names: list[str] = []
        start = self._position()
        while True:
            if len(names) >= DEEPEST:
                raise TooDeepError(start)
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                text = self._string()
                # A key may contain escapes; tomllib decodes them.
                names.append(str(tomllib.loads(f"k = {text}")["k"]))
            else:
                names.append(self._skip(_BARE))
            self._skip(_SPACE)
            if self.at < len(self.text) and self.text[self.at] == ".":
                self.at += 1
                continue
            return tuple(names)

    def _string(self) -> str:
        """Skip a string of any of the four kinds and return its source text."""
        three = self.text[self.at : self.at + 3]
        return self._skip(_STRINGS[three if three in _STRINGS else three[0]])

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Skip the text that matches here and return it."""
        match = pattern.match(self.text, self.at)
        assert match is not None  # tomllib accepted the text
        self.at = match.end()
        return match[0]

    def _checked_depth(self, path: Path, position: Position) -> None:
        if len(path) > DEEPEST:
            raise TooDeepError(position)

    def _position(self) -> Position:
        line = bisect_left(self.line_ends, self.at)
        start = self.line_ends[line - 1] + 1 if line else 0
        return Position(line + 1, self.at - start + 1)
