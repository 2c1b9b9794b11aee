"""Adversarial attacks on any torch module from images in [0, 1] to logits.

`run` attacks and judges; `bench.attacks.catalogue` lists the attacks without importing torch, and so
does importing this package: what needs torch is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clean import CleanPass
    from .diagnostics import Flag, Verdict
    from .outputs import OutputTraits, inspect_outputs
    from .problem import Composition, GradientHealth
    from .result import AttackResult
    from .runner import run
    from .threat import ThreatModel, format_eps, parse_eps
    from .worst_case import Sweep, WorstCase, eps_sweep

_HOMES = {
    "AttackResult": "result",
    "CleanPass": "clean",
    "Composition": "problem",
    "Flag": "diagnostics",
    "GradientHealth": "problem",
    "OutputTraits": "outputs",
    "Sweep": "worst_case",
    "ThreatModel": "threat",
    "Verdict": "diagnostics",
    "WorstCase": "worst_case",
    "eps_sweep": "worst_case",
    "format_eps": "threat",
    "inspect_outputs": "outputs",
    "parse_eps": "threat",
    "run": "runner",
}

__all__ = [
    "AttackResult",
    "CleanPass",
    "Composition",
    "Flag",
    "GradientHealth",
    "OutputTraits",
    "Sweep",
    "ThreatModel",
    "Verdict",
    "WorstCase",
    "eps_sweep",
    "format_eps",
    "inspect_outputs",
    "parse_eps",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
