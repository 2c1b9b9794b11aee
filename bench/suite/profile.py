"""Profiles: overlays that shrink any suite without touching its structure."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

from bench.data.registry import find_dataset
from bench.errors import Problem, did_you_mean
from bench.evaluate.base import EVALUATIONS
from bench.registry import UnknownNameError
from bench.spec import FAMILIES
from bench.suite.document import Document, validate
from bench.suite.locate import Path
from bench.suite.schema import ProfileFile, Substitutes

__all__ = ["apply"]


def apply(document: Document, profile: Document) -> tuple[Document, ProfileFile | None, list[Problem]]:
    """The suite with the profile's values in place of its own, each remembering which file it came from.

    ``[model]`` values go to every model, ``[model.<family>]`` to those of one family and win over the former;
    ``[evaluation.<kind>]`` to evaluations of a kind; ``[data]`` to the data section. ``[substitute.data]`` renames
    data sets wherever the suite names them: always, not only when the original is absent.
    """
    parsed, problems = validate(ProfileFile, profile.data, profile, ())
    if parsed is None:
        return document, None, problems
    problems += [*_unknown_models(parsed, document, profile), *_unknown_evaluations(parsed, document, profile)]
    names: dict[str, str] = {}
    for original, substitute in parsed.substitute.data.items():
        try:
            find_dataset(substitute, document.path.parent)
        except (UnknownNameError, ValueError) as error:
            reason, hint = (error.reason, error.hint) if isinstance(error, UnknownNameError) else (str(error), "")
            problems.append(profile.problem(("substitute", "data", original), reason, hint))
        else:
            names[original] = substitute
    # What cannot be put in place is reported once, here, and not again wherever the suite names it.
    parsed = parsed.model_copy(update={"substitute": Substitutes(data=names)})
    result = Document(document.path, copy.deepcopy(document.data), document.positions, dict(document.overlays))

    data = result.data.get("data")
    if isinstance(data, dict):
        _overlay(result, data, ("data",), profile, ("data",), parsed.data)
        if isinstance(data.get("dataset"), str) and data["dataset"] in names:
            result.overlays["data", "dataset"] = (profile, ("substitute", "data", data["dataset"]))
            data["dataset"] = names[data["dataset"]]

    for index, entry in enumerate(_tables(result.data.get("model"))):
        for source, values in _model_overlays(parsed, entry):
            _overlay(result, entry, ("model", index), profile, source, values)
    for index, entry in enumerate(_tables(result.data.get("evaluation"))):
        kind = entry.get("kind")
        if isinstance(kind, str) and kind in parsed.evaluation:
            _overlay(result, entry, ("evaluation", index), profile, ("evaluation", kind), parsed.evaluation[kind])
        for field in _dataset_fields(kind):
            _substitute(result, entry.get(field), ("evaluation", index, field), profile, names)
    return result, parsed, problems


def _unknown_models(parsed: ProfileFile, document: Document, profile: Document) -> list[Problem]:
    """Keys of ``[model]`` that mean something to no family: nothing is dropped in silence."""
    families = {*FAMILIES.names(), *(str(entry.get("family")) for entry in _tables(document.data.get("model")))}
    known = families.union(*(_accepted(family) for family in families))
    return [
        profile.problem(("model", key), "unknown key", did_you_mean(key, known))
        for key in parsed.model
        if key not in known
    ]


def _unknown_evaluations(parsed: ProfileFile, document: Document, profile: Document) -> list[Problem]:
    known = {*EVALUATIONS.names(), *(str(entry.get("kind")) for entry in _tables(document.data.get("evaluation")))}
    return [
        profile.problem(("evaluation", kind), f"unknown evaluation {kind!r}", did_you_mean(kind, EVALUATIONS.names()))
        for kind in parsed.evaluation
        if kind not in known
    ]


def _dataset_fields(kind: Any) -> tuple[str, ...]:
    with contextlib.suppress(UnknownNameError):  # reported where the suite names the evaluation
        return EVALUATIONS.get(str(kind)).dataset_fields
    return ()


def _substitute(result: Document, value: Any, at: Path, profile: Document, names: Mapping[str, str]) -> None:
    """Rename the data sets of a list."""
    for index, name in enumerate(value if isinstance(value, list) else ()):
        if isinstance(name, str) and name in names:
            value[index] = names[name]
            result.overlays[*at, index] = (profile, ("substitute", "data", name))


def _tables(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _model_overlays(parsed: ProfileFile, entry: Mapping[str, Any]) -> list[tuple[Path, Mapping[str, Any]]]:
    families = {name: values for name, values in parsed.model.items() if isinstance(values, Mapping)}
    # A table below [model] is a family if one is called so, else a nested hyper-parameter such as sampler.
    known = set(FAMILIES.names()) | {str(entry.get("family"))}
    common = {name: value for name, value in parsed.model.items() if name not in families or name not in known}
    accepted = _accepted(str(entry.get("family")))
    overlays: list[tuple[Path, Mapping[str, Any]]] = [
        (("model",), {name: value for name, value in common.items() if name in accepted})
    ]
    own = entry.get("family")
    if isinstance(own, str) and own in families:
        overlays.append((("model", own), families[own]))
    return overlays


def _accepted(family: str) -> set[str]:
    """Keys of a common overlay that a family understands: a sampler means nothing to a softmax classifier."""
    names = {"backbone", "preset", "seeds"}
    with contextlib.suppress(UnknownNameError):  # reported where the suite names the family
        names |= set(FAMILIES.get(family).config.model_fields)
    return names


def _overlay(
    result: Document,
    target: dict[str, Any],
    at: Path,
    profile: Document,
    source: Path,
    values: Mapping[str, Any],
) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _overlay(result, target[key], (*at, key), profile, (*source, key), value)
        else:
            target[key] = copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
            result.overlays[*at, key] = (profile, (*source, key))
