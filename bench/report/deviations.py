"""In what a run differs from the paper, from the resolved configuration; printed under every table."""

from __future__ import annotations

from typing import Any

from bench.spec import TrainingConfig
from bench.suite.schema import ResolvedModel, Suite

__all__ = ["deviations"]

_NAMES = {
    "backbone": "network",
    "sampler.steps": "sampler steps (tau)",
    "sampler.buffer": "replay buffer",
    "sampler.reinit": "re-initialisation",
    "sampler.clamp": "samples clamped to [-1, 1]",
}


_OF_THE_MODEL = ("backbone", "scale")
"""What is known of imported weights: the rest are settings of a training that did not happen here."""


_ARITHMETIC = {
    "precision": "precision of training steps",
    "compile": "training steps compiled by torch.compile",
}
"""Settings of ``TrainingConfig``."""


def deviations(suite: Suite) -> tuple[str, ...]:
    """One line for each setting in which some model differs from the paper's value, or from float32 and eager steps.

    Models that agree on a value are listed together, so that a reader sees at a glance what was done:
    ``lr: 0.002 (softmax, GMMC (Dis)), 0.003 (JEM); paper 0.0001``.
    """
    lines = [
        f"{model.label}: imported weights {model.weights!r}; how they were trained is not known here"
        for model in suite.models
        if model.weights is not None
    ]
    keys = dict.fromkeys(key for model in suite.models for key in model.family.paper)
    for key in keys:
        by_value: dict[str, list[str]] = {}
        stated: dict[str, None] = {}
        differs = False
        for model in suite.models:
            if key not in model.family.paper or (model.weights is not None and key not in _OF_THE_MODEL):
                continue
            value, paper = _value(model, key), model.family.paper[key]
            differs |= value != paper
            by_value.setdefault(_text(value), []).append(model.label)
            stated[_text(paper)] = None
        if not differs:
            continue
        if len(by_value) == 1:
            shown = next(iter(by_value))
        else:
            shown = "; ".join(f"{value} ({', '.join(labels)})" for value, labels in by_value.items())
        lines.append(f"{_NAMES.get(key, key.replace('_', ' '))}: {shown} [paper: {' or '.join(stated)}]")
    return (*lines, *_arithmetic(suite))


def _arithmetic(suite: Suite) -> list[str]:
    """Arithmetic of training steps that is not the default: no paper states it, and rounding is part of a result."""
    lines = []
    for key, text in _ARITHMETIC.items():
        default = TrainingConfig.model_fields[key].default
        labels: dict[str, list[str]] = {}
        for model in suite.models:
            value = getattr(model.config, key)
            if value != default and model.weights is None:
                labels.setdefault(_text(value), []).append(model.label)
        told = f"[default: {_text(default)}]"
        lines += [f"{text}: {value} ({', '.join(names)}) {told}" for value, names in labels.items()]
    return lines


def _value(model: ResolvedModel, key: str) -> Any:
    if key == "backbone":
        return model.backbone.name
    value: Any = model.config
    for part in key.split("."):
        value = getattr(value, part, None)
    return value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
