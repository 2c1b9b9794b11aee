"""Rewrites labels of models whose settings a profile changes, so that a label shows the value that is used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.suite.document import Document
from bench.suite.locate import Path

__all__ = ["Change", "relabel"]


@dataclass(frozen=True)
class Change:
    """A setting in which models of a suite differ, before and after a profile."""

    key: str
    before: Any
    after: Any


def relabel(result: Document, members: Mapping[Path, dict[str, Any]], changes: Mapping[Path, Sequence[Change]]) -> None:
    """Rewrite the labels that the suite sets, and the tables that name rows by them.

    A label that contains the old value as a word (``"JEM, 20 steps"``) gets the new value in its place. If it does not
    contain the value, or if the value may belong to another setting, the new value is appended
    (``"JEM, long (steps 2)"``).
    """
    entries = result.data.get("model")
    labels = [e.get("label") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    for at, entry in members.items():
        label = entry.get("label")
        if not isinstance(label, str) or not changes[at]:
            continue
        new = label
        for change in changes[at]:
            new = _replaced(new, change, entry)
        if new == label or new in labels:
            new = f"{label} ({', '.join(_said(change) for change in changes[at])})"
        labels.append(new)
        entry["label"] = new
        tables = result.data.get("table")
        for table in tables if isinstance(tables, list) else ():
            rows = table.get("models") if isinstance(table, dict) else None
            if isinstance(rows, list):
                table["models"] = [new if row == label else row for row in rows]


def _replaced(label: str, change: Change, entry: Mapping[str, Any]) -> str:
    text = _text(change.before)
    found = list(re.finditer(rf"(?<![\w.,-]){re.escape(text)}(?![\w-]|[.,]\d)", label, re.IGNORECASE))
    others = [value for key, value in _explicit(entry) if key != change.key and value == change.before]
    if len(found) != 1 or others or isinstance(change.before, bool | list | tuple):
        return f"{label} ({_said(change)})"
    return f"{label[: found[0].start()]}{_text(change.after)}{label[found[0].end() :]}"


def _explicit(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _explicit(value) if isinstance(value, Mapping) else [(key, value)]
    return found


def _said(change: Change) -> str:
    return f"{change.key.replace('_', ' ')} {_text(change.after)}"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
