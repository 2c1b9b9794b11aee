"""Reads the text and the values of a TOML file; bounds are checked before parsing, and errors name file and line."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from bench.errors import Problem, RequestError, SuiteError, shortened
from bench.suite import locate

__all__ = ["LARGEST", "parsed", "source_text"]

LARGEST = 4 * 2**20
"""Largest size of a file in bytes; the largest file of the package has about 6,000."""

_PART = r"(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')"
# Parsing a dotted key takes time quadratic in its number of parts. A key begins at the start of a line, header or
# element.
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_PART}[ \t]*\.[ \t]*){{{locate.DEEPEST}}}", re.MULTILINE)
_LONG_NUMBER = re.compile(r"\d[\d_]{4000,}")
_LARGEST_INTEGER = 2**63


def source_text(path: Path) -> str:
    """The text of a file, without the byte-order mark that some editors put first.

    Raises:
        RequestError: It is not a regular file, cannot be read or is larger than ``LARGEST``.
        SuiteError: It is not UTF-8.
    """
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
        start = content.rfind(b"\n", 0, error.start) + 1
        line, column = content.count(b"\n", 0, error.start) + 1, error.start - start + 1
        message = f"byte 0x{content[error.start]:02x} is not valid UTF-8"
        raise SuiteError([Problem(message, file=path, line=line, column=column, hint="save it as UTF-8")]) from None


def parsed(path: Path, text: str) -> tuple[dict[str, Any], dict[locate.Path, locate.Position]]:
    """Values and positions of a TOML text.

    Raises:
        SuiteError: It is not valid TOML, is nested too deeply, or holds a number beyond 64 bits or a NUL character.
    """
    long_key = _LONG_KEY.search(text)
    if long_key is not None:
        raise _refused(path, text, long_key.start(), f"a key of more than {locate.DEEPEST} parts")
    try:
        data = tomllib.loads(text)
        positions = locate.locate(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError([_syntax_problem(path, text, str(error))]) from None
    except RecursionError:
        raise _too_deep(path, _deep_position(text)) from None
    except locate.TooDeepError as error:
        raise _too_deep(path, error.position) from None
    except ValueError as error:  # raised by int(): Python limits the digits that it converts
        number = _LONG_NUMBER.search(text)
        raise _refused(path, text, number.start() if number else 0, f"a value cannot be read: {error}") from None
    problems = [
        Problem(message, file=path, line=positions[at].line, column=positions[at].column) for at, message in _odd(data)
    ]
    if problems:
        raise SuiteError(problems)
    return data, positions


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
    message = f"nested more than {locate.DEEPEST} levels"
    return SuiteError([Problem(message, file=path, line=position.line, column=position.column)])


def _refused(path: Path, text: str, at: int, message: str) -> SuiteError:
    start = text.rfind("\n", 0, at) + 1
    return SuiteError([Problem(message, file=path, line=text.count("\n", 0, at) + 1, column=at - start + 1)])


def _syntax_problem(path: Path, text: str, message: str) -> Problem:
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
    return Problem(f"not valid TOML: {plain}", file=path, line=line, column=column, hint=hint)
