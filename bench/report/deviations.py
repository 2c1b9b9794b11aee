"""Differences between a run and the paper, from the resolved configuration; printed below the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bench.report.paper_protocol import attack_lines, augmentation, data_line, data_of_the_paper, shown
from bench.spec import TrainingConfig
from bench.suite.schema import ResolvedModel, Suite

__all__ = ["deviations"]

_NAMES = {
    "backbone": "network",
    "warmup": "iterations of warm-up",
    "sigma": "noise on training images",
    "augment_density": "images of the p(x) stream augmented",
    "sampler.steps": "sampler steps (tau)",
    "sampler.step_size": "sampler step size",
    "sampler.noise": "sampler noise",
    "sampler.mode": "sampling",
    "sampler.gamma": "gamma of the sampler's target",
    "sampler.labels": "labels of samples",
    "sampler.buffer": "replay buffer",
    "sampler.reinit": "re-initialisation",
    "sampler.clamp": "samples clamped to [-1, 1]",
}


_OF_THE_MODEL = ("backbone", "scale")
"""Settings that imported weights have. The others describe training, which is not known for them."""


_ARITHMETIC = {
    "optimizer": "optimiser",
    "schedule": "schedule of the learning rate",
    "clip": "largest norm of the gradient",
    "average": "decay of the averaged weights, which are evaluated",
    "precision": "precision of training steps",
    "cudnn": "cuDNN kernels of training steps",
}
"""Settings of ``TrainingConfig`` whose default is what both papers do, or what neither states."""


def deviations(suite: Suite) -> tuple[str, ...]:
    """One line for each setting in which a model differs from the paper's value, or from float32.

    Only families that the paper trained are compared with it, each with its schedule for the suite's data set. If the
    paper does not state a value, the released code's value is compared. Data and attacks are compared if the suite has
    such a family.

    Models with the same value are listed together: ``lr: 0.002 (softmax, GMMC (Dis)); 0.003 (JEM) [paper: 0.0001]``.
    """
    lines = [
        f"{model.label}: imported weights {model.weights!r}; how they were trained is not known here"
        for model in suite.models
        if model.weights is not None
    ]
    papers = {model.name: values for model in suite.models if (values := _paper(suite, model))}
    on_data = any(model.family.paper_on for model in suite.models if model.name in papers)
    lines += [
        *(data_line(suite) if on_data else ()),
        *_settings(suite, papers),
        *(attack_lines(suite) if on_data else ()),
    ]
    return (*lines, *_arithmetic(suite))


def _paper(suite: Suite, model: ResolvedModel) -> Mapping[str, Any]:
    """The paper's training settings for the family of a model, with those for the suite's data set if it has them."""
    family = model.family
    if family.paper_family not in (None, family.name):
        return {}
    return {**family.paper, **family.paper_on.get(data_of_the_paper(suite), {})}


def _settings(suite: Suite, papers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Lines for the settings that the paper states, then for those that only its code has."""
    held = [model for model in suite.models if model.name in papers]
    released = {model.name: model.family.released for model in held}
    for key in dict.fromkeys(key for model in held for key in papers[model.name]):
        stating = [model for model in held if key in papers[model.name]]
        yield from _compared(key, stating, _value, papers, released, "paper", len(suite.models))
    for key in dict.fromkeys(key for model in held for key in released[model.name]):
        silent = [model for model in held if key in released[model.name] and key not in papers[model.name]]
        yield from _compared(key, silent, _value, released, {}, "paper: not stated; its code", len(suite.models))

    def augmented(model: ResolvedModel, _key: str) -> Any:
        return suite.dataset.augmentation if model.config.augment else "none"

    on_data = [model for model in held if model.family.paper_on]
    expected = {model.name: {"augmentation": augmentation(suite)} for model in on_data}
    code = "paper: not stated; its code"
    yield from _compared("augmentation", on_data, augmented, expected, {}, code, len(suite.models))


def _compared(
    key: str,
    models: Iterable[ResolvedModel],
    value: Callable[[ResolvedModel, str], Any],
    stated: Mapping[str, Mapping[str, Any]],
    also: Mapping[str, Mapping[str, Any]],
    who: str,
    every: int,
) -> Iterator[str]:
    """One line if a model has neither the stated value nor the code's value; else none. It names the models unless they
    are all ``every`` of the suite and have one value.
    """
    by_value: dict[str, list[str]] = {}
    told: dict[str, None] = {}
    differs = False
    for model in models:
        if model.weights is not None and key not in _OF_THE_MODEL:
            continue
        own, expected = value(model, key), stated[model.name][key]
        differs |= own != expected and own != also.get(model.name, {}).get(key, expected)
        by_value.setdefault(shown(own), []).append(model.label)
        told[shown(expected)] = None
    if not differs:
        return
    if len(by_value) == 1 and sum(map(len, by_value.values())) == every:
        text = next(iter(by_value))
    else:
        text = "; ".join(f"{value} ({', '.join(labels)})" for value, labels in by_value.items())
    yield f"{_NAMES.get(key, key.replace('_', ' '))}: {text} [{who}: {' or '.join(told)}]"


def _arithmetic(suite: Suite) -> list[str]:
    """Lines for training steps whose optimiser, schedule or arithmetic is not the default."""
    lines = []
    for key, text in _ARITHMETIC.items():
        default = TrainingConfig.model_fields[key].get_default(call_default_factory=True)
        labels: dict[str, list[str]] = {}
        for model in suite.models:
            value = getattr(model.config, key)
            if value != default and model.weights is None:
                labels.setdefault(shown(value), []).append(model.label)
        told = f"[default: {'none' if default is None else shown(default)}]"
        lines += [f"{text}: {value} ({', '.join(names)}) {told}" for value, names in labels.items()]
    return lines


def _value(model: ResolvedModel, key: str) -> Any:
    if key == "backbone":
        return model.backbone.name
    value: Any = model.config
    for part in key.split("."):
        value = getattr(value, part, None)
    return value
