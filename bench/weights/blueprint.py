"""The specification of a model as plain values. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Blueprint"]


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """Everything that is needed to build a model, without its weights.

    Attributes:
        family: Reference of its family.
        backbone: Reference of its backbone.
        config: Hyper-parameters of the family, as JSON; files are named by absolute paths.
        seed: Training seed; it determines the initial weights.
    """

    family: str
    backbone: str
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
