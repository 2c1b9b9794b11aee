"""From a suite file to a ``Suite``: read, apply the profile, validate, resolve names. All mistakes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.data.registry import find_dataset
from bench.data.spec import DatasetSpec
from bench.errors import Problem, SuiteError, did_you_mean
from bench.evaluate.base import EVALUATIONS, EvaluationConfig
from bench.registry import UnknownNameError
from bench.spec import BACKBONES, FAMILIES, BackboneSpec, FamilySpec
from bench.suite import profile as profiles
from bench.suite.columns import column_names, resolve_column
from bench.suite.document import Document, read, validate
from bench.suite.locate import Path as KeyPath
from bench.suite.schema import (
    Caps,
    DataSection,
    EvaluationEntry,
    ModelEntry,
    ProfileFile,
    ResolvedEvaluation,
    ResolvedModel,
    ResolvedTable,
    Suite,
    SuiteHeader,
    TableEntry,
)

__all__ = ["load_suite"]

_SECTIONS = ("suite", "data", "model", "evaluation", "table")


def load_suite(path: Path, profile: Path | None = None, *, literature: frozenset[str] = frozenset()) -> Suite:
    """Read and validate a suite.

    Args:
        path: The suite file.
        profile: A profile file to apply.
        literature: Names that ``literature = [...]`` may use.

    Raises:
        SuiteError: With every mistake found in the suite and its profile.
        RequestError: A file cannot be read.
    """
    document = read(path)
    parsed: ProfileFile | None = None
    problems: list[Problem] = []
    if profile is not None:
        document, parsed, problems = profiles.apply(document, read(profile))
    reader = _Reader(document, parsed, literature)
    suite = reader.suite()
    problems += reader.problems
    if problems or suite is None:
        raise SuiteError(problems)
    return suite


class _Reader:
    def __init__(self, document: Document, profile: ProfileFile | None, literature: frozenset[str]) -> None:
        self.document = document
        self.profile = profile
        self.literature = literature
        self.problems: list[Problem] = []
        self.caps = profile.caps if profile else Caps()
        self.substitutes = dict(profile.substitute.data) if profile else {}
        self.inside: DatasetSpec | None = None

    def suite(self) -> Suite | None:
        for key in self.document.data:
            if key not in _SECTIONS:
                self._complain((key,), "unknown section", did_you_mean(key, _SECTIONS))
        header = self._section(SuiteHeader, "suite")
        data = self._section(DataSection, "data")
        dataset = self.inside = self._dataset(data)
        models = self._models()
        evaluations = self._evaluations()
        tables = self._tables(models, evaluations)
        if header is None or data is None or dataset is None or self.problems:
            return None
        original = data.dataset
        if ("data", "dataset") in self.document.overlays:
            # The profile's key is the name that the suite itself gives.
            original = str(self.document.overlays["data", "dataset"][1][-1])
        return Suite(
            name=header.name,
            title=header.title or header.name,
            paper=header.paper,
            path=self.document.path,
            dataset=dataset,
            data=data,
            models=tuple(model for model in models if model),
            evaluations=tuple(evaluation for evaluation in evaluations if evaluation),
            tables=tuple(tables),
            caps=self.caps,
            profile=self.profile.profile.name if self.profile else None,
            substitutions=self._swapped(),
            original_dataset=original,
        )

    def _complain(self, path: KeyPath, message: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, message, hint))

    def _section(self, schema: Any, name: str) -> Any:
        value = self.document.data.get(name)
        if value is None:
            self._complain((name,), f"the suite has no [{name}] section")
            return None
        parsed, problems = validate(schema, value, self.document, (name,))
        self.problems += problems
        return parsed

    def _entries(self, name: str, *, required: bool) -> list[dict[str, Any]]:
        value = self.document.data.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self._complain((name,), f"expected an array of tables, written [[{name}]]")
            return []
        if required and not value:
            self._complain((name,), f"the suite has no [[{name}]]")
        return value

    def _dataset(self, data: DataSection | None) -> DatasetSpec | None:
        if data is None:
            return None
        spec = self._find_dataset(data.dataset, ("data", "dataset"))
        if spec is not None and (spec.num_classes is None or spec.image_shape is None):
            self._complain(("data", "dataset"), f"{spec.name!r} has no labels: it can only be an OOD set")
            return None
        return spec

    def _find_dataset(self, name: str, path: KeyPath) -> DatasetSpec | None:
        try:
            return find_dataset(name, self.document.path.parent)
        except (UnknownNameError, ValueError) as error:
            hint = error.hint if isinstance(error, UnknownNameError) else ""
            reason = error.reason if isinstance(error, UnknownNameError) else str(error)
            self._complain(path, reason, hint)
            return None

    def _models(self) -> list[ResolvedModel | None]:
        models = [
            self._model(entry, ("model", index)) for index, entry in enumerate(self._entries("model", required=True))
        ]
        self._unique([(("model", i, "name"), m.name) for i, m in enumerate(models) if m], "model name")
        self._unique([(("model", i, "label"), m.label) for i, m in enumerate(models) if m], "model label")
        if all(models):
            self._chains([model for model in models if model])
        return models

    def _chains(self, models: list[ResolvedModel]) -> None:
        """``init_from`` names another model of the suite, and no chain of them comes back to its start."""
        sources = {model.name: model.init_from for model in models}
        for index, model in enumerate(models):
            at: KeyPath = ("model", index, "init_from")
            if model.init_from is None:
                continue
            if model.init_from not in sources:
                hint = did_you_mean(model.init_from, sources)
                self._complain(at, f"no model of the suite is called {model.init_from!r}", hint)
                continue
            seen: list[str] = []
            name: str | None = model.name
            while name is not None and name not in seen:
                seen.append(name)
                name = sources.get(name)
            if name == model.name:
                self._complain(at, f"models start from each other: {' from '.join([*seen, name])}")

    def _model(self, raw: dict[str, Any], at: KeyPath) -> ResolvedModel | None:
        entry, problems = validate(ModelEntry, raw, self.document, at)
        self.problems += problems
        if entry is None:
            return None
        family = self._named(FAMILIES, entry.family, (*at, "family"))
        backbone = self._backbone(entry, family, "backbone" in raw, at)
        if family is None:
            return None
        values: dict[str, Any] = {}
        if entry.preset is not None:
            if entry.preset not in family.presets:
                hint = did_you_mean(entry.preset, family.presets)
                self._complain((*at, "preset"), f"{family.name} has no preset {entry.preset!r}", hint)
            else:
                values = _merged({}, family.presets[entry.preset])
        values = _merged(values, entry.rest())
        valid = tuple(ModelEntry.model_fields)
        config, problems = validate(family.config, values, self.document, at, also_valid=valid)
        if config is not None and self.caps.epochs is not None and config.epochs > self.caps.epochs:
            values = _merged(values, {"epochs": self.caps.epochs})
            config, problems = validate(family.config, values, self.document, at, also_valid=valid)
        self.problems += problems
        if config is None or backbone is None:
            return None
        seeds = entry.seeds[: self.caps.seeds]
        if len(set(entry.seeds)) != len(entry.seeds):
            self._complain((*at, "seeds"), "a seed is listed twice")
        name = entry.name or (entry.family if ":" not in entry.family else family.name)
        label = entry.label or family.label
        if entry.init_from is not None and entry.weights is not None:
            self._complain((*at, "weights"), "a model has init_from or weights, not both")
        return ResolvedModel(
            name,
            label,
            entry.family,
            family,
            entry.backbone,
            backbone,
            seeds,
            config,
            entry.init_from,
            entry.weights,
        )

    def _backbone(self, entry: ModelEntry, family: FamilySpec | None, given: bool, at: KeyPath) -> BackboneSpec | None:
        if given and family is not None and not family.needs_backbone and entry.backbone != "none":
            self._complain((*at, "backbone"), f"the family {family.name!r} has no backbone", "leave the key out")
            return None
        if given or family is None or not family.needs_backbone:
            found: BackboneSpec | None = self._named(BACKBONES, entry.backbone, (*at, "backbone"))
            return found
        self._complain(at, f"{family.name} needs a backbone", 'for example backbone = "wrn-28-10"')
        return None

    def _evaluations(self) -> list[ResolvedEvaluation | None]:
        evaluations = [
            self._evaluation(entry, ("evaluation", index))
            for index, entry in enumerate(self._entries("evaluation", required=True))
        ]
        ids = [(("evaluation", i, "id"), e.id) for i, e in enumerate(evaluations) if e]
        self._unique(ids, "evaluation id")
        return evaluations

    def _evaluation(self, raw: dict[str, Any], at: KeyPath) -> ResolvedEvaluation | None:
        entry, problems = validate(EvaluationEntry, raw, self.document, at)
        self.problems += problems
        if entry is None:
            return None
        evaluation = self._named(EVALUATIONS, entry.kind, (*at, "kind"))
        if evaluation is None:
            return None
        valid = tuple(EvaluationEntry.model_fields)
        config, problems = validate(evaluation.Config, entry.rest(), self.document, at, also_valid=valid)
        self.problems += problems
        if config is None:
            return None
        for name in evaluation.dataset_fields:
            for index, dataset in enumerate(getattr(config, name)):
                spec = self._find_dataset(dataset, (*at, name, index))
                if spec is not None and self.inside is not None and _same(spec, self.inside):
                    self._complain((*at, name, index), f"{spec.name!r} is the in-distribution data set")
        return ResolvedEvaluation(entry.id or entry.kind, evaluation, self._capped(config))

    def _swapped(self) -> tuple[tuple[str, str], ...]:
        """The substitutions that took place, as (original, substitute)."""
        origins = [origin for _, origin in self.document.overlays.values() if origin[:2] == ("substitute", "data")]
        return tuple(dict.fromkeys((str(o[-1]), self.substitutes[str(o[-1])]) for o in origins))

    def _capped(self, config: EvaluationConfig) -> EvaluationConfig:
        items = getattr(config, "items", None)
        if self.caps.items is None or items is None:
            return config
        return config.model_copy(update={"items": min(items, self.caps.items)})

    def _tables(
        self, models: list[ResolvedModel | None], evaluations: list[ResolvedEvaluation | None]
    ) -> list[ResolvedTable]:
        tables = []
        # Names cannot be checked against what did not validate: that would only repeat the first mistake.
        whole = all(models) and all(evaluations)
        known = [e for e in evaluations if e]
        rows = {key: m.name for m in models if m for key in (m.label, m.name)}
        for index, raw in enumerate(self._entries("table", required=False)):
            at: KeyPath = ("table", index)
            entry, problems = validate(TableEntry, raw, self.document, at)
            self.problems += problems
            if entry is None or not whole:
                continue
            columns = []
            for place, name in enumerate(entry.columns):
                column = resolve_column(self._swap_argument(name), known)
                if column is None:
                    hint = did_you_mean(name, column_names(known))
                    self._complain((*at, "columns", place), f"unknown column {name!r}", hint)
                else:
                    columns.append(column)
            for place, name in enumerate(entry.models or ()):
                if name not in rows:
                    self._complain((*at, "models", place), f"unknown model {name!r}", did_you_mean(name, rows))
            for place, name in enumerate(entry.literature):
                if name not in self.literature:
                    hint = did_you_mean(name, self.literature)
                    self._complain((*at, "literature", place), f"unknown literature {name!r}", hint)
            chosen = entry.models if entry.models is not None else [m.name for m in models if m]
            tables.append(
                ResolvedTable(
                    id=entry.id,
                    title=entry.title or entry.id,
                    columns=tuple(columns),
                    rows=tuple(rows[name] for name in chosen if name in rows),
                    literature=entry.literature,
                    note=entry.note,
                )
            )
        self._unique([(("table", i, "id"), t.id) for i, t in enumerate(tables)], "table id")
        return tables

    def _swap_argument(self, name: str) -> str:
        metric, separator, argument = name.partition("@")
        return f"{metric}{separator}{self.substitutes.get(argument, argument)}"

    def _named(self, registry: Any, name: str, path: KeyPath) -> Any:
        try:
            return registry.get(name)
        except UnknownNameError as error:
            self._complain(path, error.reason, error.hint)
            return None

    def _unique(self, named: Sequence[tuple[KeyPath, str]], what: str) -> None:
        seen: set[str] = set()
        for path, name in named:
            if name in seen:
                self._complain(path, f"{what} {name!r} is used twice", "give one of them another")
            seen.add(name)


def _same(one: DatasetSpec, other: DatasetSpec) -> bool:
    return (one.name, one.fingerprint) == (other.name, other.fingerprint)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
