"""Input gradients as attacks use them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["finite", "input_gradient", "largest"]


def input_gradient(values: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each of (N,) values by its own point, as `finite` gives it.

    Args:
        values: (N,), from a forward pass of ``points``.
        points: (N, ...), a leaf that requires a gradient.
    """
    found = None
    # The sum keeps the gradient of every image its own. A model that ignores its input has none.
    if values.requires_grad:
        (found,) = torch.autograd.grad(values.sum(), points, allow_unused=True)
    return finite(torch.zeros_like(points) if found is None else found)


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
