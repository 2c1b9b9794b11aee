"""A TOML file with the position of every key, and the translation of validation errors into located problems."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import Problem, did_you_mean, shortened
from bench.suite import locate
from bench.suite.source import parsed, source_text

__all__ = ["Document", "frozen", "read", "validate"]

M = TypeVar("M", bound=BaseModel)


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
    """Parse a TOML file.

    Raises:
        RequestError: The file cannot be read.
        SuiteError: It is not valid TOML.
    """
    data, positions = parsed(path, source_text(path))
    return Document(path, data, positions)


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
    if kind == "missing":
        return document.problem(path, "required key is missing")
    message = str(item["msg"])
    message = message[0].lower() + message[1:]
    message = message.removeprefix("value error, ")
    given = item.get("input")
    shown = _as_toml(given)
    hint = ""
    if kind in ("too_short", "too_long"):
        message = message.replace("tuple", "the list")
    if kind in _EXPECTED:
        message, hint = f"expected {_EXPECTED[kind]}", _mended(kind, given)
    if kind == "string_pattern_mismatch":
        message = "a name holds lower-case letters, digits and '-', first a letter or digit"
    if kind == "value_error" and not isinstance(given, str | int | float | bool):
        return document.problem(path, message)  # the message names the element
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
