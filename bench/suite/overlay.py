"""Puts values of a profile into a group of entries of a suite: the models of a family, the evaluations of a kind.

If a profile changes a value in which models differ, their labels change with it, so that they show the value that is
used.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.suite.contrast import Anchor, bounded, differ, shrunk
from bench.suite.document import Document, frozen, set_at
from bench.suite.locate import Path
from bench.suite.section import with_preset

__all__ = ["Change", "Group", "Leaf", "leaves", "relabel"]

Keys = tuple[str, ...]
Values = dict[Keys, tuple[Any, Path]]
"""Values by key of an entry, each with its place in the profile."""


@dataclass(frozen=True)
class Leaf:
    """One value of a profile.

    Attributes:
        path: The key in an entry, such as ``("sampler", "steps")``.
        value: The value.
        source: Its place in the profile.
    """

    path: Keys
    value: Any
    source: Path


def leaves(values: Mapping[str, Any], source: Path, above: Keys = ()) -> list[Leaf]:
    """Every value in nested tables of a profile.

    Args:
        values: A table.
        source: Its place in the profile.
        above: The key in an entry that the table is for.
    """
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += leaves(value, (*source, key), (*above, key))
        else:
            # A document holds lists, as tomllib returns them.
            found.append(Leaf((*above, key), list(value) if isinstance(value, tuple) else value, (*source, key)))
    return found


@dataclass
class Group:
    """Entries of a suite under one schema, so that their values can be compared.

    Attributes:
        result: The document that takes the values.
        profile: The document that the values come from.
        members: The entries, by their place.
        entry: Schema of the keys that every entry has.
        config: Schema of the plug-in's own keys; None if the plug-in is not known.
        fits: Whether an entry can run with a configuration on the suite's data.
        presets: The plug-in's presets.
    """

    result: Document
    profile: Document
    members: Mapping[Path, dict[str, Any]]
    entry: type[BaseModel]
    config: type[BaseModel] | None
    fits: Callable[[dict[str, Any], Any], bool] = field(default=lambda _entry, _config: True)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def overlay(self, given: Sequence[Leaf], caps: Sequence[tuple[str, int | None, Path]]) -> None:
        """Put values into all members, scaled where they differ.

        Args:
            given: The values; a later value for a key replaces an earlier one.
            caps: (key, largest value, its place in the profile).
        """
        own = {at: self._resolved(entry) for at, entry in self.members.items()}
        plain = [leaf for leaf in given if self.config is None or leaf.path[0] in self.entry.model_fields]
        for at in self.members:
            self._put(at, {leaf.path: (leaf.value, leaf.source) for leaf in plain})
        values = {leaf.path: leaf for leaf in given if leaf not in plain}
        chosen = self._chosen(list(values.values()), caps, own)
        for at in self.members:
            self._put(at, chosen[at])
        self._label(own, chosen)

    def _chosen(
        self, given: Sequence[Leaf], caps: Sequence[tuple[str, int | None, Path]], own: Mapping[Path, BaseModel | None]
    ) -> dict[Path, Values]:
        """Values by member: those of the first anchor with which every member is valid. If there is none, the values
        that conflict with the suite are left out.
        """
        trial: dict[Path, Values] = {}
        ways: tuple[Anchor | None, ...] = ("middle", "smallest", None)
        for anchor in ways:
            trial = {at: dict[Keys, tuple[Any, Path]]() for at in self.members}
            for leaf in given:
                self._spread(leaf, anchor, own, trial)
            for key, most, source in caps:
                if most is not None:
                    self._bound(key, most, source, own, trial)
            if all(self._errors(at, trial[at]) == [] for at in self.members):
                return trial
        return {at: self._compatible(at, trial[at]) for at in self.members}

    def _spread(
        self, leaf: Leaf, anchor: Anchor | None, own: Mapping[Path, BaseModel | None], trial: dict[Path, Values]
    ) -> None:
        values = [_value(config, leaf.path) for config in own.values()]
        plain = anchor is None or _UNKNOWN in values or not differ(values)
        new = [leaf.value] * len(values) if plain else shrunk(values, leaf.value, anchor or "middle")
        for at, old, value in zip(own, values, new, strict=True):
            if plain or value != old:
                trial[at][leaf.path] = (value, leaf.source)

    def _bound(
        self, key: str, most: int, source: Path, own: Mapping[Path, BaseModel | None], trial: dict[Path, Values]
    ) -> None:
        values = {at: trial[at].get((key,), (_value(config, (key,)), ()))[0] for at, config in own.items()}
        numbers = {at: v for at, v in values.items() if isinstance(v, int) and not isinstance(v, bool)}
        for at, value in zip(numbers, bounded(list(numbers.values()), most) if numbers else (), strict=True):
            if value != numbers[at]:
                trial[at][key,] = (value, source)

    def _compatible(self, at: Path, values: Values) -> Values:
        """The values without those that conflict with others; values that are wrong by themselves stay."""
        errors = self._errors(at, values)
        if not errors or any(errors):
            return values
        for path in values:
            fewer = {key: value for key, value in values.items() if key != path}
            if not self._errors(at, fewer):
                return fewer
        if self._errors(at, {}):
            return values
        # Several conflict. Keep as many as fit together; repeat, since a value may be valid only beside another.
        kept: Values = {}
        while more := next((p for p in values if p not in kept and not self._errors(at, {**kept, p: values[p]})), None):
            kept = {**kept, more: values[more]}
        return kept

    def _errors(self, at: Path, values: Values) -> list[Keys]:
        """The keys with mistakes; an empty key means that values conflict with each other."""
        if self.config is None:
            return []
        entry = copy.deepcopy(self.members[at])
        for path, (value, _) in values.items():
            set_at(entry, path, value)
        try:
            config = self.config.model_validate(frozen(with_preset(self.entry, entry, self.presets)))
        except ValidationError as error:
            return [tuple(map(str, item["loc"])) for item in error.errors(include_url=False)]
        return [] if self.fits(entry, config) else [()]

    def _resolved(self, entry: Mapping[str, Any]) -> BaseModel | None:
        if self.config is None:
            return None
        try:
            return self.config.model_validate(frozen(with_preset(self.entry, entry, self.presets)))
        except ValidationError:  # reported where the suite is read
            return None

    def _put(self, at: Path, values: Values) -> None:
        for path, (value, source) in values.items():
            self.result.put((*at, *path), value, self.profile, source)

    def _label(self, own: Mapping[Path, BaseModel | None], chosen: Mapping[Path, Values]) -> None:
        """Update the labels of models that differ in a value that has changed."""
        changes: dict[Path, list[Change]] = {at: [] for at in self.members}
        for path in dict.fromkeys(path for values in chosen.values() for path in values):
            old = [_value(config, path) for config in own.values()]
            if _UNKNOWN in old or not differ(old):
                continue
            for at, before in zip(own, old, strict=True):
                after = chosen[at].get(path, (before, ()))[0]
                if after != before:
                    changes[at].append(Change(path[-1], before, after))
        relabel(self.result, self.members, changes)


_UNKNOWN = object()


def _value(config: BaseModel | None, path: Keys) -> Any:
    value: Any = config
    for part in path:
        value = value.get(part, _UNKNOWN) if isinstance(value, Mapping) else getattr(value, part, _UNKNOWN)
    return value


@dataclass(frozen=True)
class Change:
    """A setting in which models of a suite differ, before and after a profile."""

    key: str
    before: Any
    after: Any


def relabel(result: Document, members: Mapping[Path, dict[str, Any]], changes: Mapping[Path, Sequence[Change]]) -> None:
    """Rewrite the labels that the suite sets, and the tables that name rows by them.

    A label that contains the old value as a word (``"JEM, 20 steps"``) gets the new value in its place. If it does not
    contain the value, or if the value may belong to another setting, the new value is appended
    (``"JEM, long (steps 2)"``).
    """
    labels = [entry.get("label") for entry in result.tables("model")]
    for at, entry in members.items():
        label = entry.get("label")
        if not isinstance(label, str) or not changes[at]:
            continue
        new = label
        for change in changes[at]:
            new = _replaced(new, change, entry)
        if new == label or new in labels:
            new = f"{label} ({', '.join(_said(change) for change in changes[at])})"
        labels.append(new)
        entry["label"] = new
        for table in result.tables("table"):
            rows = table.get("models")
            if isinstance(rows, list):
                table["models"] = [new if row == label else row for row in rows]


def _replaced(label: str, change: Change, entry: Mapping[str, Any]) -> str:
    text = _text(change.before)
    found = list(re.finditer(rf"(?<![\w.,-]){re.escape(text)}(?![\w-]|[.,]\d)", label, re.IGNORECASE))
    others = [value for key, value in _explicit(entry) if key != change.key and value == change.before]
    if len(found) != 1 or others or isinstance(change.before, bool | list | tuple):
        return f"{label} ({_said(change)})"
    return f"{label[: found[0].start()]}{_text(change.after)}{label[found[0].end() :]}"


def _explicit(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _explicit(value) if isinstance(value, Mapping) else [(key, value)]
    return found


def _said(change: Change) -> str:
    return f"{change.key.replace('_', ' ')} {_text(change.after)}"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
