"""Converters of checkpoints that the authors of JEM++ and SADA-JEM published, as in ``importers``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.family import Imported

from .importers import jem, state_dict

__all__ = ["jem_pp", "sada_jem"]

_NOTE = (
    "the Gaussians from which new chains start are not in the file: they are fitted to the training set when a suite "
    "first uses the model"
)
_SECOND_NAME = re.compile(r"f\.(layer_one|other_layers\.([0-3]))\.(.+)")


def jem_pp(checkpoint: Any, dim: int, num_classes: int) -> Imported:
    """Convert ``*.pt`` of the JEM++ code: as that of JEM, but the network for PYLD (``wideresnet_yopo``) has each layer
    under a second name, ``layer_one`` for the first and ``other_layers`` for the others.

    Args:
        checkpoint: Content of the file.
        dim: Feature dimension d of the backbone.
        num_classes: K.

    Raises:
        ValueError: The file is not such a checkpoint, its replay buffer is invalid, or the two names of a layer have
            different tensors.
    """
    own = state_dict(checkpoint)
    again = {name: first for name in own if (first := _first_name(name)) is not None}
    for name, first in again.items():
        if first in own and not _equal(own[name], own[first]):
            raise ValueError(f"{name} and {first} are one layer in the JEM++ code, but differ in the file")
    once = {name: tensor for name, tensor in own.items() if again.get(name) not in own}
    read = sada_jem({**checkpoint, "model_state_dict": once}, dim, num_classes)
    second = {name: f"second name of {first}" for name, first in again.items() if name not in once}
    return replace(read, ignored={**read.ignored, **second})


def sada_jem(checkpoint: Any, dim: int, num_classes: int) -> Imported:
    """Convert ``*.pt`` of the SADA-JEM code, which has the layout of JEM's without the unused head of the trunk.

    Args:
        checkpoint: Content of the file.
        dim: Feature dimension d of the backbone.
        num_classes: K.

    Raises:
        ValueError: The file is not such a checkpoint, its replay buffer is invalid, or its network is that for images
            of 64x64 and more.
    """
    fourth = sorted(name for name in state_dict(checkpoint) if name.startswith("f.layer4."))
    if fourth:
        raise ValueError(
            f"{fourth[0]}: the network has a fourth stage, as that of the SADA-JEM code for images of 64x64 and more; "
            "wrn has three"
        )
    read = jem(checkpoint, dim, num_classes)
    return replace(read, notes=(*read.notes, _NOTE))


def _first_name(name: str) -> str | None:
    """The name of a layer that is its second one in ``wideresnet_yopo``; None for any other name."""
    found = _SECOND_NAME.fullmatch(name)
    if found is None:
        return None
    group, number, rest = found.groups()
    if group == "layer_one":
        return f"f.conv1.{rest}"
    return f"f.bn1.{rest}" if number == "3" else f"f.layer{int(number) + 1}.{rest}"


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
