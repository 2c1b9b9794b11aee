"""Input gradients as attacks use them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["finite", "largest"]


def finite(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (N, ...) with zeros where it is not finite, so that an image stays where its model returns NaN; and
    the largest absolute entry of each image (N,).
    """
    size = largest(gradient)
    if bool(size.isfinite().all()):
        return gradient, size
    gradient = torch.where(gradient.isfinite(), gradient, 0)
    return gradient, largest(gradient)


def largest(gradient: Tensor) -> Tensor:
    """Largest absolute entry of each image, (N,); NaN if one is NaN. No copy, whatever the layout."""
    return gradient.abs().amax(dim=tuple(range(1, gradient.ndim)))
