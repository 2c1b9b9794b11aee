"""Names of the entries of a suite, also of those with mistakes, so that references to them are not called unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bench.errors import nearest
from bench.evaluate.base import EVALUATIONS
from bench.registry import Named, Registry, UnknownNameError
from bench.spec import FAMILIES
from bench.suite.absent import how_to_install

__all__ = [
    "Doubtful",
    "evaluation_id",
    "model_label",
    "model_name",
    "registered",
    "unclear_evaluations",
    "unclear_models",
]

T = TypeVar("T", bound=Named)


@dataclass(frozen=True)
class Doubtful:
    """Possible names of entries with mistakes.

    Attributes:
        names: The likely ones.
        any: Whether some entry may have any name.
    """

    names: frozenset[str] = field(default_factory=frozenset)
    any: bool = False

    def __contains__(self, name: str) -> bool:
        return self.any or name in self.names


def registered(registry: Registry[T], name: object) -> T | None:
    """The plug-in called ``name``, or None if there is none, which is reported where the suite is read."""
    try:
        return registry.get(name) if isinstance(name, str) else None
    except UnknownNameError:
        return None


def model_name(raw: Mapping[str, Any]) -> str | None:
    """The name of a ``[[model]]``, by default its family's; None if neither is known."""
    given = raw.get("name")
    if given is not None:
        return given if isinstance(given, str) else None
    family = registered(FAMILIES, raw.get("family"))
    if family is None:
        return str(raw["family"]) if how_to_install(raw) is not None else None
    return family.name if ":" in raw["family"] else raw["family"]


def model_label(raw: Mapping[str, Any]) -> str | None:
    """The label of a ``[[model]]``, by default its family's; None if neither is known."""
    given = raw.get("label")
    if given is not None:
        return given if isinstance(given, str) else None
    family = registered(FAMILIES, raw.get("family"))
    if family is None:
        return str(raw["family"]) if how_to_install(raw) is not None else None
    return family.label


def evaluation_id(raw: Mapping[str, Any]) -> str | None:
    """The id of an ``[[evaluation]]``, by default the name of its protocol; None if neither is known."""
    given = raw.get("id", raw.get("kind"))
    if isinstance(given, str) and "id" not in raw and ":" in given:
        evaluation = registered(EVALUATIONS, given)
        return None if evaluation is None else evaluation.name
    return given if isinstance(given, str) else None


def unclear_models(entries: Iterable[Mapping[str, Any]]) -> Doubtful:
    """Possible names of the given ``[[model]]`` entries, all of which have mistakes."""
    names: set[str] = set()
    unknown = False
    for raw in entries:
        found = {name for name in (model_name(raw), model_label(raw)) if name is not None}
        if registered(FAMILIES, raw.get("family")) is None and not isinstance(raw.get("name"), str):
            # The model has its family's name, which is misspelt or cannot be imported.
            meant = _meant(raw.get("family"), FAMILIES)
            unknown = unknown or not meant
            found |= meant | {FAMILIES.get(name).label for name in meant if name in FAMILIES.names()}
        names |= {written for name in found for written in _ways(name)}
    return Doubtful(frozenset(names), unknown)


def unclear_evaluations(entries: Iterable[Mapping[str, Any]]) -> Doubtful:
    """Possible names of the given ``[[evaluation]]`` entries, all of which have mistakes."""
    names: set[str] = set()
    unknown = False
    for raw in entries:
        given, own = raw.get("id"), evaluation_id(raw)
        found = {own} if own is not None and (given is not None or ":" in str(raw["kind"])) else set()
        found |= _meant(raw.get("kind"), EVALUATIONS) if given is None else set()
        unknown = unknown or not found
        names |= {written for name in found for written in _ways(name)}
    return Doubtful(frozenset(names), unknown)


def _meant(name: object, registry: Registry[Any]) -> set[str]:
    """``name`` alone if it is registered, else ``name`` and the nearest registered name; empty if none is near."""
    if not isinstance(name, str):
        return set()
    if name in registry.names():
        return {name}
    close = nearest(name, registry.names())
    return {name, close} if close is not None else set()


def _ways(name: str) -> set[str]:
    """A name as written, and the same name in the form that names must have."""
    return {name, re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-")}
