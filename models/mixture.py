"""A Gaussian for each class, fitted to training images: the distribution from which JEM++ and SADA-JEM start chains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from bench.family import Batch

from .mixture_size import MOST_BYTES, matrix_bytes
from .networks import to_model

__all__ = ["GaussianMixture"]


class GaussianMixture(nn.Module):
    """N(m_y, S_y + jitter I) for each class y, on the [-1, 1] scale; components are equally likely.

    m_y and S_y are mean and covariance (divided by the number of images) of the pixels of a class's training images.
    The matrices take 4 K D^2 bytes for images of D values: 378 MB for CIFAR10.

    Args:
        num_classes: K.
        image_shape: (C, H, W).
        jitter: Added to the diagonal of each covariance, positive, in squared units of the [-1, 1] scale.

    Attributes:
        mean: (K, D), m_y.
        factor: (K D, D), lower Cholesky factors of the covariances, one below the other; 0 until ``fit``. Checkpoints
            store a tensor of many rows once for all epochs in which it does not change.

    Raises:
        ValueError: The matrices would take more than ``mixture_size.MOST_BYTES``.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], jitter: float) -> None:
        super().__init__()
        size = math.prod(image_shape)
        if matrix_bytes(num_classes, image_shape) > MOST_BYTES:
            raise ValueError(
                f"covariances of {num_classes} classes of images of {size} values are too large: use start = 'uniform'"
            )
        self.image_shape = image_shape
        self.jitter = jitter
        self.register_buffer("mean", torch.zeros(num_classes, size))
        self.register_buffer("factor", torch.zeros(num_classes * size, size))

    @property
    def factors(self) -> Tensor:
        """``factor`` as (K, D, D)."""
        return self.factor.view(len(self.mean), -1, self.factor.shape[1])

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` was called, on this mixture or on the one whose state it has. Waits for the device."""
        return bool((self.factors.diagonal(dim1=1, dim2=2) > 0).all())

    @torch.no_grad()
    def fit(self, clean: Callable[[], Iterable[Batch]]) -> None:
        """Estimate means and covariances, in float64. A class without images gets those of all images.

        Args:
            clean: Iterates over the training images, in [0, 1].
        """
        classes, size = self.mean.shape
        for label in range(classes):
            # One class at a time: in float64 the matrices of all classes would take twice their memory.
            chosen = _of_class(clean, label) or _of_class(clean, None)
            count = sum(map(len, chosen))
            mean = torch.stack([images.sum(dim=0) for images in chosen]).sum(dim=0) / count
            covariance = torch.zeros(size, size, dtype=torch.float64, device=mean.device)
            for images in chosen:
                centred = images - mean
                covariance.addmm_(centred.T, centred, alpha=1 / count)
            covariance.diagonal().add_(self.jitter)
            self.mean[label] = mean
            self.factors[label] = torch.linalg.cholesky(covariance)

    def draw(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Images of classes, clamped to [-1, 1] as in the authors' code; does not wait for the device.

        Args:
            noise: (N, C, H, W) standard normal.
            labels: (N,) integers in [0, K).

        Returns:
            (N, C, H, W).
        """
        flat = noise.flatten(1)
        images = self.mean[labels]
        for label, factor in enumerate(self.factors):
            images = images + torch.where((labels == label)[:, None], flat @ factor.T, 0.0)
        return images.clamp(-1, 1).view_as(noise)


def _of_class(clean: Callable[[], Iterable[Batch]], label: int | None) -> list[Tensor]:
    """Batches (n, D) of the images of a class, or of all, on the [-1, 1] scale in float64; without empty batches."""
    chosen = [batch.images if label is None else batch.images[batch.labels == label] for batch in clean()]
    return [to_model(images.flatten(1).double()) for images in chosen if len(images)]
