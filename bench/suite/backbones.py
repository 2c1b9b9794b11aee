"""Replaces the networks of a suite by a profile's small ones; networks that differ stay different."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.data.spec import DatasetSpec
from bench.spec import BACKBONES, FAMILIES, FamilySpec
from bench.suite.document import Document
from bench.suite.feasible import features, task, unfit
from bench.suite.locate import Path
from bench.suite.names import registered
from bench.suite.overlay import Change, relabel

__all__ = ["Backbones"]


class Backbones:
    """Replaces the networks of a suite by those of a profile.

    Args:
        result: The suite's document.
        profile: The profile's document.
        dataset: The suite's own data set under the profile; None if it is not known.
    """

    def __init__(self, result: Document, profile: Document, dataset: DatasetSpec | None) -> None:
        self.result, self.profile = result, profile
        self.dataset = dataset
        self.before: dict[Path, str] = {}
        self.contrast = False

    def apply(self, entries: Mapping[int, dict[str, Any]], value: Any) -> None:
        """Replace the networks of the given models, in place.

        Equal networks stay equal, and different ones stay different as long as the profile has enough alternatives.
        Smaller networks get earlier alternatives. A network keeps the options in its name other than its size
        (normalisation, dropout).

        Args:
            entries: The models, by their place in the list.
            value: ``backbone`` of the profile: one name, or a tuple of alternatives.
        """
        users = {
            index: entry
            for index, entry in entries.items()
            if isinstance(entry.get("backbone"), str) and _needs_backbone(entry.get("family"))
        }
        for index, entry in users.items():
            self.before["model", index] = entry["backbone"]
        names = list(dict.fromkeys(entry["backbone"] for entry in users.values()))
        self.contrast = len(names) > 1
        alternatives = list(value) if isinstance(value, tuple) else [value]
        if value is None:
            return
        known = [registered(BACKBONES, name) is not None for name in alternatives]
        swapped: dict[str, tuple[Any, Path]] = {}
        sizes: dict[float, Path] = {}
        for name in sorted(names, key=self._cost):
            at: Path = ("model", "backbone")
            if not all(known):
                # The reader of the models reports the unknown name.
                wrong = known.index(False)
                swapped[name] = (alternatives[wrong], (*at, wrong) if isinstance(value, tuple) else at)
                continue
            taken = {one for one, _ in swapped.values()}
            made = [(_like(one, name), (*at, number)) for number, one in enumerate(alternatives)]
            possible = [one for one in made if self._fits(one[0], [e for e in users.values() if e["backbone"] == name])]
            if possible:
                free = [one for one in possible if one[0] not in taken] or possible[-1:]
                # Networks of equal size that differ only in their options get the same alternative.
                size = self._cost(name)
                best = next((one for one in free if one[1] == sizes.get(size)), free[0])
                sizes.setdefault(size, best[1])
                swapped[name] = best if isinstance(value, tuple) else (best[0], at)
        for index, entry in users.items():
            if entry["backbone"] in swapped:
                name, place = swapped[entry["backbone"]]
                self.result.put(("model", index, "backbone"), name, self.profile, place)

    def rename(self, members: Mapping[Path, dict[str, Any]]) -> None:
        """Rename the networks in the labels of the given models, if the suite compares several networks."""
        changes: dict[Path, list[Change]] = {at: [] for at in members}
        for at, entry in members.items():
            before = self.before.get(at)
            if self.contrast and before is not None and entry.get("backbone") != before:
                changes[at].append(Change("backbone", before, entry["backbone"]))
        relabel(self.result, members, changes)

    def unfit(self, spec: FamilySpec, entry: Mapping[str, Any], config: Any, train: int | None) -> Mapping[str, str]:
        """Reasons why a model cannot run on the suite's data, by key; empty if none is known."""
        backbone = registered(BACKBONES, entry.get("backbone", "none"))
        found = task(self.dataset, train)
        return {} if backbone is None or found is None else unfit(spec, backbone, config, found)

    def _fits(self, name: Any, users: list[dict[str, Any]]) -> bool:
        backbone, found = registered(BACKBONES, name), task(self.dataset, None)
        if backbone is None or found is None:
            return True
        if features(backbone, found.image_shape)[1]:
            return False
        for entry in users:
            spec = registered(FAMILIES, entry["family"])
            if spec is None:
                continue
            try:
                config = spec.config()
            except ValueError:  # a required setting
                continue
            if "backbone" in unfit(spec, backbone, config, found):
                return False
        return True

    def _cost(self, name: str) -> float:
        backbone, found = registered(BACKBONES, name), task(self.dataset, None)
        try:
            facts = backbone.describe(name, found.image_shape if found else (3, 32, 32)) if backbone else {}
            return float(facts.get("multiply-adds", 0.0))
        except Exception:  # a plug-in may raise anything; the reader of the models reports it
            return 0.0


def _needs_backbone(family: Any) -> bool:
    spec = registered(FAMILIES, family)
    return isinstance(family, str) and (spec is None or spec.needs_backbone)


def _like(name: str, model: str) -> str:
    """The network ``name`` with the options of ``model`` if both have the same implementation, else ``name``."""
    spec, other = registered(BACKBONES, name), registered(BACKBONES, model)
    if spec is None or other is None or spec.implementation != other.implementation or spec.like is None:
        return name
    return spec.like(name, model)
