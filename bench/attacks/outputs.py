"""What the outputs of a model say about attacking it: probabilities, noise, values that are not finite."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .frozen import frozen


@dataclass(frozen=True)
class OutputTraits:
    """Properties of a model's outputs on some images.

    Attributes:
        probabilities: All outputs in [0, 1] and every row sums to 1 within 1e-4: not logits.
        random: Two forward passes of the same images differ in at least one bit.
        not_finite_share: Share of images with a NaN or infinite output.
    """

    probabilities: bool
    random: bool
    not_finite_share: float


def inspect_outputs(model: nn.Module, images: Tensor) -> OutputTraits:
    """Look at two forward passes.

    Args:
        model: Module from images to logits; frozen meanwhile.
        images: (N, C, H, W) in [0, 1], N >= 1, on the model's device; one batch.

    Raises:
        ValueError: No image.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must have shape (N, C, H, W) with N >= 1, got {tuple(images.shape)}")
    with frozen(model) as view, torch.no_grad():
        first, second = view.logits(images), view.logits(images)
    finite = first.isfinite().all(dim=1)
    rows = first[finite]
    probabilities = bool(len(rows)) and bool(
        ((rows >= 0) & (rows <= 1)).all() and ((rows.sum(dim=1) - 1).abs() < 1e-4).all()
    )
    same = (first == second) | (first.isnan() & second.isnan())
    return OutputTraits(probabilities, not bool(same.all()), 1 - float(finite.float().mean()))
