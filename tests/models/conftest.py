"""Backbones whose features and input gradients are known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

SHAPE = (1, 2, 3)


class Flat(nn.Module):
    """phi(x) = factor * x, flattened: the pixels themselves, on the scale on which the backbone is given them."""

    def __init__(self, dim: int, factor: float) -> None:
        super().__init__()
        self.feature_dim = dim
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, scaled: Tensor) -> Tensor:
        return self.factor * scaled.flatten(1)


@pytest.fixture
def flat() -> Callable[..., nn.Module]:
    """Makes ``Flat`` backbones for images of shape (1, 2, 3)."""

    def make(factor: float = 1.0) -> nn.Module:
        return Flat(6, factor)

    return make


@pytest.fixture
def pictures() -> Callable[..., Tensor]:
    """Makes random images in [0, 1]."""

    def make(n: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
        return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))

    return make
