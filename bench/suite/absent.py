"""Models whose family comes with a package that is not installed: their rows stay, and say what installs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.spec import FAMILIES, FamilySpec, TrainingConfig

__all__ = ["how_to_install", "placeholder"]


def how_to_install(raw: Mapping[str, Any]) -> str | None:
    """The command that installs the family of a ``[[model]]``, if the entry names one and the family is absent."""
    family, install = raw.get("family"), raw.get("install")
    if not isinstance(family, str) or not isinstance(install, str) or ":" in family:
        return None
    known = {entry.name for entry in FAMILIES.entries()}  # broken ones, too: they are installed
    return None if family in known else install


def placeholder(family: str, label: str | None) -> FamilySpec:
    """What stands for an absent family. Nothing of it is run, and its settings are not read."""
    return FamilySpec(
        name=family,
        label=label or family,
        summary="Not installed.",
        source="not installed",
        config=TrainingConfig,
        implementation="bench.suite.absent:placeholder",
        version=0,
        passes=lambda config: 0.0,  # noqa: ARG005 - the signature of the contract
        needs_backbone=False,
    )
