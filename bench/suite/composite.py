"""Suites of parts: those that include others, and those with several data sets.

A suite with ``dataset = ["svhn", "cifar100"]`` is one suite for each data set. ``[model.on.cifar100]`` and
``[evaluation.on.cifar100]`` below an entry hold the values that the entry has on one of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from bench.errors import Problem, did_you_mean
from bench.suite.document import Document
from bench.suite.locate import Path
from bench.suite.schema import ResolvedColumn, ResolvedFigure, ResolvedModel, ResolvedTable, Suite
from bench.suite.tables import TableReader, named_columns, substituted

__all__ = ["PartsTableReader", "data_sets", "distinct", "on_data_set", "problems_of_on"]

Entry = TypeVar("Entry", ResolvedTable, ResolvedFigure)

_ENTRIES = ("model", "evaluation", "figure")


def data_sets(document: Document) -> list[str]:
    """The data sets of ``[data]`` if it has a list of them, else an empty list."""
    given = document.table("data").get("dataset")
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def problems_of_on(document: Document) -> list[Problem]:
    """Problems of the list of data sets, and of what entries say of single ones."""
    names = data_sets(document)
    found = []
    given = document.table("data").get("dataset")
    for place, name in enumerate(given if isinstance(given, list) else []):
        at: Path = ("data", "dataset", place)
        if not isinstance(name, str):
            found.append(document.problem(at, "expected a text in quotes"))
        elif name in names[:place]:
            found.append(document.problem(at, f"{name!r} is listed twice"))
    if isinstance(given, list) and not given:
        found.append(document.problem(("data", "dataset"), "expected at least one data set"))
    for kind in _ENTRIES:
        for index, entry in enumerate(document.tables(kind)):
            for name, values in _on(entry).items():
                at = (kind, index, "on", name)
                if name not in names:
                    hint = did_you_mean(name, names) if names else "the suite has one data set: write it in the entry"
                    found.append(document.problem(at, f"{name!r} is no data set of the suite", hint))
                elif not isinstance(values, dict):
                    found.append(document.problem(at, "expected a table"))
    return found


def on_data_set(document: Document, name: str) -> Document:
    """The suite on one of its data sets, without its tables and its gate; the data set is added to ids of figures."""
    part = Document(document.path, copy.deepcopy(document.data), document.positions, dict(document.overlays))
    place = data_sets(document).index(name)
    part.put(("data", "dataset"), name, document, ("data", "dataset", place))
    for kind in _ENTRIES:
        for index, entry in enumerate(part.tables(kind)):
            values = entry.pop("on", {})
            own = values.get(name) if isinstance(values, dict) else None
            for path, value in _leaves(own if isinstance(own, dict) else {}):
                part.put((kind, index, *path), value, document, (kind, index, "on", name, *path))
    part.data.pop("table", None)
    part.data.pop("gate", None)
    for entry in part.tables("figure"):
        if isinstance(entry.get("id"), str):
            entry["id"] = f"{entry['id']}-{_file_name(name)}"
    return part


def distinct(parts: Sequence[Suite]) -> tuple[Suite, ...]:
    """The parts of a suite with names of their own for all tables and figures, which give names to files of one folder.

    If an earlier one has the id, the name of its suite comes before it.
    """
    taken: set[str] = set()

    def named(suite: Suite, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        found = []
        for entry in entries:
            name = entry.id
            while name in taken:
                name = f"{suite.name}-{name}"
            taken.add(name)
            found.append(replace(entry, id=name))
        return tuple(found)

    def renamed(suite: Suite) -> Suite:
        tables, figures = named(suite, suite.tables), named(suite, suite.figures)
        return replace(suite, tables=tables, figures=figures, parts=tuple(map(renamed, suite.parts)))

    return tuple(map(renamed, parts))


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _on(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    values = entry.get("on", {})
    return values if isinstance(values, Mapping) else {}


def _leaves(values: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


@dataclass(kw_only=True)
class PartsTableReader(TableReader):
    """Reads the tables of a suite with several data sets. A column is ``<data set>/<column>``.

    Attributes:
        parts: The suite of each data set, by the name in the file.
        outsides: Substitutes of out-of-distribution sets in each, by the name of the original.
    """

    parts: Mapping[str, Suite] = field(default_factory=dict)
    outsides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def _column(self, name: str) -> ResolvedColumn | None:
        on, _, own = name.partition("/")
        if on in self.parts and own:
            own = substituted(own, self.parts[on].evaluations, self.outsides[on])
        return self._known.get(f"{on}/{own}")

    def _settings(self, given: Any, at: Path, models: Sequence[ResolvedModel]) -> None:  # noqa: ARG002 - as above
        if given is not None:
            self.complain((*at, "settings"), "settings differ by data set", "use a suite of one data set")

    @cached_property
    def _substitutes(self) -> frozenset[str]:
        return frozenset(name for outside in self.outsides.values() for name in outside.values())

    @cached_property
    def _known(self) -> dict[str, ResolvedColumn]:
        found = {}
        for on, part in self.parts.items():
            for name, column in named_columns(part.evaluations).items():
                heading = _heading(part)
                declared = column.column
                group = f"{heading}, {declared.group}" if declared.group else heading
                named = ResolvedColumn(f"{on}/{name}", column.evaluation, replace(declared, group=group), on)
                found[named.id] = named
        return found


def _heading(part: Suite) -> str:
    """The data set of a part as a heading; under a profile with the one that takes its place."""
    name = part.dataset.name
    return name if name == part.original_dataset else f"{name} for {part.original_dataset}"
