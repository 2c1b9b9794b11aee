"""Adversarial attacks on any torch module from images in [0, 1] to logits.

`run` attacks and judges. `bench.attacks.named` lists the attacks. Importing this package does not import torch: names
that need torch are loaded on first access.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .chain import Chain, Member, Sweep, attack_in_turn, eps_sweep
    from .inspection import OutputTraits, inspect_outputs
    from .judge import CleanPass
    from .result import AttackResult, Composition, GradientHealth
    from .runner import run
    from .threat import ThreatModel, format_eps, parse_eps
    from .verdict import Flag, Verdict

_HOMES = {
    "chain": ("Chain", "Member", "Sweep", "attack_in_turn", "eps_sweep"),
    "inspection": ("OutputTraits", "inspect_outputs"),
    "judge": ("CleanPass",),
    "result": ("AttackResult", "Composition", "GradientHealth"),
    "runner": ("run",),
    "threat": ("ThreatModel", "format_eps", "parse_eps"),
    "verdict": ("Flag", "Verdict"),
}

__all__ = [
    "AttackResult",
    "Chain",
    "CleanPass",
    "Composition",
    "Flag",
    "GradientHealth",
    "Member",
    "OutputTraits",
    "Sweep",
    "ThreatModel",
    "Verdict",
    "attack_in_turn",
    "eps_sweep",
    "format_eps",
    "inspect_outputs",
    "parse_eps",
    "run",
]


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
