"""Profiles: overlays that shrink any suite without touching its structure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.data.registry import find_dataset
from bench.data.spec import DatasetSpec
from bench.errors import BenchError, Problem, did_you_mean
from bench.evaluate.base import EVALUATIONS
from bench.spec import FAMILIES, FamilySpec, TrainingConfig, settings
from bench.suite.backbones import Backbones
from bench.suite.document import Document, validate
from bench.suite.locate import Path
from bench.suite.names import registered
from bench.suite.overlay import Group, Leaf, leaves
from bench.suite.schema import EvaluationEntry, ModelEntry, ProfileFile
from bench.suite.section import with_preset
from bench.suite.substitute import Substitution

__all__ = ["ENTRY_KEYS", "Applied", "apply"]

ENTRY_KEYS = ("backbone", "preset", "seeds")
"""What a profile may say of a model beside hyper-parameters of its family."""


@dataclass(frozen=True)
class Applied:
    """A suite under a profile.

    Attributes:
        document: The suite with the profile's values in place of its own; its ``overlays`` say which came from where.
        profile: The profile; None if its file is not valid.
        substitutions: Data sets put in place of others, as (original, substitute).
        outside: Substitutes of out-of-distribution sets, by the name of the original.
        problems: Mistakes in the profile.
    """

    document: Document
    profile: ProfileFile | None = None
    substitutions: tuple[tuple[str, str], ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def apply(document: Document, profile: Document) -> Applied:
    """Put a profile over a suite.

    ``[model]`` sets values of every model whose family has the setting. ``[model.<family>]`` sets values of the models
    of one family and takes precedence. ``[evaluation.<kind>]`` sets values of the evaluations of a kind, ``[data]`` of
    the data section; ``[caps]`` are upper bounds. A value in which models of a family, or evaluations of a kind, differ
    is scaled (``bench.suite.contrast``). A valid value that conflicts with other values of the suite (a
    ``start_generative`` beyond the suite's few ``epochs``, a buffer smaller than the number of classes) is not applied.
    """
    parsed, problems = validate(ProfileFile, profile.data, profile, ())
    if parsed is None:
        return Applied(document, problems=problems)
    problems += [*_unknown_models(parsed, document, profile), *_unknown_evaluations(parsed, document, profile)]
    substitution = Substitution(document, parsed, profile)
    problems += substitution.problems
    result = Document(document.path, copy.deepcopy(document.data), document.positions, dict(document.overlays))
    substitution.apply(result)
    dataset = _dataset(result)
    _data_section(result, parsed, profile, dataset)
    train = _training_items(result, parsed, dataset)
    _models(result, parsed, profile, dataset, train)
    _evaluations(result, parsed, profile)
    outside = {original: name for original, (name, _) in substitution.outside.items()}
    return Applied(result, parsed, substitution.pairs, outside, problems)


def _data_section(result: Document, parsed: ProfileFile, profile: Document, dataset: DatasetSpec | None) -> None:
    if not isinstance(result.data.get("data"), dict):
        return
    for key, value in parsed.data.items():
        items = dataset.sizes.get("train") if dataset is not None else None
        if key == "validation" and isinstance(value, int) and items is not None and value >= items > 0:
            continue  # a profile applies to all suites and cannot know how many items this one has
        result.put(("data", key), value, profile, ("data", key))


def _models(
    result: Document, parsed: ProfileFile, profile: Document, dataset: DatasetSpec | None, train: int | None
) -> None:
    entries = dict(enumerate(result.tables("model")))
    backbones = Backbones(result, profile, dataset)
    backbones.apply(entries, parsed.model.get("backbone"))
    caps: list[tuple[str, int | None, Path]] = [("epochs", parsed.caps.epochs, ("caps", "epochs"))]
    if train is not None:
        overlaid = ("data", "dataset") in result.overlays
        section = "caps" if parsed.caps.train is not None else "substitute" if overlaid else "data"
        caps.append(("batch_size", train, (section,)))
    # The reader of the models reports a family that is not a string.
    kinds = {index: (str(entry.get("family")), _optimizer(entry)) for index, entry in entries.items()}
    for kind in dict.fromkeys(kinds.values()):
        family, _ = kind
        members: dict[Path, dict[str, Any]] = {("model", i): entries[i] for i, found in kinds.items() if found == kind}
        spec = registered(FAMILIES, family)
        group = Group(
            result,
            profile,
            members,
            ModelEntry,
            spec.config if spec is not None else None,
            fits=_fits(backbones, spec, train),
            presets=spec.all_presets if spec is not None else {},
        )
        group.overlay(_model_leaves(parsed, family), caps)
        backbones.rename(members)


def _optimizer(entry: Mapping[str, Any]) -> str:
    """The kind of optimiser of a ``[[model]]``: learning rates of different ones are no contrast to keep."""
    spec = registered(FAMILIES, entry.get("family"))
    if spec is None:
        return ""
    asked = with_preset(ModelEntry, entry, spec.all_presets).get("optimizer")
    kind = asked.get("kind") if isinstance(asked, Mapping) else asked
    default = spec.config.model_fields["optimizer"].get_default(call_default_factory=True)
    return kind if isinstance(kind, str) else str(default.kind)


def _fits(
    backbones: Backbones, spec: FamilySpec | None, train: int | None
) -> Callable[[dict[str, Any], TrainingConfig], bool]:
    return lambda entry, config: spec is None or not backbones.unfit(spec, entry, config, train)


def _evaluations(result: Document, parsed: ProfileFile, profile: Document) -> None:
    entries = list(enumerate(result.tables("evaluation")))
    for kind in dict.fromkeys(str(entry.get("kind")) for _, entry in entries):
        members: dict[Path, dict[str, Any]] = {("evaluation", i): e for i, e in entries if e.get("kind") == kind}
        evaluation = registered(EVALUATIONS, kind)
        if evaluation is None:
            continue
        schema = evaluation.Config
        found = leaves(parsed.evaluation.get(kind, {}), ("evaluation", kind))
        most = parsed.caps.items if "items" in schema.model_fields else None
        Group(result, profile, members, EvaluationEntry, schema).overlay(found, [("items", most, ("caps", "items"))])


def _model_leaves(parsed: ProfileFile, family: str) -> list[Leaf]:
    """The profile's values for the models of a family; those of ``[model.<family>]`` come last."""
    known = {*FAMILIES.names(), family}
    accepted = _accepted(family)
    common = [
        leaf
        for name, value in parsed.model.items()
        if not (isinstance(value, Mapping) and name in known) and name != "backbone"
        for leaf in leaves({name: value}, ("model",))
        if accepted(leaf.path)
    ]
    own = parsed.model.get(family)
    return [*common, *(leaves(own, ("model", family)) if isinstance(own, Mapping) else [])]


def _accepted(family: str) -> Callable[[tuple[str, ...]], bool]:
    """A function that tells whether a family has a key: a softmax classifier has no sampler."""
    known = _setting_keys(family)

    def accepted(path: tuple[str, ...]) -> bool:
        name = ".".join(path)
        # The schema reports a table in place of a value, and the reverse.
        return path[0] in ENTRY_KEYS or any(
            f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.") for key in known
        )

    return accepted


def _setting_keys(family: str) -> set[str]:
    """Dotted names of the settings of a family; empty if the family is unknown."""
    spec = registered(FAMILIES, family)
    return set() if spec is None else {setting.key for setting in settings(spec.config)}


def _unknown_models(parsed: ProfileFile, document: Document, profile: Document) -> list[Problem]:
    """Problems for the keys of ``[model]`` that no family has."""
    named = {str(entry.get("family")) for entry in document.tables("model")}
    families = {*FAMILIES.names(), *named}
    rules = [_accepted(family) for family in families]
    problems = []
    for name, value in parsed.model.items():
        for leaf in leaves({name: value}, ("model",)) if name not in families or not isinstance(value, Mapping) else ():
            if not any(rule(leaf.path) for rule in rules):
                hint = did_you_mean(leaf.path[-1], _siblings(leaf.path, families))
                depth = 1 if not any(rule(leaf.path[:1]) for rule in rules) else len(leaf.path)
                hint = did_you_mean(name, {*families, *_siblings(leaf.path[:1], families)}) if depth == 1 else hint
                problems.append(profile.problem(("model", *leaf.path[:depth]), "unknown key", hint))
    return list(dict.fromkeys(problems))


def _siblings(path: tuple[str, ...], families: set[str]) -> set[str]:
    """Names of settings, of any of the families, in the same table as ``path``."""
    known = {key for family in families for key in _setting_keys(family)}
    above = "".join(f"{part}." for part in path[:-1])
    names = {key.removeprefix(above).partition(".")[0] for key in known if key.startswith(above)}
    return names | set(ENTRY_KEYS) if len(path) == 1 else names


def _unknown_evaluations(parsed: ProfileFile, document: Document, profile: Document) -> list[Problem]:
    known = {*EVALUATIONS.names(), *(str(entry.get("kind")) for entry in document.tables("evaluation"))}
    return [
        profile.problem(("evaluation", kind), f"unknown evaluation {kind!r}", did_you_mean(kind, EVALUATIONS.names()))
        for kind in parsed.evaluation
        if kind not in known
    ]


def _dataset(result: Document) -> DatasetSpec | None:
    """The suite's own data set under the profile, or None. The reader of the suite reports why it is not found."""
    name = result.table("data").get("dataset")
    try:
        return find_dataset(name, result.path.parent) if isinstance(name, str) else None
    except (BenchError, ValueError, OSError):
        return None


def _training_items(result: Document, parsed: ProfileFile, dataset: DatasetSpec | None) -> int | None:
    """The number of training items if the profile determines it, else None."""
    changed = any(("data", key) in result.overlays for key in ("dataset", "validation"))
    if dataset is None or (parsed.caps.train is None and not changed):
        return None
    held_out = result.data["data"].get("validation", dataset.validation)
    items = dataset.sizes.get("train")
    if items is None or not isinstance(held_out, int):
        return parsed.caps.train
    bounds = (parsed.caps.train, result.data["data"].get("train"))
    return max(1, min([items - held_out, *(bound for bound in bounds if isinstance(bound, int))]))
