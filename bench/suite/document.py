"""A TOML file: its values with the position of every key, and its mistakes, each with its place."""

from __future__ import annotations

import copy
import json
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import Problem, RequestError, SuiteError, did_you_mean, shortened
from bench.plain import several
from bench.suite import locate

__all__ = ["LARGEST", "Document", "frozen", "read", "set_at", "validate"]

M = TypeVar("M", bound=BaseModel)

LARGEST = 4 * 2**20
"""Largest size of a file in bytes; the largest file of the package has about 6,000."""

_PART = r"(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')"
# Parsing a dotted key takes time quadratic in its number of parts. A key begins at the start of a line, header or
# element.
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_PART}[ \t]*\.[ \t]*){{{locate.DEEPEST}}}", re.MULTILINE)
_LONG_NUMBER = re.compile(r"\d[\d_]{4000,}")
_LARGEST_INTEGER = 2**63


@dataclass
class Document:
    """A parsed TOML file.

    Attributes:
        path: The file.
        data: Its content.
        positions: Line and column of each key.
        overlays: Paths whose value came from another document (a profile), with that document and the path in it.
    """

    path: Path
    data: dict[str, Any]
    positions: dict[locate.Path, locate.Position]
    overlays: dict[locate.Path, tuple[Document, locate.Path]] = field(default_factory=dict)

    def table(self, name: str) -> dict[str, Any]:
        """``[name]``, or an empty table if there is none; the readers of sections report one that is not a table."""
        found = self.data.get(name)
        return found if isinstance(found, dict) else {}

    def tables(self, name: str) -> list[dict[str, Any]]:
        """The tables of ``[[name]]`` in their places: one that is not a table becomes an empty one."""
        found = self.data.get(name)
        return [one if isinstance(one, dict) else {} for one in found] if isinstance(found, list) else []

    def put(self, path: locate.Path, value: Any, source: Document, place: locate.Path) -> None:
        """Put a value at ``path`` that another document has at ``place``, as `set_at` does."""
        set_at(self.data, path, value)
        self.overlays[path] = (source, place)

    def problem(self, path: locate.Path, message: str, hint: str = "") -> Problem:
        """A problem at ``path``, located in the file that the value came from."""
        document, place = self, path
        for end in range(len(path), 0, -1):
            if path[:end] in self.overlays:
                document, origin = self.overlays[path[:end]]
                place = (*origin, *path[end:])
                break
        position = locate.lookup(document.positions, place)
        return Problem(
            message=shortened(message, 400),
            key=dotted(place),
            file=document.path,
            line=position.line if position else None,
            column=position.column if position else None,
            hint=shortened(hint, 400),
        )


