"""Checks of plug-ins' descriptions against their contracts: types of fields, allowed names.

A problem is a sentence that names the field and the allowed values. Plug-ins do not import this module, and it runs
none of their code except the functions that a check names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

__all__ = ["REFERENCE", "Checks", "finite", "keyed", "shown"]

REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""Form of the reference to an object: ``"package.module:attribute"``."""


class Checks:
    """Collects problems of the fields of one object.

    Args:
        given: The object.
        what: Its name in messages, such as ``"column 'mean'"``; empty if the context names it.
    """

    def __init__(self, given: object, what: str = "") -> None:
        self.given = given
        self.problems: list[str] = []
        self._what = f"{what}: " if what else ""

    def say(self, text: str) -> None:
        """Add a problem."""
        self.problems.append(f"{self._what}{text}")

    def value(self, name: str) -> Any:
        """The field's value, or None if the object has no such field."""
        return getattr(self.given, name, None)

    def expect(self, name: str, right: bool, expected: str) -> bool:
        """Add a problem that says what the field should be, unless ``right``; returns ``right``."""
        if not right:
            self.say(f"{name} is {shown(self.value(name))}, expected {expected}")
        return right

    def text(self, name: str, *, empty: bool = False) -> bool:
        """Check that the field is a string, and not an empty one unless ``empty``."""
        value = self.value(name)
        right = isinstance(value, str) and (empty or value.strip() != "")
        return self.expect(name, right, "a text" if empty else "a text that says something")

    def name(self, name: str, pattern: str, expected: str) -> bool:
        """Check that the field is a string that matches the pattern."""
        value = self.value(name)
        return self.expect(name, isinstance(value, str) and re.fullmatch(pattern, value) is not None, expected)

    def one_of(self, name: str, allowed: Iterable[Any]) -> bool:
        """Check that the field is one of the allowed values."""
        values = list(allowed)
        value = self.value(name)
        right = any(value is one or (isinstance(value, str) and value == one) for one in values)
        return self.expect(name, right, " or ".join(shown(one) for one in values))

    def flag(self, name: str) -> bool:
        """Check that the field is true or false."""
        return self.expect(name, isinstance(self.value(name), bool), "True or False")

    def version(self) -> bool:
        """Check that ``version`` is an integer or None."""
        value = self.value("version")
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return self.expect("version", value is None or whole, "a whole number of 0 or more, or None")

    def function(self, name: str, *, optional: bool = False) -> bool:
        """Check that the field is callable, or None if ``optional``."""
        value = self.value(name)
        right = callable(value) or (optional and value is None)
        return self.expect(name, right, "a function" + (", or None" if optional else ""))

    def texts(self, name: str, kinds: tuple[type[Collection[Any]], ...], expected: str) -> bool:
        """Check that the field is a collection of strings, of one of the given types."""
        value = self.value(name)
        right = isinstance(value, kinds) and all(isinstance(item, str) and item for item in list(value))
        return self.expect(name, right, expected)

    def reference(self, name: str) -> bool:
        """Check that the field has the form ``"package.module:attribute"``."""
        return self.name(name, REFERENCE.pattern, "'package.module:attribute'")

    def ask(self, what: str, question: Callable[[], Any], right: Callable[[Any], bool], expected: str) -> Any:
        """The result of a function of the object; None, and a problem, if it raises or the result is not valid.

        Args:
            what: The function's name in messages, such as ``"passes(config)"``.
            question: Calls the function.
            right: Whether a result is valid.
            expected: A description of valid results.
        """
        try:
            answer = question()
            good = right(answer)
        except (Exception, SystemExit) as error:  # a plug-in may raise anything
            self.say(f"{what} raises {type(error).__name__}: {error}")
            return None
        if not good:
            self.say(f"{what} is {shown(answer)}, expected {expected}")
        return answer if good else None


def finite(value: object) -> bool:
    """Whether a value is a finite number >= 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def shown(value: object) -> str:
    """A value as text for a message."""
    try:
        text = repr(value)
    except Exception:  # a plug-in may raise anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"


def keyed(values: object) -> bool:
    """Whether a value is a mapping whose keys are strings."""
    return isinstance(values, Mapping) and all(isinstance(key, str) for key in values)
