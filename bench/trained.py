"""Classifiers as files: build one from its specification, save what training left, load it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bench.family import Classifier, Family
from bench.keys import derive_seed
from bench.registry import import_object
from bench.spec import BACKBONES, FAMILIES
from bench.store import JobFolder
from bench.tensors import file_digest, load_tensors

__all__ = ["STATE", "WEIGHTS", "build", "load"]

WEIGHTS, STATE = "weights.safetensors", "state.safetensors"


def build(
    spec: Mapping[str, Any], num_classes: int, image_shape: tuple[int, int, int], device: str
) -> tuple[Family[Any], Classifier]:
    """A freshly initialised classifier; its initial weights depend on ``spec["seed"]`` alone.

    Args:
        spec: family, backbone, config and seed of a train job.
        num_classes: K.
        image_shape: (C, H, W).
        device: Where it goes.
    """
    family_spec = FAMILIES.get(spec["family"])
    config = family_spec.config.model_validate_json(_json(spec["config"]))
    implementation = import_object(family_spec.implementation)
    assert isinstance(implementation, type)
    assert issubclass(implementation, Family)
    family: Family[Any] = implementation(config)
    backbone_spec = BACKBONES.get(spec["backbone"])
    make_backbone: Any = import_object(backbone_spec.implementation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec["seed"], "initial weights"))
        backbone: nn.Module = make_backbone(backbone_spec.name, image_shape[0])
        model = family.build(backbone, num_classes, image_shape)
    # Convolutions are 1.1 to 1.2 times faster this way (docs/performance.md), with equal results.
    moved = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(moved, Classifier)
    return family, moved


def load(
    folder: JobFolder,
    spec: Mapping[str, Any],
    num_classes: int,
    image_shape: tuple[int, int, int],
    device: str,
    *,
    with_state: bool = False,
) -> tuple[Classifier, str]:
    """A trained classifier in eval mode and the digest of the weights that were read.

    Args:
        folder: Of the train job.
        spec: Of the train job.
        num_classes: K.
        image_shape: (C, H, W).
        device: Where it goes.
        with_state: Attach what the sampler kept, for ``stored_samples``.
    """
    family, model = build(spec, num_classes, image_shape, device)
    path = folder.file(WEIGHTS)
    weights, _ = load_tensors(path)
    model.load_state_dict(weights)
    if with_state and folder.file(STATE).exists():
        state, _ = load_tensors(folder.file(STATE))
        family.attach(model, {name: tensor.to(device) for name, tensor in state.items()})
    model.eval()
    return model, file_digest(path)


def _json(value: Any) -> str:
    from bench.keys import canonical

    return canonical(value)
