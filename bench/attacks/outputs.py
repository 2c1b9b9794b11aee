"""What the outputs of a model say about attacking it: probabilities, noise, gradients inside, values not finite."""

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
        probabilities: All outputs in [0, 1] and every row sums to 1 within 1e-4: not logits.
        random: Two forward passes of the same images differ in at least one bit.
        batch_dependent: Some prediction changes with the company that an image has in its batch.
        dynamic: The forward pass itself takes gradients, so that an attack would have to go through them.
        not_finite_share: Share of images with a NaN or infinite output.
    """

    probabilities: bool
    random: bool
    batch_dependent: bool
    dynamic: bool
    not_finite_share: float


def inspect_outputs(model: nn.Module, images: Tensor) -> OutputTraits:
    """Look at three forward passes, the third of the first half of the images.

    Args:
        model: Module from images to logits; frozen meanwhile.
        images: (N, C, H, W) in [0, 1], N >= 1, on the model's device; one batch.

    Raises:
        ValueError: No image.
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
        # Of a random model nothing would follow.
        batch_dependent=not random and bool((part.argmax(dim=1) != first[: len(part)].argmax(dim=1)).any()),
        dynamic=gradients() > 0,
        not_finite_share=1 - float(finite.float().mean()),
    )


@contextmanager
def _gradients_counted() -> Iterator[Callable[[], int]]:
    """Yields how often gradients have been taken inside, by either way that torch has."""
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
