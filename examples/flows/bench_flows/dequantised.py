"""What the flows share: noise of training and of samples, and bits per dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.rng import uniform

__all__ = ["bits", "dequantised", "normal"]


def dequantised(images: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    """Images with noise that is uniform over the cell of each value (Theis et al. 2016), in [0, 1).

    Args:
        images: (N, C, H, W) in [0, 1], on ``levels`` equally spaced values.
        levels: L.
        generator: Source of the noise.
    """
    noise = torch.rand(images.shape, generator=generator, device=generator.device).to(images.device)
    return (torch.round(images * (levels - 1)) + noise) / levels


def normal(seed: int, index: Tensor, size: int) -> Tensor:
    """Standard normal values (N, size) in float32: those of row i depend on (seed, index[i]) alone."""
    draws = torch.from_numpy(uniform(seed, index.cpu().numpy(), 0, size)).double()
    values: Tensor = torch.special.ndtri(draws + 2.0**-25).float()
    return values.to(index.device)


def bits(nats: Tensor, size: int, levels: int) -> Tensor:
    """Bits per dimension of log-densities in nats of images with ``size`` values on ``levels`` levels."""
    return -nats / (size * math.log(2)) + math.log2(levels)
