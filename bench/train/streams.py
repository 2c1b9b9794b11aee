"""Endless shuffled streams of training batches, with all data on the device and a state that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.data.augment import crop_flip
from bench.family import Batch, StreamSpec

__all__ = ["AUGMENTATIONS", "Stream"]

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": lambda images, _: images,
    "crop": lambda images, generator: crop_flip(images, generator, flip=False),
    "crop-flip": lambda images, generator: crop_flip(images, generator, flip=True),
}


class Stream:
    """Batches in a new random order in each pass; the incomplete last batch of a pass is dropped.

    Args:
        images: (n, C, H, W) float32 in [0, 1], on the training device.
        labels: (n,) int64, on the same device.
        spec: Augmentation and noise.
        augmentation: Augmentation that the data set allows, a key of ``AUGMENTATIONS``.
        batch_size: Items per batch, at most n.
        seed: Seed of the stream's generator.

    Raises:
        ValueError: There are fewer items than ``batch_size``.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        spec: StreamSpec,
        *,
        augmentation: str,
        batch_size: int,
        seed: int,
    ) -> None:
        if len(images) < batch_size:
            raise ValueError(f"{len(images)} training items do not fill one batch of {batch_size}")
        self.images, self.labels, self.spec = images, labels, spec
        self.batch_size = batch_size
        self.per_epoch = len(images) // batch_size
        self._augment = AUGMENTATIONS[augmentation if spec.augment else "none"]
        self._generator = torch.Generator(images.device).manual_seed(seed)
        self._order = self._shuffle()
        self._batch = 0

    def next(self) -> Batch:
        """The next batch; noise is added after augmentation and not clamped, as in the JEM and GMMC code."""
        if self._batch == self.per_epoch:
            self._order = self._shuffle()
            self._batch = 0
        start = self._batch * self.batch_size
        index = self._order[start : start + self.batch_size]
        self._batch += 1
        images = self._augment(self.images[index], self._generator)
        if self.spec.sigma:
            noise = torch.randn(images.shape, generator=self._generator, device=images.device)
            # sigma is given on the [-1, 1] scale, which is twice as long.
            images = images + noise * (self.spec.sigma / 2)
        return Batch(images, self.labels[index])

    def state_dict(self) -> dict[str, Tensor]:
        """The order of the pass, the number of batches taken from it, and the state of the generator."""
        return {
            "order": self._order,
            "batch": torch.tensor(self._batch),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state of ``state_dict``."""
        self._order = state["order"].to(self.images.device)
        self._batch = int(state["batch"])
        self._generator.set_state(state["generator"].cpu())

    def reseed(self, seed: int) -> None:
        """Use another seed from now on; the rest of the pass gets a new order, too."""
        self._generator.manual_seed(seed)
        self._order = self._shuffle()

    def _shuffle(self) -> Tensor:
        return torch.randperm(len(self.images), generator=self._generator, device=self.images.device)
