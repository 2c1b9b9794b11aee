"""Whether a plug-in's description holds what its contract says: fields of the right kind, names among the allowed ones.

Each check returns what is wrong, as a sentence that names the field and what is allowed. Nothing here is imported by a
plug-in, and nothing of a plug-in is run but what the check says.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

__all__ = [
    "Checks",
    "finite",
    "keyed",
    "missing_reference",
    "reply",
    "shown",
]

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Checks:
    """Collects what is wrong with the fields of one object.

    Args:
        given: The object.
        what: How messages call it, such as ``"column 'mean'"``; empty where the reader knows.
    """

    def __init__(self, given: object, what: str = "") -> None:
        self.given = given
        self.problems: list[str] = []
        self._what = f"{what}: " if what else ""

    def say(self, text: str) -> None:
        """Add a problem."""
        self.problems.append(f"{self._what}{text}")

    def value(self, name: str) -> Any:
        """The field, or None where the object has none."""
        return getattr(self.given, name, None)

    def expect(self, name: str, right: bool, expected: str) -> bool:
        """Say what a field should be, unless it is ``right``."""
        if not right:
            self.say(f"{name} is {shown(self.value(name))}, expected {expected}")
        return right

    def text(self, name: str, *, empty: bool = False) -> bool:
        """The field is a text, of something unless ``empty``."""
        value = self.value(name)
        right = isinstance(value, str) and (empty or value.strip() != "")
        return self.expect(name, right, "a text" if empty else "a text that says something")

    def name(self, name: str, pattern: str, expected: str) -> bool:
        """The field is a text of the given form."""
        value = self.value(name)
        return self.expect(name, isinstance(value, str) and re.fullmatch(pattern, value) is not None, expected)

    def one_of(self, name: str, allowed: Iterable[Any]) -> bool:
        """The field is one of the allowed values."""
        values = list(allowed)
        value = self.value(name)
        right = any(value is one or (isinstance(value, str) and value == one) for one in values)
        return self.expect(name, right, " or ".join(shown(one) for one in values))

    def flag(self, name: str) -> bool:
        """The field is true or false."""
        return self.expect(name, isinstance(self.value(name), bool), "True or False")

    def version(self) -> bool:
        """``version`` is a whole number, or None."""
        value = self.value("version")
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return self.expect("version", value is None or whole, "a whole number of 0 or more, or None")

    def function(self, name: str, *, optional: bool = False) -> bool:
        """The field can be called."""
        value = self.value(name)
        right = callable(value) or (optional and value is None)
        return self.expect(name, right, "a function" + (", or None" if optional else ""))

    def texts(self, name: str, kinds: tuple[type[Collection[Any]], ...], expected: str) -> bool:
        """The field is a collection of texts, of one of the given types."""
        value = self.value(name)
        right = isinstance(value, kinds) and all(isinstance(item, str) and item for item in list(value))
        return self.expect(name, right, expected)

    def reference(self, name: str) -> bool:
        """The field is of the form ``"package.module:attribute"``."""
        return self.name(name, _REFERENCE.pattern, "'package.module:attribute'")


@functools.cache
def missing_reference(reference: str) -> str:
    """Why ``"package.module:attribute"`` names nothing, or "". The module is looked for, not run; only the packages
    above it are imported.
    """
    if not _REFERENCE.fullmatch(reference):
        return f"{shown(reference)} is not of the form 'package.module:attribute'"
    module, _, attribute = reference.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except (Exception, SystemExit) as error:  # a stranger's package may raise anything at import
        return f"{reference!r} cannot be imported: {type(error).__name__}: {error}"
    if found is None:
        return f"{reference!r} cannot be imported: there is no module {module!r}"
    names = _top_level(found.origin)
    first = attribute.partition(".")[0]
    return f"{reference!r}: module {module!r} has no {first!r}" if names is not None and first not in names else ""


def _top_level(origin: str | None) -> set[str] | None:
    """Names that a module's source binds; None where that cannot be told from reading it."""
    import ast
    from pathlib import Path

    if origin is None or not origin.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(origin).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and (isinstance(node.ctx, ast.Store) or node.id == "globals"):
            names.add(node.id)
    # Names that come from elsewhere, or are made when asked for.
    return None if names & {"*", "__getattr__", "globals"} else names


def finite(value: object) -> bool:
    """Whether a value is a finite number of 0 or more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def reply(what: str, question: Callable[[], Any], right: Callable[[Any], bool], expected: str) -> tuple[Any, str]:
    """What a function of a plug-in says, and what is wrong with that, or "".

    Args:
        what: How messages call the function, such as ``"passes(config)"``.
        question: Calls it.
        right: Whether an answer is one.
        expected: What is, in words.
    """
    try:
        answer = question()
        good = right(answer)
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        return None, f"{what} raises {type(error).__name__}: {error}"
    return (answer, "") if good else (None, f"{what} is {shown(answer)}, expected {expected}")


def shown(value: object) -> str:
    """A value as a message shows it."""
    try:
        text = repr(value)
    except Exception:  # a stranger's code
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"


def keyed(values: object) -> bool:
    """Whether a value is a mapping whose keys are texts."""
    return isinstance(values, Mapping) and all(isinstance(key, str) for key in values)
