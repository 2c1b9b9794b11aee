"""The bases of the readers of sections of a suite. They collect problems and continue."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel

from bench.data.registry import find_dataset, own_path
from bench.data.spec import DatasetSpec
from bench.errors import PrerequisiteError, Problem, did_you_mean, nearest
from bench.registry import Named, Registry, UnknownNameError
from bench.suite.document import Document, validate
from bench.suite.locate import Path
from bench.suite.names import Doubtful
from bench.suite.schema import ResolvedEvaluation, ResolvedModel, models_by_name

__all__ = [
    "SECTIONS",
    "Absent",
    "ResultsReader",
    "SectionReader",
    "merged",
    "rest",
    "texts",
    "value_or_default",
    "with_preset",
]

SECTIONS = ("suite", "data", "model", "evaluation", "table", "figure", "gate")

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")
T = TypeVar("T", bound=Named)


class Absent(Problem):
    """Something that the file names is missing on this machine. This is not a mistake in the file."""


@dataclass
class SectionReader:
    """Reads a part of a document.

    Attributes:
        document: The suite with the profile applied.
        problems: All problems found; the readers of one suite share the list.
    """

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def complain(self, path: Path, message: str, hint: str = "") -> None:
        """Report a mistake at ``path`` and continue."""
        self.problems.append(self.document.problem(path, message, hint))

    def check(self, schema: type[M], value: Any, at: Path, also_valid: Iterable[str] = ()) -> M | None:
        """``value`` as an instance of the schema, or None, with its mistakes reported."""
        parsed, problems = validate(schema, value, self.document, at, also_valid=tuple(also_valid))
        self.problems += problems
        return parsed

    def entries(self, name: str, *, required: bool) -> list[dict[str, Any]]:
        """The tables of ``[[name]]``."""
        value = self.document.data.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.complain((name,), f"expected an array of tables, written [[{name}]]")
            return []
        if required and not value and name not in self.meant():
            self.complain((name,), f"the suite has no [[{name}]]")
        return value

    def meant(self) -> set[str | None]:
        """The sections that misspelt ones probably mean; they are not reported as missing."""
        return {nearest(key, SECTIONS) for key in self.document.data if key not in SECTIONS}

    def named(self, registry: Registry[T], name: str, path: Path) -> T | None:
        """The registered object called ``name``, or None, with the mistake reported."""
        try:
            return registry.get(name)
        except UnknownNameError as error:
            self.complain(path, error.reason, error.hint)
            return None

    def dataset(self, name: str, path: Path) -> DatasetSpec | None:
        """The data set called ``name``, or None, with the mistake reported."""
        try:
            path_of_own = own_path(name, self.document.path.parent)
            if path_of_own is not None:
                self._regular(name, path_of_own)
            return find_dataset(name, self.document.path.parent)
        except UnknownNameError as error:
            self.complain(path, error.reason, error.hint)
        except OSError as error:
            self.complain(path, f"{name}: cannot be read: {error.strerror or error}")
        except ValueError as error:
            self.complain(path, str(error))
        except PrerequisiteError as error:
            problem = self.document.problem(path, str(error))
            self.problems.append(Absent(**{one.name: getattr(problem, one.name) for one in fields(problem)}))
        return None

    def _regular(self, name: str, path: FilePath) -> None:
        """Raises ValueError if a path leads to a device or a pipe, since reading it may never end."""
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return  # reported where the file is opened
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"{name}: expected an .npz archive or a folder of images")

    def references(self, value: Any, at: Path) -> list[tuple[Path, str]]:
        """The names that a value at a path gives, which is one name or a list, each with its place.

        A name that is listed twice is reported, and returned once.
        """
        if isinstance(value, str):
            return [(at, value)]
        found: dict[str, Path] = {}
        for place, name in texts(value):
            if name in found:
                self.complain((*at, place), f"{name!r} is listed twice")
            found.setdefault(name, (*at, place))
        return [(path, name) for name, path in found.items()]

    def unique(self, named: Iterable[tuple[Path, str | None]], what: str) -> None:
        """Report names that are given twice; None stands for an unknown name."""
        seen: set[str] = set()
        for path, name in named:
            if name in seen:
                self.complain(path, f"{what} {name!r} is used twice", "give one of them another")
            if name is not None:
                seen.add(name)


@dataclass(kw_only=True)
class ResultsReader(SectionReader):
    """Reads sections that show results of models, such as ``[[table]]`` and ``[[figure]]``.

    Attributes:
        models: The models without mistakes.
        evaluations: The evaluations without mistakes.
        unclear_models: Possible names of models with mistakes; they are not reported as unknown.
        unclear_evaluations: Possible names of evaluations with mistakes; they are not reported as unknown.
        outside: The profile's substitutes of out-of-distribution sets, by the name of the original.
    """

    models: Sequence[ResolvedModel]
    evaluations: Sequence[ResolvedEvaluation]
    unclear_models: Doubtful
    unclear_evaluations: Doubtful
    outside: Mapping[str, str]

    def each(self, name: str, read: Callable[[Mapping[str, Any], Path], R | None]) -> list[R]:
        """What ``read`` makes of the entries of ``[[name]]``, without None; an id that is used twice is reported."""
        entries = self.entries(name, required=False)
        found = [read(raw, (name, index)) for index, raw in enumerate(entries)]
        ids = [raw["id"] if isinstance(raw.get("id"), str) else None for raw in entries]
        self.unique([((name, index, "id"), id_) for index, id_ in enumerate(ids)], f"{name} id")
        return [one for one in found if one is not None]

    def shown_models(self, raw: Mapping[str, Any], at: Path) -> list[ResolvedModel]:
        """The models that ``models`` of an entry names, by label or by name; all without it. Unknown ones are
        reported.
        """
        if raw.get("models") is None:
            return list(self.models)
        known = models_by_name(self.models)
        found = []
        for place, name in texts(raw["models"]):
            if name in known:
                found.append(known[name])
            elif name not in self.unclear_models:
                hint = did_you_mean(name, {*known, *self.unclear_models.names})
                self.complain((*at, "models", place), f"unknown model {name!r}", hint)
        return found


def rest(schema: type[BaseModel], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of an entry that belong to its plug-in."""
    return {key: value for key, value in raw.items() if key not in schema.model_fields}


def with_preset(
    schema: type[BaseModel], raw: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The keys of an entry that belong to its plug-in, and below them those of the preset that the entry names."""
    preset = raw.get("preset")
    return merged(presets.get(preset, {}) if isinstance(preset, str) else {}, rest(schema, raw))


def value_or_default(schema: type[BaseModel], raw: Mapping[str, Any], key: str) -> Any:
    """The value of a key as TOML has it, or the default of the schema if the entry does not have the key."""
    if key in raw:
        return raw[key]
    default = schema.model_fields[key].get_default(call_default_factory=True)
    return list(default) if isinstance(default, tuple) else default


def texts(value: Any) -> list[tuple[int, str]]:
    """The strings in a list, with their indices; empty unless ``value`` is a list."""
    items = value if isinstance(value, list) else []
    return [(place, item) for place, item in enumerate(items) if isinstance(item, str)]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The nested table ``base`` with the values of ``over`` in place of its own."""
    found = dict(base)
    for key, value in over.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found
