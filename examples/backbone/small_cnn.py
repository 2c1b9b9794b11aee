"""A family of small convolutional networks, ``cnn-<channels>``. Light to import: ``build`` alone needs torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.spec import BackboneSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CNN", "build", "channels"]


def channels(name: str) -> int:
    """Channels of the first convolution: ``"cnn-16"`` -> 16.

    Raises:
        ValueError: The name is not ``cnn-<channels>`` with 1 to 1024 channels.
    """
    match = re.fullmatch(r"cnn-([1-9][0-9]{0,3})", name)
    if match is None or int(match[1]) > 1024:
        raise ValueError(f"a small CNN is called cnn-CHANNELS, such as cnn-16, with up to 1024; got {name!r}")
    return int(match[1])


def describe(name: str, image_shape: tuple[int, int, int]) -> dict[str, float]:
    """Parameters, feature dimension d, and multiply-adds for an image of shape (C, H, W).

    Raises:
        ValueError: The images are smaller than 2x2.
    """
    width = channels(name)
    entering, height, breadth = image_shape
    if min(height, breadth) < 2:
        raise ValueError(f"{name} needs images of at least 2x2, got {height}x{breadth}")
    first, second = 9 * entering * width, 9 * width * 2 * width
    return {
        "parameters": first + width + second + 2 * width,
        "features": 2 * width,
        "multiply-adds": first * height * breadth + second * (height // 2) * (breadth // 2),
    }


def build(name: str, in_channels: int) -> nn.Module:
    """Two 3x3 convolutions with a mean pool of 2x2 between them and a mean over all positions at the end.

    Args:
        name: ``cnn-<channels>``.
        in_channels: C.

    Returns:
        A module (N, C, H, W) -> (N, 2 channels) with ``feature_dim``.
    """
    from torch import nn

    width = channels(name)
    network = nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    network.feature_dim = 2 * width  # type: ignore[assignment]
    return network


CNN = BackboneSpec(
    name="cnn",
    pattern="cnn-<channels>",
    summary="Two convolutions without normalisation.",
    source="an example of bench",
    implementation="small_cnn:build",
    parse=channels,
    describe=describe,
    examples=("cnn-16", "cnn-32"),
)
