"""Input gradients for attacks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["finite", "input_gradient", "largest"]


def input_gradient(values: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each of (N,) values with respect to its own point, as `finite` returns it.

    Args:
        values: (N,), from a forward pass of ``points``.
        points: (N, ...), a leaf that requires a gradient.
    """
    found = None
    # Each value depends on its own image alone, so the sum does not mix gradients. A model that ignores its input has
    # no gradient.
    if values.requires_grad:
        (found,) = torch.autograd.grad(values.sum(), points, allow_unused=True)
    return finite(torch.zeros_like(points) if found is None else found)


def finite(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (N, ...) with zeros where it is not finite, and the largest absolute entry of each image (N,).

    With the zeros, an image stays where it is if the model returns NaN.
    """
    size = largest(gradient)
    if bool(size.isfinite().all()):
        return gradient, size
    gradient = torch.where(gradient.isfinite(), gradient, 0)
    return gradient, largest(gradient)


def largest(gradient: Tensor) -> Tensor:
    """Largest absolute entry of each image, (N,); NaN if an entry is NaN. Does not flatten, so no layout is copied."""
    return gradient.abs().amax(dim=tuple(range(1, gradient.ndim)))
