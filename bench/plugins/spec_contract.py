"""Checks the description of a family or backbone when it is registered, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.plugins.declared import Checks, finite, keyed, missing_reference, reply, shown
from bench.spec import BackboneSpec, FamilySpec, TrainingConfig, settings

__all__ = ["backbone_problems", "configured_problems", "family_problems", "untrained"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAMES = "letters, digits, '.', '_' and '-', first a letter or digit"
_RESERVED = {"fitted", "default"}
"""Names that read-outs cannot have, because columns of calibration use them."""


def family_problems(spec: FamilySpec) -> list[str]:
    """The violations of the contract of ``FamilySpec``, as sentences."""
    checks = Checks(spec)
    checks.name("name", _NAME, _NAMES)
    for field in ("label", "summary", "source"):
        checks.text(field)
    checks.reference("implementation")
    checks.version()
    checks.texts("capabilities", (frozenset, set), "a frozenset of 'density' and 'samples'")
    readouts = spec.readouts
    if checks.texts("readouts", (tuple,), "a tuple of names"):
        right = bool(readouts) and len(set(readouts)) == len(readouts) and not _RESERVED & set(readouts)
        checks.expect("readouts", right, f"at least one name, none twice and none of {', '.join(sorted(_RESERVED))}")
    for field in ("passes", "warn", "unfit"):
        checks.function(field)
    for field in ("identity", "layout"):
        checks.function(field, optional=True)
    checks.flag("needs_backbone")
    if checks.expect("importers", keyed(spec.importers), "a mapping of names to 'package.module:function'"):
        for name, reference in spec.importers.items():
            problem = missing_reference(reference)
            if problem:
                checks.say(f"importers[{name!r}]: {problem}")
    if not checks.expect("config", _is_schema(spec.config), "a subclass of bench.spec.TrainingConfig"):
        return checks.problems
    _hyper_parameters(spec, checks)
    return checks.problems


def _is_schema(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, TrainingConfig)


def _hyper_parameters(spec: FamilySpec, checks: Checks) -> None:
    """Check that defaults are valid, and that references to settings name existing ones."""
    known = {setting.key for setting in settings(spec.config)}
    fields = known | {key.partition(".")[0] for key in known}
    required = {name for name, info in spec.config.model_fields.items() if info.is_required()}
    for problem in _mistakes(spec.config, {}, required):
        checks.say(f"config: the default of {problem}")
    if checks.texts("training_only", (frozenset, set), "a frozenset of dotted keys of config"):
        for key in sorted(set(spec.training_only) - fields):
            checks.say(f"training_only: {key!r} is no setting of {spec.config.__name__}")
    if checks.expect("paper", keyed(spec.paper), "a mapping of dotted keys of config to values"):
        for key in sorted(set(spec.paper) - known - {"backbone"}):
            checks.say(f"paper: {key!r} is no setting of {spec.config.__name__}")
    if checks.expect("presets", keyed(spec.presets), "a mapping of names to settings"):
        for name, values in spec.presets.items():
            if not keyed(values):
                checks.say(f"presets[{name!r}] is {shown(values)}, expected settings by name")
                continue
            for problem in _mistakes(spec.config, values, required):
                checks.say(f"presets[{name!r}]: {problem}")


def _mistakes(schema: type[BaseModel], values: Mapping[str, Any], required: set[str]) -> list[str]:
    """The values that a schema refuses, including its own defaults; required values may be absent."""
    try:
        config = schema.model_validate({**_defaults(schema), **values})
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}, got {shown(item.get('input'))}"
            for item in error.errors(include_url=False)
            if not (item["type"] == "missing" and item["loc"][0] in required)
        ]
    except Exception as error:  # a plug-in's validator may raise anything
        return [f"{schema.__name__}: {type(error).__name__}: {error}"]
    del config
    return []


def _defaults(schema: type[BaseModel]) -> dict[str, Any]:
    """The defaults as explicit values, so that they are validated: pydantic does not validate defaults."""
    return {
        name: info.get_default(call_default_factory=True)
        for name, info in schema.model_fields.items()
        if not info.is_required()
    }


def backbone_problems(spec: BackboneSpec) -> list[str]:
    """The violations of the contract of ``BackboneSpec``, as sentences."""
    checks = Checks(spec)
    checks.name("name", _NAME, _NAMES)
    for field in ("pattern", "summary", "source"):
        checks.text(field)
    checks.reference("implementation")
    checks.version()
    checks.function("describe")
    checks.function("like", optional=True)
    if checks.function("parse") and checks.texts("examples", (tuple,), "a tuple of names"):
        for example in spec.examples:
            try:
                spec.parse(example)
            except Exception as error:  # a plug-in may raise anything
                checks.say(f"examples: parse({example!r}) raises {type(error).__name__}: {error}")
    return checks.problems


def configured_problems(
    spec: FamilySpec, backbone: BackboneSpec, config: TrainingConfig, image_shape: tuple[int, int, int] | None
) -> list[str]:
    """Contract violations in the answers of a family and a backbone for one configuration, and missing code."""
    facts = image_shape if image_shape is not None else (3, 32, 32)
    answers = [
        reply("passes(config)", lambda: spec.passes(config), finite, "a finite number of 0 or more"),
        reply("warn(config, backbone)", lambda: spec.warn(config, backbone.name), _texts, "a tuple of texts"),
    ]
    if spec.identity is not None:
        identity = spec.identity
        answers.append(reply("identity(config)", lambda: identity(config), _plain, "a mapping that JSON can hold"))
    if spec.layout is not None:
        layout = spec.layout
        answers.append(reply("layout(config)", lambda: layout(config), lambda text: isinstance(text, str), "a text"))
    problems = [f"family {spec.name!r}: {problem}" for _, problem in answers if problem]
    missing = missing_reference(spec.implementation)
    problems += [f"family {spec.name!r}: implementation {missing}"] if missing else []
    missing = missing_reference(backbone.implementation)
    problems += [f"backbone {backbone.name!r}: implementation {missing}"] if missing else []
    try:
        described = backbone.describe(backbone.name, facts)
    except ValueError:
        return problems  # the network cannot take such images; the reader of models reports it
    except Exception as error:  # a plug-in may raise anything
        return [
            *problems,
            f"backbone {backbone.name!r}: describe(name, image_shape) raises {type(error).__name__}: {error}",
        ]
    if not keyed(described) or not all(finite(value) for value in described.values()):
        problems.append(
            f"backbone {backbone.name!r}: describe(name, image_shape) is {shown(described)}, expected numbers by name"
        )
    return problems


def _texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)


def _plain(value: object) -> bool:
    if not keyed(value):
        return False
    json.dumps(dict(value), allow_nan=False)  # type: ignore[call-overload]
    return True


def untrained(spec: FamilySpec, config: TrainingConfig) -> bool:
    """Whether models of a family come without training; False if the description cannot be asked."""
    answer, _ = reply("passes(config)", lambda: spec.passes(config), finite, "")
    return bool(answer == 0)
