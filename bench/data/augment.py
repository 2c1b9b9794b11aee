"""Augmentation of training batches on their device, reproducible from an explicit generator."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["crop_flip"]


def crop_flip(images: Tensor, generator: torch.Generator, *, pad: int = 4, flip: bool = True) -> Tensor:
    """Reflect-pad, crop to the old size at a random place and, if wanted, mirror half of the images.

    The augmentation of JEM and GMMC on CIFAR (pad 4, flip) and on SVHN (no flip). Each image has its own
    uniform offset among (2 pad + 1)^2 and is mirrored left to right with probability 1/2. Reflection does not
    repeat the border pixel.

    Args:
        images: Shape (N, C, H, W).
        generator: Source of the draws; on the images' device, or on the CPU for draws that do not depend on
            the device.
        pad: Pixels of padding on each side, less than H and W.
        flip: Whether to mirror.

    Returns:
        A new tensor of the same shape, dtype and device; equal to ``images`` for pad 0 without flip.

    Raises:
        ValueError: ``images`` is not of four dimensions, or the padding is negative or not less than H and W.
    """
    if images.ndim != 4:
        raise ValueError(f"images: shape {tuple(images.shape)}, expected (N, C, H, W)")
    count, channels, height, width = images.shape
    if not 0 <= pad < min(height, width):
        raise ValueError(f"pad is {pad}, expected 0 to {min(height, width) - 1} for images of {height}x{width} pixels")
    rows = _source_positions(count, height, pad, generator, images.device)
    columns = _source_positions(count, width, pad, generator, images.device)
    if flip:
        mirrored = _integers(2, count, generator, images.device).bool()
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    items = torch.arange(count, device=images.device)[:, None, None, None]
    planes = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[items, planes, rows[:, None, :, None], columns[:, None, None, :]]


def _source_positions(count: int, size: int, pad: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Indices of the rows (or columns) of each image that make up its crop; shape (count, size)."""
    offsets = _integers(2 * pad + 1, count, generator, device) - pad
    positions = (torch.arange(size, device=device) + offsets[:, None]).abs()
    return (size - 1) - ((size - 1) - positions).abs()


def _integers(high: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randint(high, (count,), generator=generator, device=generator.device).to(device)
