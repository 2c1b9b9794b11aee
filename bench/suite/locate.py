"""Where in a TOML file each key stands.

``tomllib`` gives values without positions. This scanner walks the same text and returns the line and column of
every key, so that an error about a value can name the place to mend. It relies on ``tomllib`` having accepted the
text: it finds positions, it does not validate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Path", "Position", "locate", "lookup"]

Path = tuple[str | int, ...]
"""Keys and array indices from the root, such as ``("model", 1, "sampler", "steps")``."""


@dataclass(frozen=True)
class Position:
    """Line and column, both from 1."""

    line: int
    column: int


def locate(text: str) -> dict[Path, Position]:
    """The position of every key, table and array element of a valid TOML document."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.found


def lookup(positions: Mapping[Path, Position], path: Path) -> Position | None:
    """The position of ``path``, or of its nearest enclosing table if the key itself is absent."""
    for end in range(len(path), 0, -1):
        if path[:end] in positions:
            return positions[path[:end]]
    return None


_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Position] = {}
        self.arrays: dict[Path, int] = {}
        self.implied: set[Path] = set()

    def document(self) -> None:
        base: Path = ()
        while True:
            self._blank(newlines=True)
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
        """The path of a dotted header: each array of tables on the way means its last element.

        A table that has no header of its own stands where a header first implies it.
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
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._blank(newlines=False)
        char = self.text[self.at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self._blank(newlines=True)
            if self.text[self.at] == "]":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.found[(*path, index)] = self._position()
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self._blank(newlines=True)
            if self.text[self.at] == "}":
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(path)

    def _dotted(self) -> tuple[str, ...]:
        """A dotted key; stops at ``=`` or ``]``."""
        names: list[str] = []
        while True:
            self._blank(newlines=False)
            if self.text[self.at] in "\"'":
                names.append(self._string())
            else:
                start = self.at
                while self.at < len(self.text) and self.text[self.at] in _BARE:
                    self.at += 1
                names.append(self.text[start : self.at])
            self._blank(newlines=False)
            if self.at < len(self.text) and self.text[self.at] == ".":
                self.at += 1
                continue
            return tuple(names)

    def _string(self) -> str:
        """Skip a string of any of the four kinds and return the text of a key (escapes decoded by tomllib)."""
        import tomllib

        start = self.at
        quote = self.text[self.at]
        if self.text.startswith(quote * 3, self.at):
            self.at += 3
            while not self.text.startswith(quote * 3, self.at):
                self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
            self.at += 3
            while self.at < len(self.text) and self.text[self.at] == quote:
                self.at += 1  # up to two quotes may belong to the content
        else:
            self.at += 1
            while self.text[self.at] != quote:
                self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
            self.at += 1
        value = tomllib.loads(f"k = {self.text[start : self.at]}")["k"]
        return str(value)

    def _blank(self, *, newlines: bool) -> None:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t" or (newlines and char == "\n"):
                self.at += 1
            elif char == "#" and newlines:
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def _position(self) -> Position:
        line_start = self.text.rfind("\n", 0, self.at) + 1
        return Position(self.text.count("\n", 0, self.at) + 1, self.at - line_start + 1)
