"""Augmentation of training batches on their device: the same on every device, and independent of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.rng import derive_seed, indexed_integers

__all__ = ["crop_flip"]


def crop_flip(images: Tensor, seed: int, items: Tensor, *, pad: int = 4, flip: bool = True) -> Tensor:
    """Reflect-pad, crop to the old size at a random place and, if wanted, mirror half of the images.

    The augmentation of JEM and GMMC on CIFAR (pad 4, flip) and on SVHN (no flip). Each image has its own
    uniform offset among (2 pad + 1)^2 and is mirrored left to right with probability 1/2. Reflection does not
    repeat the border pixel.

    Args:
        images: Shape (N, C, H, W).
        seed: Seed of the draws.
        items: (N,) integers on the same device, the identities of the images: place and mirroring of image i depend on
            (seed, items[i]) alone.
        pad: Pixels of padding on each side, less than H and W.
        flip: Whether to mirror.

    Returns:
        A new tensor of the same shape, dtype and device; equal to ``images`` for pad 0 without flip.

    Raises:
        ValueError: ``images`` is not of four dimensions, or the padding is negative or not less than H and W.
    """
    if images.ndim != 4:
        raise ValueError(f"images: shape {tuple(images.shape)}, expected (N, C, H, W)")
    channels, height, width = images.shape[1:]
    if not 0 <= pad < min(height, width):
        raise ValueError(f"pad is {pad}, expected 0 to {min(height, width) - 1} for images of {height}x{width} pixels")
    rows = _source_positions(derive_seed(seed, "rows"), items, height, pad)
    columns = _source_positions(derive_seed(seed, "columns"), items, width, pad)
    if flip:
        mirrored = indexed_integers(derive_seed(seed, "flip"), items, 2).bool()
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    planes = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[batch, planes, rows[:, None, :, None], columns[:, None, None, :]]


def _source_positions(seed: int, items: Tensor, size: int, pad: int) -> Tensor:
    """Indices of the rows (or columns) of each image that make up its crop; shape (N, size)."""
    offsets = indexed_integers(seed, items, 2 * pad + 1) - pad
    positions = (torch.arange(size, device=items.device) + offsets[:, None]).abs()
    return (size - 1) - ((size - 1) - positions).abs()
