"""Conversion between images in [0, 1], used by all interfaces, and the [-1, 1] scale of the networks.

Samplers, their steps and their noise use the [-1, 1] scale, as in the JEM and GMMC code ((x - 0.5) / 0.5).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["from_model", "to_model"]


def to_model(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1], linear; values outside of [0, 1] are not clamped, because training adds noise."""
    return images * 2 - 1


def from_model(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]; values outside, from an unclamped sampler, are clamped, as for saving a picture."""
    return ((images + 1) / 2).clamp(0, 1)
