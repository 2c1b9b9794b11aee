"""Writes docs/suite-file.md from the JSON schemas of `bench schema`: ``python docs/make_suite_reference.py``.

``tests/test_docs.py`` fails if the file is out of date. Sentences belong into the descriptions of the schemas.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.commands.schema import schema

Schema = Mapping[str, Any]

HEAD = """\
# The suite file

Made by `python docs/make_suite_reference.py` from the schemas that the harness reads (`bench schema`); do not edit by
hand.

A suite is a TOML file. `bench check FILE` reports every mistake in it with file, line, key and the nearest valid name.
Unknown keys are errors. Values in **bold** under "default" must be given. A range is written as in mathematics:
`(0, 1]` excludes 0. What the papers say of a setting, and why a default is what it is, is in
[protocol.md](protocol.md); what the numbers mean in [metrics.md](metrics.md) and [robustness.md](robustness.md).
`bench describe NAME` prints the keys of one family or evaluation, installed plug-ins included.
"""
_MOST = 12
"""Largest number of examples that are listed."""
_EXCEPTIONS = "The tables below have what differs from this one.\n\n"


def main() -> None:
    """Write the file."""
    (Path(__file__).parent / "suite-file.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The page."""
    suite = schema("suite")
    parts = [HEAD]
    needed = {*suite["required"], *suite.get("else", {}).get("required", ())}
    for name, section in suite["properties"].items():
        parts.append(_section(name, section, required=name in needed))
    profile, settings = schema("profile"), schema("settings")
    parts.append("## Profiles\n")
    parts.append(
        "A profile makes any suite small: `bench run SUITE --profile NAME`. [The guide](extending.md#a-profile) says "
        "how its values meet those of a suite. `[model]` and `[evaluation.<kind>]` take the keys above.\n"
    )
    parts += [
        f"### `[{name}]` of a profile\n\n{_table(profile['properties'][name])}"
        for name in ("profile", "substitute", "data", "caps")
    ]
    parts.append("## bench.toml\n")
    parts.append(
        "Settings of a project, read from the working folder or the nearest folder above it; `bench.local.toml` beside "
        "it and the variables `BENCH_DATA`, `BENCH_RESULTS`, `BENCH_WEIGHTS` take precedence. Paths are relative to "
        "the file.\n"
    )
    for name, section in settings["properties"].items():
        # A table with a default of its own repeats keys of the section for one kind of job.
        own = {key: one for key, one in section["properties"].items() if "properties" not in one}
        text = f"### `[{name}]` of bench.toml\n\n{_table({**section, 'properties': own})}"
        kinds = ", ".join(f"`[{name}.{key}]`" for key in section["properties"] if key not in own)
        parts.append(f"{text}\n{kinds}: the same keys as far as `setup`, for one kind of job." if kinds else text)
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _section(name: str, section: Schema, *, required: bool) -> str:
    """A top-level key of a suite: a table, an array of equal tables, or an array of tables of several kinds."""
    if section.get("type") == "array":
        need = "at least one" if required else "optional, any number"
        items = section["items"]
        head = f"## `[[{name}]]`\n\n{need.capitalize()}."
        return f"{head}\n\n{_kinds(name, items['oneOf'])}" if "oneOf" in items else f"{head}\n\n{_table(items)}"
    if "properties" in section:
        return f"## `[{name}]`\n\n{'Required' if required else 'Optional'}.\n\n{_table(section)}"
    return f"## `{name}`\n\n{_table({'properties': {name: section}, 'required': [name] if required else []})}"


