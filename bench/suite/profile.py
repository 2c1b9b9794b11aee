"""Profiles: overlays that shrink any suite without touching its structure."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

from bench.errors import Problem
from bench.registry import UnknownNameError
from bench.spec import FAMILIES
from bench.suite.document import Document, validate
from bench.suite.locate import Path
from bench.suite.schema import ProfileFile

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
    result = Document(document.path, copy.deepcopy(document.data), document.positions, dict(document.overlays))

    data = result.data.get("data")
    if isinstance(data, dict):
        _overlay(result, data, ("data",), profile, ("data",), parsed.data)
        names = parsed.substitute.get("data", {})
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
    return result, parsed, problems


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
