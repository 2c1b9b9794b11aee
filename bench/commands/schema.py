"""JSON schemas of the files that users write, made from the models that read them, so that editors complete keys.

The schemas follow draft 7, which every editor reads, and have no references. They describe the type of each value;
rules that only a validator knows (valid budgets, existing columns) are checked by `bench check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from bench.data.registry import DATASETS
from bench.evaluate.base import EVALUATIONS, Evaluation
from bench.spec import BACKBONES, FAMILIES, FamilySpec
from bench.suite.figures import FIGURES
from bench.suite.gate import GateSection
from bench.suite.profile import ENTRY_KEYS
from bench.suite.schema import (
    Caps,
    DataSection,
    EvaluationEntry,
    ModelEntry,
    ProfileHeader,
    Substitutes,
    SuiteHeader,
    TableEntry,
)
from bench.suite.settings import SettingsFile

__all__ = ["KINDS", "schema"]

Schema = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_REFERENCE = r"^[^:]+:[^:]+$"
"""Pattern of references to plug-ins that are not registered; their parameters are unknown before the import."""
_SAID = ("paper", "code", "why")
"""Metadata of fields besides their description."""


def schema(kind: str) -> Schema:
    """The JSON schema of a file.

    Args:
        kind: One of ``KINDS``: a suite, a profile, or ``bench.toml``.
    """
    return {"$schema": _DRAFT, **_MAKERS[kind]()}


def _suite() -> Schema:
    return {
        "title": "Suite of bench",
        **_table(
            {
                "suite": _of(SuiteHeader),
                "data": _data(),
                "model": _array("family", [*(_model(spec) for spec in FAMILIES.values()), _absent()]),
                "evaluation": _array("kind", [_evaluation(one) for one in EVALUATIONS.values()]),
                "table": {"type": "array", "items": _of(TableEntry)},
                "figure": {"type": "array", "items": {"oneOf": [_of(entry) for entry in FIGURES.values()]}},
                "gate": _of(GateSection),
            },
            required=["suite"],
        ),
        "if": {"properties": {"suite": {"required": ["include"]}}},
        "then": {"maxProperties": 1},  # a suite that includes others has no section of its own
        "else": {"required": ["data", "evaluation", "model"]},
    }


def _profile() -> Schema:
    families = {spec.name: (spec.summary, _loose(_entry(ModelEntry, spec.config))) for spec in FAMILIES.values()}
    kinds = {one.name: (one.summary, _loose(_entry(EvaluationEntry, one.Config))) for one in EVALUATIONS.values()}
    for key, tables in (("family", families), ("kind", kinds)):
        for _, table in tables.values():
            del table["properties"][key]  # the name of the table gives it
    united = _union([table for _, table in families.values()])["properties"]
    common = {key: united[key] for key in united if key in ENTRY_KEYS or key not in ModelEntry.model_fields}
    backbone = _naming({"type": "string"}, _backbones())
    networks = {
        "description": "A backbone, or alternatives of which different networks of the suite take different ones",
        "anyOf": [backbone, {"type": "array", "items": backbone, "minItems": 1}],
    }
    strangers = {"patternProperties": {_REFERENCE: {"type": "object"}}}
    return {
        "title": "Profile of bench",
        **_table(
            {
                "profile": _of(ProfileHeader),
                "substitute": _of(Substitutes),
                "data": {**_loose(_data()), "description": "Values in place of the suite's"},
                "model": {
                    "description": "Values for every model whose family has the setting, or for those of one family",
                    **_table({**common, "backbone": networks, **_described(families)}),
                    **strangers,
                },
                "evaluation": {
                    "description": "Values for the evaluations of a kind",
                    **_table(_described(kinds)),
                    **strangers,
                },
                "caps": _of(Caps),
            },
            required=["profile"],
        ),
    }


def _settings() -> Schema:
    return {"title": "Settings of bench (bench.toml)", **_of(SettingsFile)}


_MAKERS: Mapping[str, Callable[[], Schema]] = {"suite": _suite, "profile": _profile, "settings": _settings}
KINDS = tuple(_MAKERS)
"""Names of the files that have a schema."""


def _model(spec: FamilySpec) -> Schema:
    table = _entry(ModelEntry, spec.config)
    properties, required = table["properties"], set(table["required"])
    properties["family"] = {"const": spec.name, "description": f"{spec.label}: {spec.summary}"}
    if spec.needs_backbone:
        properties["backbone"] = _naming(properties["backbone"], _backbones())
        required.add("backbone")
    else:
        properties["backbone"] = {"const": "none", "description": "The family has no backbone of the harness"}
    properties["preset"]["enum"] = sorted(spec.all_presets)
    required -= {key for values in spec.presets.values() for key in values}  # a preset may give it
    return {**table, "description": spec.summary, "required": sorted(required)}


def _absent() -> Schema:
    """A model whose family is not installed here; its settings are not known."""
    table = _of(ModelEntry)
    registered = [{"enum": [spec.name for spec in FAMILIES.values()]}, {"pattern": _REFERENCE}]
    family = {"type": "string", "not": {"anyOf": registered}, "description": "A family that 'install' installs"}
    return {
        **_table({**table["properties"], "family": family}, ["family", "install"]),
        "additionalProperties": True,
        "description": "A model whose family comes with a package that is not installed here",
    }


def _evaluation(evaluation: Evaluation) -> Schema:
    table = _entry(EvaluationEntry, evaluation.Config)
    properties = table["properties"]
    properties["kind"] = {"const": evaluation.name, "description": evaluation.summary}
    for name in set(evaluation.dataset_fields) & properties.keys():
        properties[name] = _naming(properties[name], DATASETS.names())
    return {**table, "description": evaluation.summary}


def _entry(entry: type[BaseModel], config: type[BaseModel]) -> Schema:
    """A table with the keys of an entry and those of its plug-in."""
    table, own = _of(entry), _of(config)
    return {
        **_table({**table["properties"], **own["properties"]}, [*table["required"], *own.get("required", ())]),
        "additionalProperties": own.get("additionalProperties", True),
    }


def _array(key: str, entries: list[Schema]) -> Schema:
    """An array of tables in which the value of one key determines which other keys are allowed."""
    reference = {"type": "string", "pattern": _REFERENCE, "description": "'module:attribute' of one not registered"}
    stranger = {"type": "object", "properties": {key: reference}, "required": [key]}
    return {
        "description": f"Which keys there are depends on {key!r}",
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [*entries, stranger]},
    }


def _table(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    """A table that allows no other keys."""
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**found, "required": sorted(required)} if required else found


def _described(tables: Mapping[str, tuple[str, Schema]]) -> dict[str, Schema]:
    return {name: {**table, "description": summary} for name, (summary, table) in tables.items()}


def _loose(table: Schema) -> Schema:
    """A table with all keys optional and without defaults, which the suite gives."""
    found = {key: value for key, value in table.items() if key not in ("required", "default")}
    if "properties" in found:
        found["properties"] = {name: _loose(value) for name, value in found["properties"].items()}
    return found


def _union(schemas: list[Schema]) -> Schema:
    """A schema that allows what any of the given ones allows. Tables are united key by key, because a profile applies
    to all families.
    """
    apart: dict[str, Schema] = {}
    for one in schemas:
        apart.setdefault(repr({key: one[key] for key in sorted(one) if key != "description"}), one)
    distinct = list(apart.values())
    if len(distinct) == 1:
        return distinct[0]
    if not all("properties" in one for one in distinct):
        return {"anyOf": distinct}
    names = dict.fromkeys(name for one in distinct for name in one["properties"])
    united = {
        name: _union([one["properties"][name] for one in distinct if name in one["properties"]]) for name in names
    }
    return _table(united)


def _data() -> Schema:
    table = _of(DataSection)
    table["properties"]["dataset"] = _naming(table["properties"]["dataset"], DATASETS.names())
    return table


def _backbones() -> list[str]:
    return [example for spec in BACKBONES.values() for example in spec.examples]


def _naming(value: Schema, examples: list[str]) -> Schema:
    """A text, a list of texts or lists by name, with examples; other values are allowed, such as a folder of images."""
    if isinstance(value.get("additionalProperties"), dict):
        return {**value, "additionalProperties": _naming(value["additionalProperties"], examples)}
    if "items" in value:
        return {**value, "items": {**value["items"], "examples": examples}}
    return {**value, "examples": examples}


def _of(model: type[BaseModel]) -> Schema:
    """The schema of a model for TOML: references are resolved, and there are no nulls and no titles made from names."""
    try:
        whole = model.model_json_schema()
    except Exception:  # a plug-in's type that JSON Schema cannot express, or a validator that raises anything
        return {"type": "object", "properties": {}, "additionalProperties": True}
    found: Schema = {"properties": {}, **_plain(whole, whole.get("$defs", {}), ())}
    for name, info in model.model_fields.items():
        default, table = info.get_default(call_default_factory=True), found["properties"].get(name, {})
        if isinstance(default, BaseModel) and "properties" in table:
            _defaulted(table, default.model_dump(mode="json"))
    return found


def _defaulted(table: Schema, values: Mapping[str, Any]) -> None:
    """Give the keys of a nested table the defaults of the table as a whole, which may not be those of its class."""
    for name, one in table["properties"].items():
        value = values.get(name)
        if "properties" in one and isinstance(value, Mapping):
            _defaulted(one, value)
        elif "default" in one and value is not None:
            one["default"] = value


def _plain(value: Any, definitions: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_plain(item, definitions, above) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        beside = {key: item for key, item in value.items() if key != "$ref"}
        target = {"type": "object"} if name in above else definitions[name]  # ends the expansion of recursive tables
        return _plain({**target, **beside}, definitions, (*above, name))
    found: Schema = {}
    for key, item in value.items():
        if key in ("properties", "patternProperties"):
            found[key] = {name: _plain(one, definitions, above) for name, one in item.items()}
        elif key in ("default", "enum", "const", "examples"):
            found[key] = item
        elif key not in ("title", "$defs", *_SAID):
            found[key] = _plain(item, definitions, above)
    if found.get("default", 0) is None:
        del found["default"]
    if "anyOf" in found:
        kinds = [kind for kind in found.pop("anyOf") if kind != {"type": "null"}]
        found = {**found, **kinds[0]} if len(kinds) == 1 else {**found, "anyOf": kinds}
    if isinstance(found.get("description"), str):
        said = "; ".join(f"{who}: {value[who]}" for who in _SAID if isinstance(value.get(who), str))
        found["description"] = found["description"].replace("``", "`") + (f" ({said})" if said else "")
    return found
