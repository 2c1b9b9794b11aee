"""Properties of a model's outputs that matter to attacks: probabilities, noise, inner gradients, values not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .frozen import frozen


@dataclass(frozen=True)
class OutputTraits:
    """Properties of a model's outputs on some images.

    Attributes:
        probabilities: Whether all outputs are in [0, 1] and every row sums to 1 within 1e-4, so they are not logits.
        random: Whether two forward passes of the same images differ in at least one value.
        batch_dependent: Whether a prediction changes with the other images of the batch.
        dynamic: Whether the forward pass takes gradients, so that an attack must differentiate through them.
        not_finite_share: Share of images with a NaN or infinite output.
    """

    probabilities: bool
    random: bool
    batch_dependent: bool
    dynamic: bool
    not_finite_share: float


def inspect_outputs(model: nn.Module, images: Tensor) -> OutputTraits:
    """Inspect three forward passes, the third with the first half of the images.

    Args:
        model: Module from images to logits; frozen during the check.
        images: (N, C, H, W) in [0, 1], N >= 1, on the model's device; one batch.

    Raises:
        ValueError: There is no image, or the shape is wrong.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must have shape (N, C, H, W) with N >= 1, got {tuple(images.shape)}")
    with frozen(model) as view:
        with _gradients_counted() as gradients:
            first = view.logits(images)
        with torch.no_grad():
            second, part = view.logits(images), view.logits(images[: (len(images) + 1) // 2])
    first = first.detach()
    finite = first.isfinite().all(dim=1)
    rows = first[finite]
    probabilities = bool(len(rows)) and bool(
        ((rows >= 0) & (rows <= 1)).all() and ((rows.sum(dim=1) - 1).abs() < 1e-4).all()
    )
    same = (first == second) | (first.isnan() & second.isnan())
    random = not bool(same.all())
    return OutputTraits(
        probabilities=probabilities,
        random=random,
        # The check says nothing about a random model.
        batch_dependent=not random and bool((part.argmax(dim=1) != first[: len(part)].argmax(dim=1)).any()),
        dynamic=gradients() > 0,
        not_finite_share=1 - float(finite.float().mean()),
    )


@contextmanager
def _gradients_counted() -> Iterator[Callable[[], int]]:
    """Yield a function that returns how often ``autograd.grad`` or ``autograd.backward`` was called inside."""
    count = 0
    grad, backward = torch.autograd.grad, torch.autograd.backward

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return function(*args, **kwargs)

        return call

    torch.autograd.grad, torch.autograd.backward = counted(grad), counted(backward)
    try:
        yield lambda: count
    finally:
        torch.autograd.grad, torch.autograd.backward = grad, backward
