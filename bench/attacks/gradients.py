"""Input gradients for attacks, one per image: their size, their direction, and the probability that goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .threat import Norm

__all__ = ["finite", "input_gradient", "largest", "per_image", "steepest", "true_probability"]


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
    if gradient.device.type == "cpu":  # elsewhere, reading whether all is finite takes longer than the zeros
        size = largest(gradient)
        if bool(size.isfinite().all()):
            return gradient, size
    gradient = torch.where(gradient.isfinite(), gradient, 0)
    return gradient, largest(gradient)


def largest(gradient: Tensor) -> Tensor:
    """Largest absolute entry of each image, (N,); NaN if an entry is NaN. Does not flatten, so no layout is copied."""
    return gradient.abs().amax(dim=tuple(range(1, gradient.ndim)))


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction (N, ...) of norm 1 along which each value grows fastest; zero where the gradient is zero.

    It is the sign in L_inf, and the gradient divided by its Euclidean norm in L2.
    """
    if norm == "linf":
        return gradient.sign()
    # Divide by the largest entry first: squares of tiny gradients would underflow.
    tiny = torch.finfo(gradient.dtype).tiny
    direction = gradient / per_image(largest(gradient).clamp_min(tiny), gradient)
    return direction / per_image(direction.flatten(1).norm(dim=1).clamp_min(tiny), gradient)


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """Values (N,) as (N, 1, ...), to be combined with images (N, ...)."""
    return values.view(-1, *[1] * (images.ndim - 1))


def true_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax(z)_y (N,), computed in float32 for any precision of the model."""
    probabilities = logits.float().softmax(dim=1)
    return probabilities.gather(1, labels[:, None]).squeeze(1).to(logits.dtype)
