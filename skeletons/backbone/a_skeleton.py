"""A backbone, ``a-skeleton-<width>``. Light to import: ``build`` alone needs torch.

A suite names it as ``backbone = "a_skeleton:BACKBONE"``. To register the pattern of names, publish it as a package with

    [project.entry-points."bench.backbones"]
    a-skeleton = "a_skeleton:BACKBONE"
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.spec import BackboneSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BACKBONE", "build", "describe", "width_of"]


def width_of(name: str) -> int:
    """Features of a network: ``"a-skeleton-64"`` -> 64; 32 for ``"a-skeleton"``.

    Raises:
        ValueError: The name does not fit the pattern.
    """
    match = re.fullmatch(r"a-skeleton(?:-([1-9][0-9]{0,3}))?", name)
    if match is None:
        raise ValueError(f"the networks are called a-skeleton-<width>, such as a-skeleton-32; got {name!r}")
    return int(match[1] or 32)


def describe(name: str, image_shape: tuple[int, int, int]) -> dict[str, float]:
    """Parameters, features and multiply-adds for an image of shape (C, H, W).

    Raises:
        ValueError: The images are smaller than 2x2.
    """
    width = width_of(name)
    channels, height, breadth = image_shape
    if min(height, breadth) < 2:
        raise ValueError(f"{name} needs images of at least 2x2, got {height}x{breadth}")
    places = (height // 2) * (breadth // 2)
    first, second = 4 * channels * width, 9 * width * width
    return {
        "parameters": first + second + 2 * width,
        "features": width,
        "multiply-adds": (first + second) * places,
    }


def build(name: str, in_channels: int) -> nn.Module:
    """Patches of 2x2 pixels, a convolution between them, and a mean over all patches.

    Args:
        name: ``a-skeleton-<width>``.
        in_channels: C.

    Returns:
        A module (N, C, H, W) -> (N, width) with ``feature_dim``.
    """
    from torch import nn

    width = width_of(name)
    network = nn.Sequential(
        nn.Conv2d(in_channels, width, 2, stride=2),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    network.feature_dim = width  # type: ignore[assignment]
    return network


BACKBONE = BackboneSpec(
    name="a-skeleton",
    pattern="a-skeleton-<width>",
    summary="Two convolutions on patches of 2x2 pixels, without normalisation.",
    source="your paper, section",
    implementation="a_skeleton:build",
    parse=width_of,
    describe=describe,
    examples=("a-skeleton-32", "a-skeleton-64"),
)
