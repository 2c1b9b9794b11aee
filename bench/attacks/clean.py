"""The clean logits of a model, computed once and shared by all attacks on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["CleanPass"]


class CleanPass:
    """The clean logits of one model, computed once per image, for several calls of `bench.attacks.run`.

    Images are identified by their content, so an attack on a subset finds its logits. The first attack must get all
    images: it fixes the shape of the batches in which proposals are judged, see `bench.attacks.judge`. The weights of
    the model must not change between the attacks.

    Args:
        model: The model under attack.
        batch_size: Images per forward pass in all attacks; the last bits of logits depend on it.
    """

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size
        self._shape: int | None = None
        self._known: dict[bytes, Tensor] = {}

    def shape(self, images: int) -> int:
        """Size of every judged batch: the number of ``images`` of the first attack, at most the batch size.

        Args:
            images: Number of images of the attack.
        """
        if self._shape is None:
            self._shape = min(self._batch_size, images)
        return self._shape

    def check(self, model: nn.Module, batch_size: int) -> None:
        """Refuse another model or batch size.

        Raises:
            ValueError: The model or the batch size differs.
        """
        if model is not self._model or batch_size != self._batch_size:
            raise ValueError("clean logits are of one model at one batch size; make a CleanPass for each")

    def logits(self, images: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K) logits of (N, C, H, W) images on the CPU; ``compute`` is called with the images not seen before."""
        keys = [hashlib.sha256(image.contiguous().numpy().tobytes()).digest() for image in images]
        unknown = [index for index, key in enumerate(keys) if key not in self._known]
        if unknown:
            found = compute(images[torch.tensor(unknown)])
            self._known |= {keys[index]: row for index, row in zip(unknown, found, strict=True)}
        return torch.stack([self._known[key] for key in keys])
