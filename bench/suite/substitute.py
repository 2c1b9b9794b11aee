"""Data sets that a profile substitutes: the suite's own set and its out-of-distribution sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.data.registry import find_dataset
from bench.errors import PrerequisiteError, Problem
from bench.evaluate.base import EVALUATIONS
from bench.registry import UnknownNameError
from bench.suite.document import Document
from bench.suite.locate import Path
from bench.suite.names import registered
from bench.suite.schema import ProfileFile
from bench.suite.section import value_or_default

__all__ = ["Substitution", "dataset_names"]

Names = dict[str, tuple[tuple[str, Path], ...]]
"""The alternatives by the suite's name of a set, each with its place in the profile."""


class Substitution:
    """The substitutes of the data sets of a suite under a profile.

    ``[substitute.data]`` replaces the suite's own data set, ``[substitute.ood]`` the out-of-distribution sets;
    without the latter the former applies to both. An out-of-distribution set gets the first of its alternatives that is
    neither the suite's own set nor used for another one, so that the number of sets stays the same.

    Attributes:
        inside: The substitute of the suite's own set, with its place in the profile; None if the set stays.
        outside: The substitutes of the other sets, by name, each with its place in the profile.
        problems: Substitutes that do not exist. Each is reported once, here, and not at each use in the suite.
    """

    def __init__(self, document: Document, parsed: ProfileFile, profile: Document) -> None:
        self.document, self.profile = document, profile
        self.problems: list[Problem] = []
        data = {name: (value,) for name, value in parsed.substitute.data.items()}
        own = self._known("data", data)
        if parsed.substitute.ood is None:
            others = own
        else:
            ood = parsed.substitute.ood.items()
            others = self._known("ood", {k: (v,) if isinstance(v, str) else v for k, v in ood})
        given = document.table("data").get("dataset")
        name = given if isinstance(given, str) else None
        self.inside = next(iter(own.get(name, ())), None) if name is not None else None
        self.outside = self._assigned(others, self.inside[0] if self.inside else name)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The substitutions that take place, as (original, substitute)."""
        pairs = [(str(self.document.data["data"]["dataset"]), self.inside[0])] if self.inside else []
        return (*pairs, *((original, name) for original, (name, _) in self.outside.items()))

    def apply(self, result: Document) -> None:
        """Rename the data sets of ``result``, a copy of the suite's document, and record the origin of each name."""
        if self.inside is not None:
            name, place = self.inside
            result.put(("data", "dataset"), name, self.profile, place)
            result.data["data"].pop("resize", None)  # it belongs to the suite's own images
        for index, entry in enumerate(result.tables("evaluation")):
            for field in _fields(entry):
                value, at = _value(entry, field), ("evaluation", index, field)
                if isinstance(value, dict):
                    swapped: Any = {key: self._swapped(result, names, (*at, key)) for key, names in value.items()}
                else:
                    swapped = self._swapped(result, value, at)
                if swapped != value:
                    entry[field] = swapped

    def _swapped(self, result: Document, value: Any, at: Path) -> Any:
        """A name or a list of names, with the substituted names."""
        if isinstance(value, str) and value in self.outside:
            name, place = self.outside[value]
            result.overlays[at] = (self.profile, place)
            return name
        if isinstance(value, list) and any(item in self.outside for item in value if isinstance(item, str)):
            return self._renamed(result, value, at)
        return value

    def _renamed(self, result: Document, given: list[Any], at: Path) -> list[Any]:
        """The list with substituted names. A substitute that two sets share is listed once."""
        names: list[Any] = []
        substitutes = {name for name, _ in self.outside.values()}
        for place, name in enumerate(given):
            swapped, origin = name, (result, (*at, place))
            if isinstance(name, str) and name in self.outside:
                swapped, source = self.outside[name]
                origin = (self.profile, source)
            if swapped in names and swapped in substitutes and given.count(name) == 1:
                continue
            if (len(names), swapped) != (place, name):
                result.overlays[*at, len(names)] = origin
            names.append(swapped)
        return names

    def _known(self, section: str, given: Mapping[str, tuple[str, ...]]) -> Names:
        found: Names = {}
        for original, alternatives in given.items():
            places: list[tuple[str, Path]] = []
            for number, name in enumerate(alternatives):
                at: Path = ("substitute", section, original)
                if (*at, number) in self.profile.positions:
                    at = (*at, number)
                try:
                    find_dataset(name, self.document.path.parent)
                except UnknownNameError as error:
                    self.problems.append(self.profile.problem(at, error.reason, error.hint))
                except (ValueError, OSError, PrerequisiteError) as error:
                    self.problems.append(self.profile.problem(at, str(error)))
                else:
                    places.append((name, at))
            found[original] = tuple(places)
        return found

    def _assigned(self, others: Names, inside: str | None) -> dict[str, tuple[str, Path]]:
        names = list(dict.fromkeys(dataset_names(self.document)))
        taken = {name for name in names if not others.get(name)} | {inside}
        assigned = {}
        for name in names:
            alternatives = others.get(name, ())
            if not alternatives:
                continue
            apart = [one for one in alternatives if one[0] != inside]
            # If there are more sets than alternatives, sets share one. The reader of the evaluations reports a set
            # that is the suite's own.
            chosen = next((one for one in apart if one[0] not in taken), (apart or list(alternatives))[0])
            taken.add(chosen[0])
            assigned[name] = chosen
        return assigned


def dataset_names(document: Document) -> Iterator[str]:
    """The data sets that evaluations of a suite name, or have by default."""
    for entry in document.tables("evaluation"):
        for field in _fields(entry):
            value = _value(entry, field)
            for names in value.values() if isinstance(value, dict) else [value]:
                yield from (item for item in (names if isinstance(names, list) else [names]) if isinstance(item, str))


def _fields(entry: Mapping[str, Any]) -> tuple[str, ...]:
    evaluation = registered(EVALUATIONS, entry.get("kind"))
    return () if evaluation is None else evaluation.dataset_fields


def _value(entry: Mapping[str, Any], field: str) -> Any:
    return value_or_default(EVALUATIONS.get(entry["kind"]).Config, entry, field)
