"""The models of a suite: family, backbone, hyper-parameters and origin of the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.data.spec import DatasetSpec
from bench.errors import did_you_mean
from bench.plugins.descriptions import configured_problems, untrained
from bench.spec import BACKBONES, FAMILIES, BackboneSpec, FamilySpec, TrainingConfig
from bench.suite.absent import how_to_install, placeholder
from bench.suite.locate import Path
from bench.suite.names import Doubtful, model_label, model_name, unclear_models
from bench.suite.schema import Caps, ModelEntry, ResolvedModel
from bench.suite.section import SectionReader, rest, with_preset

__all__ = ["ModelReader"]

_LONGEST_CHAIN = 100
"""Largest number of models in a chain of ``init_from``."""


@dataclass
class ModelReader(SectionReader):
    """Reads ``[[model]]`` entries.

    Attributes:
        caps: The bounds of the profile.
        inside: The in-distribution data set, if it is known.
        unclear: Set by ``models``: possible names of the entries with mistakes.
        placed: Set by ``models``: the models without mistakes, by their place in the file.
    """

    caps: Caps = field(default_factory=Caps)
    inside: DatasetSpec | None = None
    unclear: Doubtful = field(default_factory=Doubtful)
    placed: dict[int, ResolvedModel] = field(default_factory=dict)

    def models(self) -> list[ResolvedModel]:
        """The models without mistakes; mistakes in the others are reported."""
        entries = self.entries("model", required=True)
        found = [self._model(raw, ("model", index)) for index, raw in enumerate(entries)]
        self.unclear = unclear_models(raw for raw, model in zip(entries, found, strict=True) if model is None)
        if not entries:
            self.unclear = Doubtful(any=True)
        self.unique([(("model", i, "name"), model_name(raw)) for i, raw in enumerate(entries)], "model name")
        self.unique([(("model", i, "label"), model_label(raw)) for i, raw in enumerate(entries)], "model label")
        self._ambiguous(entries)
        self._chains(entries)
        self.placed = {index: model for index, model in enumerate(found) if model is not None}
        return list(self.placed.values())

    def _ambiguous(self, entries: list[dict[str, Any]]) -> None:
        """Report labels that are the name of another model: tables name their rows by name or label."""
        names, labels = [model_name(raw) for raw in entries], [model_label(raw) for raw in entries]
        uses, taken = Counter(labels), set(names)
        for index, label in enumerate(labels):
            # Labels that are used twice are reported separately.
            if label is not None and label != names[index] and label in taken and uses[label] == 1:
                reason = f"the label {label!r} is the name of another model"
                self.complain(("model", index, "label"), reason, "give it another")

    def _chains(self, entries: list[dict[str, Any]]) -> None:
        """Check that ``init_from`` names another model of the suite, and that its chains have no circle."""
        starts = [(model_name(raw), raw.get("init_from")) for raw in entries]
        # A wrong type of init_from is reported elsewhere.
        sources = {name: start if isinstance(start, str) else None for name, start in starts if name is not None}
        for index, (own, start) in enumerate(starts):
            at: Path = ("model", index, "init_from")
            if not isinstance(start, str):
                continue
            if start not in sources:
                if start not in self.unclear:
                    hint = did_you_mean(start, sources)
                    self.complain(at, f"no model of the suite is called {start!r}", hint)
                continue
            seen: dict[str, None] = {}
            name = own
            while name is not None and name not in seen and len(seen) <= _LONGEST_CHAIN:
                seen[name] = None
                name = sources.get(name)
            if name is not None and name == own:
                self.complain(at, f"models start from each other: {' from '.join([*seen, name])}")
            elif len(seen) > _LONGEST_CHAIN:
                self.complain(at, f"more than {_LONGEST_CHAIN} models start from each other in a row")

    def _model(self, raw: dict[str, Any], at: Path) -> ResolvedModel | None:
        """One model, or None if it has mistakes. Every key is checked, also if others are wrong."""
        before = len(self.problems)
        entry = self.check(ModelEntry, {key: raw[key] for key in raw if key in ModelEntry.model_fields}, at)
        if entry is not None and (install := how_to_install(raw)) is not None:
            return self._absent(entry, install)
        family = self.named(FAMILIES, raw["family"], (*at, "family")) if isinstance(raw.get("family"), str) else None
        backbone = self._backbone(raw, family, at)
        self._start(raw, at)
        if family is None:
            return None
        config = self._config(raw, family, at)
        if config is not None:
            self._without_effect(raw, family, config, at)
        if config is not None and backbone is not None:
            located = family.located(config, self.document.path.parent)
            wrong = list(family.problems(located, entry.backbone if entry else "none"))
            for key, message, hint in wrong:
                self.complain((*at, *key.split(".")), message, hint)
            shape = self.inside.image_shape if self.inside is not None else None
            for problem in configured_problems(family, backbone, located, shape) if not wrong else ():
                self.complain((*at, "backbone" if problem.startswith("backbone") else "family"), problem)
        if entry is None or config is None or backbone is None or len(self.problems) > before:
            return None
        return ResolvedModel(
            name=model_name(raw) or family.name,
            label=entry.label or family.label,
            family_name=entry.family,
            family=family,
            backbone_name=entry.backbone,
            backbone=backbone,
            seeds=entry.seeds[: self.caps.seeds],
            config=config,
            init_from=entry.init_from,
            weights=entry.weights,
        )

    def _absent(self, entry: ModelEntry, install: str) -> ResolvedModel:
        """A model whose family is not installed. Its hyper-parameters cannot be checked."""
        family = placeholder(entry.family, entry.label)
        return ResolvedModel(
            name=entry.name or entry.family,
            label=family.label,
            family_name=entry.family,
            family=family,
            backbone_name="none",
            backbone=BACKBONES.get("none"),
            seeds=entry.seeds[: self.caps.seeds],
            config=TrainingConfig(),
            absent=f"the family {entry.family} is not installed: {install}",
        )

    def _config(self, raw: Mapping[str, Any], family: FamilySpec, at: Path) -> TrainingConfig | None:
        preset = raw.get("preset")
        if isinstance(preset, str) and preset not in family.all_presets:
            hint = did_you_mean(preset, family.all_presets)
            self.complain((*at, "preset"), f"{family.name} has no preset {preset!r}", hint)
        return self.check(family.config, with_preset(ModelEntry, raw, family.all_presets), at, ModelEntry.model_fields)

    def _backbone(self, raw: Mapping[str, Any], family: FamilySpec | None, at: Path) -> BackboneSpec | None:
        name = raw.get("backbone", "none")
        if not isinstance(name, str):
            return None
        if "backbone" in raw and family is not None and not family.needs_backbone and name != "none":
            self.complain((*at, "backbone"), f"the family {family.name!r} has no backbone", "leave the key out")
            return None
        if "backbone" in raw or family is None or not family.needs_backbone:
            return self.named(BACKBONES, name, (*at, "backbone"))
        self.complain(at, f"{family.name} needs a backbone", 'for example backbone = "wrn-28-10"')
        return None

    def _start(self, raw: Mapping[str, Any], at: Path) -> None:
        seeds = raw.get("seeds")
        if isinstance(seeds, list):
            if len(set(map(repr, seeds))) < len(seeds):
                self.complain((*at, "seeds"), "a seed is listed twice")
            if len(seeds) > 1 and raw.get("weights") is not None and (*at, "seeds") not in self.document.overlays:
                hint = "leave the key out"
                self.complain((*at, "seeds"), "imported weights are one run, other seeds would only repeat it", hint)
        if raw.get("init_from") is not None and raw.get("weights") is not None:
            self.complain((*at, "weights"), "a model has init_from or weights, not both")

    def _without_effect(self, raw: Mapping[str, Any], family: FamilySpec, config: TrainingConfig, at: Path) -> None:
        """Report settings of training for a model that is not trained here: they have no effect."""
        if raw.get("weights") is not None:
            reason = "has no effect beside weights: they are not trained here"
        elif untrained(family, config):
            reason = f"has no effect: a {family.name} is not trained here"
        else:
            return
        for path in _training(rest(ModelEntry, raw), {*TrainingConfig.model_fields, *family.training_only}):
            # A profile applies to all suites: its settings of training are no mistake beside imported weights.
            if not any((*at, *path[:end]) in self.document.overlays for end in range(1, len(path) + 1)):
                self.complain((*at, *path), reason, "leave the key out")


def _training(values: Mapping[str, Any], training: set[str], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the settings that only training reads."""
    for key, value in values.items():
        path = (*above, key)
        if ".".join(path) in training:
            yield path
        elif isinstance(value, Mapping):
            yield from _training(value, training, path)
