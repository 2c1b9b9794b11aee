"""Between images in [0, 1], which everybody sees, and the [-1, 1] scale on which the networks work.

Samplers, their steps and their noise live on the latter, as in the JEM and GMMC code ((x - 0.5) / 0.5).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["from_model", "to_model"]


def to_model(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]; values outside (training noise is not clamped) follow the same line."""
    return images * 2 - 1


def from_model(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]; what an unclamped sampler left outside is clamped, as for saving it as a picture."""
    return ((images + 1) / 2).clamp(0, 1)