def dotted(path: locate.Path) -> str:
    """``("model", 1, "lr")`` as ``model[1].lr``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = shortened(part if re.fullmatch(r"[\w-]+", part, re.ASCII) else repr(part), 100)
        text += f".{name}" if text else name
    return text


def read(path: Path) -> Document:
    """Parse a TOML file. Bounds are checked before parsing.

    Raises:
        RequestError: It is not a regular file, cannot be read or is larger than ``LARGEST``.
        SuiteError: It is not UTF-8 or not valid TOML, is nested too deeply, or holds a number beyond 64 bits or a NUL
            character.
    """
    text = _source(path)
    long_key = _LONG_KEY.search(text)
    if long_key is not None:
        raise _refused(path, f"a key of more than {locate.DEEPEST} parts", *_place(text, long_key.start()))
    try:
        data = tomllib.loads(text)
        positions = locate.locate(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(path, text, str(error)) from None
    except RecursionError:
        raise _too_deep(path, _deep_position(text)) from None
    except locate.TooDeepError as error:
        raise _too_deep(path, error.position) from None
    except ValueError as error:  # raised by int(): Python limits the digits that it converts
        number = _LONG_NUMBER.search(text)
        place = _place(text, number.start() if number else 0)
        raise _refused(path, f"a value cannot be read: {error}", *place) from None
    document = Document(path, data, positions)
    problems = [
        Problem(message, file=path, line=positions[at].line, column=positions[at].column) for at, message in _odd(data)
    ]
    if problems:
        raise SuiteError(problems)
    return document


def _source(path: Path) -> str:
    """The text of a file, without the byte-order mark that some editors put first."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise RequestError(f"{shortened(str(path))}: cannot be read: it is {what}, not a TOML file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise RequestError(f"{shortened(str(path))}: no such file") from None
    except OSError as error:
        raise RequestError(f"{shortened(str(path))}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise RequestError(f"{shortened(str(path))!r}: no file can have this name") from None
    if len(content) > LARGEST:
        raise RequestError(f"{path}: cannot be read: it is larger than {LARGEST // 2**20} MiB, the most that is read")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        message = f"byte 0x{content[error.start]:02x} is not valid UTF-8"
        # One character for each byte, so that columns count bytes.
        place = _place(content.decode("latin-1"), error.start)
        raise _refused(path, message, *place, hint="save it as UTF-8") from None


def _odd(data: dict[str, Any]) -> list[tuple[locate.Path, str]]:
    """Problems by path: NUL characters in keys and strings, integers beyond 64 bits."""
    found: list[tuple[locate.Path, str]] = []
    left: list[tuple[locate.Path, Any]] = [((), data)]
    while left:
        path, value = left.pop()
        if isinstance(value, dict):
            found += [((*path, key), "a key holds the character NUL") for key in value if "\0" in key]
            left += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            left += [((*path, index), item) for index, item in enumerate(value)]
        elif isinstance(value, str) and "\0" in value:
            found.append((path, "the text holds the character NUL"))
        elif isinstance(value, int) and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
            found.append((path, "the number does not fit into 64 bits"))
    return found


def _deep_position(text: str) -> locate.Position:
    try:
        locate.locate(text)
    except locate.TooDeepError as error:
        return error.position
    return locate.Position(1, 1)  # unreachable as long as DEEPEST is far below the parser's own limit


def _too_deep(path: Path, position: locate.Position) -> SuiteError:
    return _refused(path, f"nested more than {locate.DEEPEST} levels", position.line, position.column)


def _invalid(path: Path, text: str, message: str) -> SuiteError:
    # tomllib gives the position only inside its message.
    found = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", message)
    line, column = text.count("\n") + 1, None
    if found and found.group(1):
        line, column = int(found.group(1)), int(found.group(2))
    plain, hint = re.sub(r"\s*\(at .*\)$", "", message), ""
    twice = re.fullmatch(r"Cannot declare \('(\w+)',\) twice", plain)
    if twice:
        plain, hint = f"[{twice.group(1)}] stands twice", f"each of several is written [[{twice.group(1)}]]"
    elif plain == "Invalid value":
        hint = "texts stand in quotes"
    return _refused(path, f"not valid TOML: {plain}", line, column, hint)


def _place(text: str, at: int) -> tuple[int, int]:
    """Line and column of an index in a text, both from 1."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _refused(path: Path, message: str, line: int, column: int | None, hint: str = "") -> SuiteError:
    return SuiteError([Problem(message, file=path, line=line, column=column, hint=hint)])


def set_at(data: Any, path: locate.Path, value: Any) -> None:
    """Set a copy of a value in nested tables and arrays.

    Missing tables are made. If the suite has something else in the place of a table, it stays, and nothing is set.
    """
    for part, below in pairwise(path):
        inner = data[part] if isinstance(part, int) else data.setdefault(part, {})
        if not isinstance(inner, list if isinstance(below, int) else dict):
            return
        data = inner
    data[path[-1]] = copy.deepcopy(value)


def frozen(value: Any) -> Any:
    """The value with its lists as tuples, recursively: the schemas are strict and frozen."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return value


def validate(
    schema: type[M], value: Any, document: Document, at: locate.Path, *, also_valid: tuple[str, ...] = ()
) -> tuple[M | None, list[Problem]]:
    """Check ``value`` against a schema; every mistake becomes a located problem.

    Args:
        schema: A pydantic model.
        value: The value in the file.
        document: The file, for positions.
        at: Path of the value in the file.
        also_valid: Further names to suggest for unknown keys.
    """
    try:
        return schema.model_validate(frozen(value)), []
    except ValidationError as error:
        problems: list[Problem] = []
        items = error.errors(include_url=False)
        for item in items:
            if len(problems) == _MOST:
                problems.append(document.problem(at, f"and {len(items) - _MOST} more mistakes in the same table"))
                break
            if item["type"] == "too_short" and any(_below(item["loc"], other["loc"]) for other in items):
                continue  # follows from a wrong element that was left out
            path = at + tuple(part for part in item["loc"] if not _is_type_tag(part))
            problems.append(_problem(schema, item, document, path, len(at), also_valid))
        return None, problems
    except Exception as error:  # a validator of a plug-in may raise anything
        message = f"{schema.__name__} cannot check this: {type(error).__name__}: {error}"
        return None, [document.problem(at, message)]


_MOST = 50
"""Largest number of mistakes listed for one table, since each search for the nearest valid name takes time."""


def _below(outer: tuple[str | int, ...], inner: tuple[str | int, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _is_type_tag(part: str | int) -> bool:
    # Pydantic adds the alternative of a union to the location; it is not a key of the file.
    return isinstance(part, str) and (part.startswith(("tuple[", "literal[", "function-")) or part in _TAGS)


_TAGS = frozenset({"str", "int", "float", "bool", "constrained-float", "constrained-int", "constrained-str"})


def _problem(
    schema: type[BaseModel],
    item: Any,
    document: Document,
    path: locate.Path,
    depth: int,
    also_valid: tuple[str, ...],
) -> Problem:
    kind = item["type"]
    if kind == "extra_forbidden":
        parent = _schema_at(schema, path[depth:-1])
        names = (*(parent.model_fields if parent else ()), *(also_valid if len(path) == depth + 1 else ()))
        return document.problem(path, "unknown key", did_you_mean(str(path[-1]), names))
    if kind == "missing" and isinstance(path[-1], int):
        return document.problem(path[:-1], f"a value is missing: expected {path[-1] + 1} at least")
    if kind == "missing":
        return document.problem(path, "required key is missing")
    message = str(item["msg"])
    message = message[0].lower() + message[1:]
    message = message.removeprefix("value error, ")
    given = item.get("input")
    shown = _as_toml(given)
    hint = ""
    if kind in ("too_short", "too_long"):
        bound, name = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        held = item["ctx"]["actual_length"] or "none"
        return document.problem(path, f"expected {bound} {several(item['ctx'][name], 'value')}, got {held}")
    if kind in _EXPECTED:
        message, hint = f"expected {_EXPECTED[kind]}", _mended(kind, given)
    if kind == "string_pattern_mismatch":
        message = "a name holds lower-case letters, digits and '-', first a letter or digit"
    if kind == "value_error" and (", got " in message or not isinstance(given, str | int | float | bool)):
        return document.problem(path, message)  # the message names the value or the element
    if kind == "literal_error" and isinstance(given, str):
        hint = did_you_mean(given, re.findall(r"'([^']*)'", str(item.get("ctx", {}).get("expected", ""))))
    return document.problem(path, f"{message}, got {shown}", hint)


_EXPECTED = {
    "string_type": "a text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
"""The names of the types of values in TOML."""


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, list | tuple) else str(value)


def _mended(kind: str, given: Any) -> str:
    """The right spelling of a value if only its type is wrong, else empty."""
    if kind == "tuple_type" and isinstance(given, str | int | float):
        return f"write [{_quoted(given)}]"
    if isinstance(given, bool):
        return ""
    if kind == "string_type" and isinstance(given, int | float):
        return f'write "{given}"'
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if kind in ("int_type", "float_type") and isinstance(given, str):
        number = r"[-+]?\d+" if kind == "int_type" else r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
        return f"write {given} without quotes" if re.fullmatch(number, given) else ""
    return ""


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=not value.isprintable()) if isinstance(value, str) else _as_toml(value)


def _schema_at(schema: type[BaseModel], path: locate.Path) -> type[BaseModel] | None:
    current: type[BaseModel] | None = schema
    for part in path:
        if isinstance(part, int):
            continue
        info = current.model_fields.get(part) if current else None
        annotation = info.annotation if info else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return current
