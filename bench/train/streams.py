"""Endless shuffled streams of training batches, with all data on the device and a state that can be saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.data.augment import crop_flip
from bench.family import Batch, StreamSpec
from bench.rng import derive_seed, indexed_normal, permutation

__all__ = ["AUGMENTATIONS", "Stream"]

Augmentation = Callable[[Tensor, int, Tensor], Tensor]
"""Images (N, C, H, W), a seed and the items (N,) that they are -> new images."""

AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": lambda images, *_: images,
    "crop": lambda images, seed, items: crop_flip(images, seed, items, flip=False),
    "crop-flip": lambda images, seed, items: crop_flip(images, seed, items, flip=True),
}


class Stream:
    """Batches in a new random order in each pass; the incomplete last batch of a pass is dropped.

    The order of a pass depends on (seed, pass) alone, augmentation and noise of an item on (seed, pass, item). They are
    made on the device and are the same on every device.

    Args:
        images: (n, C, H, W) float32 in [0, 1], on the training device.
        labels: (n,) int64, on the same device.
        spec: Augmentation and noise.
        augmentation: Augmentation that the data set allows, a key of ``AUGMENTATIONS``.
        batch_size: Items per batch, at most n.
        seed: Seed of order, augmentation and noise.

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
        self._seed, self._pass, self._batch = seed, 0, 0
        self._order = self._shuffled()

    def next(self) -> Batch:
        """The next batch; noise is added after augmentation and not clamped, as in the JEM and GMMC code."""
        if self._batch == self.per_epoch:
            self._pass, self._batch = self._pass + 1, 0
            self._order = self._shuffled()
        start = self._batch * self.batch_size
        items = self._order[start : start + self.batch_size]
        self._batch += 1
        images = self._augment(self.images[items], self._seed_of("augmentation"), items)
        if self.spec.sigma:
            noise = indexed_normal(self._seed_of("noise"), items, tuple(images.shape[1:]), images.device)
            # sigma is given on the [-1, 1] scale, which is twice as long.
            images = images + noise * (self.spec.sigma / 2)
        return Batch(images, self.labels[items])

    def state_dict(self) -> dict[str, Tensor]:
        """The position, (3,) int64: seed, pass, and the number of batches taken from it."""
        return {"position": torch.tensor([self._seed, self._pass, self._batch])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state of ``state_dict``."""
        self._seed, self._pass, self._batch = state["position"].tolist()
        self._order = self._shuffled()

    def reseed(self, seed: int) -> None:
        """Use another seed from now on; the rest of the pass gets a new order, too."""
        self._seed = seed
        self._order = self._shuffled()

    def _shuffled(self) -> Tensor:
        return permutation(self._seed_of("order"), len(self.images), self.images.device)

    def _seed_of(self, purpose: str) -> int:
        return derive_seed(self._seed, purpose, self._pass)
