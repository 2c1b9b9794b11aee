"""Checks the description of a family, backbone or attack when it is registered, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.plugins.declared import Checks, finite, keyed, shown
from bench.plugins.locating import missing_reference
from bench.spec import BackboneSpec, FamilySpec, TrainingConfig, settings

__all__ = ["attack_problems", "backbone_problems", "configured_problems", "family_problems", "untrained"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAMES = "letters, digits, '.', '_' and '-', first a letter or digit"
_RESERVED = {"fitted", "default"}
"""Names that read-outs cannot have, because columns of calibration use them."""
_NORMS = {"linf": 8 / 255, "l2": 0.5}
"""The norms of attacks, each with a typical budget."""


def family_problems(spec: FamilySpec) -> list[str]:
    """The violations of the contract of ``FamilySpec``, as sentences."""
    checks = Checks(spec)
    checks.name("name", _NAME, _NAMES)
    for field in ("label", "summary", "source"):
        checks.text(field)
    checks.reference("implementation")
    checks.version()
    checks.texts("capabilities", (frozenset, set), "a frozenset of 'density', 'likelihood' and 'samples'")
    readouts = spec.readouts
    if checks.texts("readouts", (tuple,), "a tuple of names"):
        right = bool(readouts) and len(set(readouts)) == len(readouts) and not _RESERVED & set(readouts)
        checks.expect("readouts", right, f"at least one name, none twice and none of {', '.join(sorted(_RESERVED))}")
    for field in ("passes", "warn", "unfit"):
        checks.function(field)
    for field in ("identity", "layout"):
        checks.function(field, optional=True)
    checks.flag("classifies")
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
    if not spec.classifies and spec.config.model_fields["select"].default != "last":
        checks.say(
            "config: select must be 'last' by default, because no validation accuracy selects an epoch of a "
            "family that does not classify; derive it from bench.spec.UnlabelledConfig"
        )
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
        schema.model_validate({**_defaults(schema), **values})
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, item['loc'])) or 'the whole'}: {item['msg']}, got {shown(item.get('input'))}"
            for item in error.errors(include_url=False)
            if not (item["type"] == "missing" and item["loc"][0] in required)
        ]
    except Exception as error:  # a plug-in's validator may raise anything
        return [f"{schema.__name__}: {type(error).__name__}: {error}"]
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
            checks.ask(f"examples: parse({example!r})", partial(spec.parse, example), lambda _: True, "")
    return checks.problems


def attack_problems(attack: Any) -> list[str]:
    """The violations of the contract of ``bench.attacks.spec.Attack``, as sentences; the attack has its defaults."""
    from bench.attacks.threat import ThreatModel

    checks = Checks(attack)
    checks.name("name", _NAME, _NAMES)
    for field in ("summary", "source"):
        checks.text(field)
    checks.version()
    for field in ("own", "minimises_norm", "targetable", "startable", "needs_surrogate"):
        checks.flag(field)
    norms = checks.value("norms")
    known = isinstance(norms, tuple) and bool(norms) and set(norms) <= set(_NORMS)
    if not checks.expect("norms", known, f"a tuple of {' and '.join(map(repr, _NORMS))}"):
        return checks.problems
    for norm in norms:
        checks.ask(
            f"definition({norm})",
            partial(attack.definition, ThreatModel(norm, _NORMS[norm])),
            lambda text: isinstance(text, str) and text.strip() != "",
            "a text that says something",
        )
        checks.ask(
            f"impossible({norm}, (3, 32, 32), 10)",
            partial(attack.impossible, norm, (3, 32, 32), 10),
            lambda why: why is None or isinstance(why, str),
            "a text, or None",
        )
    checks.ask("passes()", lambda: attack.passes(), finite, "a finite number of 0 or more")
    checks.ask("is_random", lambda: attack.is_random, lambda answer: isinstance(answer, bool), "True or False")
    checks.ask("decided_by", lambda: attack.decided_by, lambda text: text in ("final", "any"), "'final' or 'any'")
    return checks.problems


def configured_problems(
    spec: FamilySpec, backbone: BackboneSpec, config: TrainingConfig, image_shape: tuple[int, int, int] | None
) -> list[str]:
    """Contract violations in the answers of a family and a backbone for one configuration, and missing code."""
    shape = image_shape if image_shape is not None else (3, 32, 32)
    of_family = Checks(spec, f"family {spec.name!r}")
    of_family.ask("passes(config)", lambda: spec.passes(config), finite, "a finite number of 0 or more")
    of_family.ask("warn(config, backbone)", lambda: spec.warn(config, backbone.name), _texts, "a tuple of texts")
    if spec.identity is not None:
        of_family.ask("identity(config)", partial(spec.identity, config), _plain, "a mapping that JSON can hold")
    if spec.layout is not None:
        of_family.ask("layout(config)", partial(spec.layout, config), lambda text: isinstance(text, str), "a text")
    of_backbone = Checks(backbone, f"backbone {backbone.name!r}")
    for checks in (of_family, of_backbone):
        missing = missing_reference(checks.value("implementation"))
        if missing:
            checks.say(f"implementation {missing}")

    def described() -> Mapping[str, float]:
        try:
            return backbone.describe(backbone.name, shape)
        except ValueError:  # the network cannot take such images; the reader of models reports it
            return {}

    of_backbone.ask("describe(name, image_shape)", described, _numbers, "numbers by name")
    return of_family.problems + of_backbone.problems


def _texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)


def _numbers(value: object) -> bool:
    return isinstance(value, Mapping) and keyed(value) and all(finite(number) for number in value.values())


def _plain(value: object) -> bool:
    if not keyed(value):
        return False
    json.dumps(dict(value), allow_nan=False)  # type: ignore[call-overload]
    return True


def untrained(spec: FamilySpec, config: TrainingConfig) -> bool:
    """Whether models of a family come without training; False if the description cannot be asked."""
    return bool(Checks(spec).ask("passes(config)", lambda: spec.passes(config), finite, "") == 0)