def _kinds(name: str, kinds: list[Schema]) -> str:
    """The keys that all kinds have, once, as most kinds have them, and below them those of each kind that differ."""
    found, stranger = {}, ""
    key = ""
    for kind in kinds:
        key = next(k for k in ("family", "kind", *kind["properties"]) if k in kind["properties"])
        chosen = kind["properties"][key]
        if "const" in chosen:
            found[chosen["const"]] = kind
        else:
            stranger = f" Also {chosen['description']}; its keys are those of its own schema."
    tables = {which: dict(_flat(kind)) for which, kind in found.items()}
    shared = {}
    for path in next(iter(tables.values())):
        values = [other[path] for other in tables.values() if path in other]
        usual = max(values, key=values.count)
        if path != key and len(values) == len(tables) and 2 * values.count(usual) > len(values):
            shared[path] = usual
    names = ", ".join(f"[`{which}`](#{_anchor(name, which)})" for which in found)
    parts = [f"Which keys there are depends on `{key}`: {names}.{stranger}\n"]
    if shared:
        exceptions = "" if all(shared.items() <= table.items() for table in tables.values()) else _EXCEPTIONS
        parts.append(f"### Every `[[{name}]]`\n\n{exceptions}{_rows(shared)}")
    for which, kind in found.items():
        own = {path: value for path, value in tables[which].items() if shared.get(path) != value}
        about = kind["properties"][key].get("description") or kind.get("description", "")
        parts.append(f"### {name.capitalize()} `{which}`\n\n{_sentence(about)}\n\n{_rows(own)}")
    return "\n".join(parts)


def _anchor(name: str, which: str) -> str:
    return f"{name}-{which}".lower()


def _table(section: Schema) -> str:
    about = section.get("description", "")
    # Descriptions that only repeat the heading say nothing.
    said = f"{_sentence(about)}\n\n" if about and not about.startswith("`[") else ""
    return said + _rows(dict(_flat(section)))


def _flat(table: Schema, above: str = "") -> Iterator[tuple[str, tuple[Any, bool]]]:
    """Every key with its schema and whether it is required; those of nested tables as dotted keys."""
    required = table.get("required", ())
    for name, value in table.get("properties", {}).items():
        if "properties" in value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", (value, name in required)


def _rows(keys: Mapping[str, tuple[Schema, bool]]) -> str:
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for path, (value, required) in keys.items():
        default = "**required**" if required else f"`{_value(value['default'])}`" if "default" in value else ""
        lines.append(f"| `{path}` | {_type(value)} | {default} | {_escaped(_meaning(value))} |")
    return "\n".join(lines) + "\n"


def _meaning(value: Schema) -> str:
    text = _sentence(value.get("description", ""))
    examples = value.get("examples") or value.get("items", {}).get("examples") or []
    if examples and not any(str(example) in text for example in examples):
        shown = ", ".join(f"`{example}`" for example in examples[:_MOST]) + (", …" if len(examples) > _MOST else "")
        text += f" Such as {shown}."
    return text


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".…?" else f"{text}."


def _type(value: Schema) -> str:
    """The type of a value in words, with its range."""
    if "const" in value:
        return f"`{_value(value['const'])}`"
    if "enum" in value:
        return _escaped(" or ".join(f"`{_value(one)}`" for one in value["enum"]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one) for one in value["anyOf"]))
    kind = value.get("type", "")
    if kind == "array":
        least = f", {value['minItems']} or more" if value.get("minItems") else ""
        if "prefixItems" in value:
            return f"list of {len(value['prefixItems'])}: {', '.join(map(_type, value['prefixItems']))}"
        return f"list of {_type(value.get('items', {})) or 'values'}{least}"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"table of {_type(inner)} by name" if isinstance(inner, dict) else "table"
    words = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
    return f"{words.get(kind, kind)}{_range(value)}"


def _range(value: Schema) -> str:
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    left = "[" if "minimum" in value else "("
    right = "]" if "maximum" in value else ")"
    ends = ["−∞" if low is None else f"{low:g}", "∞" if high is None else f"{high:g}"]
    return f" in {left}{ends[0]}, {ends[1]}{right}"


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}" if value != int(value) or abs(value) >= 1e6 else f"{value:.1f}"
    return json.dumps(value, ensure_ascii=False)


def _escaped(text: str) -> str:
    """Text for a cell of a table; what is between backticks is code and only keeps its columns apart."""
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    for place in range(0, len(parts), 2):
        for sign, instead in (("<", "&lt;"), ("[", "\\["), ("]", "\\]"), ("*", "\\*"), ("_", "\\_")):
            parts[place] = parts[place].replace(sign, instead)
    return "`".join(parts)


if __name__ == "__main__":
    main()
