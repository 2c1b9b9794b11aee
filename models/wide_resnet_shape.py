"""Names of Wide ResNets and the sizes that follow from them. This module does not import torch; planning uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "LARGEST",
    "MIN_IMAGE_SIZE",
    "STAGE_STRIDES",
    "STEM_CHANNELS",
    "Norm",
    "Variant",
    "blocks_per_stage",
    "macs",
    "parameters",
    "parse_name",
    "parse_variant",
    "stage_channels",
]

Norm = Literal["none", "batch", "layer"]

STEM_CHANNELS = 16
STAGE_STRIDES = (1, 2, 2)
MIN_IMAGE_SIZE = 4  # the two strides of 2 reduce it to one pixel
LARGEST = 1000
"""Largest depth and width; larger networks have too many layers or weights for any machine."""
_NAME = re.compile(r"wrn-([1-9][0-9]*)-([1-9][0-9]*)")
_VARIANT = re.compile(r"(wrn-[0-9]+-[0-9]+)(?:-(batch|layer))?(?:-drop(0\.[0-9]*[1-9]))?")


def parse_name(name: str) -> tuple[int, int]:
    """Depth and width of a backbone name: ``"wrn-28-10"`` -> (28, 10).

    Raises:
        ValueError: The name is not ``wrn-DEPTH-WIDTH``, or the depth or width is invalid.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"a Wide ResNet is called wrn-DEPTH-WIDTH, for example wrn-28-10; got {name!r}")
    if len(match[1]) > 4 or len(match[2]) > 4 or max(depth := int(match[1]), width := int(match[2])) > LARGEST:
        raise ValueError(f"{name[:100]!r}: depth and width of a Wide ResNet are at most {LARGEST}")
    try:
        blocks_per_stage(depth)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None
    return depth, width


@dataclass(frozen=True)
class Variant:
    """The size and options in the name of a Wide ResNet."""

    depth: int
    width: int
    norm: Norm
    dropout: float


def parse_variant(name: str) -> Variant:
    """Size and options of a full name: ``wrn-28-10``, ``wrn-28-10-batch``, ``wrn-16-4-layer-drop0.3``.

    Raises:
        ValueError: The name is not ``wrn-DEPTH-WIDTH[-batch|-layer][-dropP]`` with 0 < P < 1, or the depth or width is
            invalid.
    """
    match = _VARIANT.fullmatch(name)
    if match is None:
        raise ValueError(
            "a Wide ResNet is called wrn-DEPTH-WIDTH[-batch|-layer][-dropP], for example wrn-28-10 or "
            f"wrn-28-10-batch; got {name!r}"
        )
    depth, width = parse_name(match[1])
    norm: Norm = match[2] or "none"  # type: ignore[assignment]
    return Variant(depth, width, norm, float(match[3] or 0))


def blocks_per_stage(depth: int) -> int:
    """Residual blocks in each of the three stages, (depth - 4) / 6.

    Raises:
        ValueError: The depth is not 6 n + 4 with n >= 1.
    """
    if depth < 10 or (depth - 4) % 6:
        nearest = max(10, 6 * round((depth - 4) / 6) + 4)
        raise ValueError(
            f"the depth of a Wide ResNet is 6 n + 4 (10, 16, 22, 28, ...), got {depth}; the nearest is {nearest}"
        )
    return (depth - 4) // 6


def stage_channels(width: int) -> tuple[int, int, int]:
    """Channels of the three stages, (16, 32, 64) times width; the last is the dimension of the features.

    Raises:
        ValueError: width < 1.
    """
    if width < 1:
        raise ValueError(f"the width of a Wide ResNet must be at least 1, got {width}")
    return 16 * width, 32 * width, 64 * width


def macs(depth: int, width: int, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of the convolutions in one forward pass of one image, nearly its whole cost.

    The stride of a block is on its second convolution, as in the JEM and GMMC code, so the first one works at the
    resolution of the block's input: 5.95e9 for wrn-28-10 at 32x32, against 5.25e9 for the original Wide ResNet.

    Args:
        depth: 6 n + 4.
        width: Factor of the channels (16, 32, 64).
        image_shape: (C, H, W), H and W at least 4.

    Raises:
        ValueError: Depth, width or image shape is invalid.
    """
    channels, height, breadth = image_shape
    if channels < 1 or min(height, breadth) < MIN_IMAGE_SIZE:
        raise ValueError(f"image_shape must be (C, H, W) with C >= 1 and H, W >= {MIN_IMAGE_SIZE}, got {image_shape}")
    total = 0
    for weights, _, reduction in _convolutions(depth, width, channels):
        total += weights * -(-height // reduction) * -(-breadth // reduction)
    return total


def parameters(depth: int, width: int, channels: int, norm: Norm = "none") -> int:
    """Number of weights and biases of a network: 36.5 million for wrn-28-10.

    Args:
        depth: 6 n + 4.
        width: Factor of the channels (16, 32, 64).
        channels: Channels of the images.
        norm: A normalisation has a scale and a shift for each channel before the two 3x3 convolutions of a block, and
            for each feature.

    Raises:
        ValueError: Depth or width is invalid.
    """
    convolutions = sum(weights + leaving for weights, leaving, _ in _convolutions(depth, width, channels))
    return convolutions if norm == "none" else convolutions + 2 * _normalised_channels(depth, width)


def _normalised_channels(depth: int, width: int) -> int:
    """Channels that enter the two 3x3 convolutions of every block, and the features."""
    blocks, entering, total = blocks_per_stage(depth), STEM_CHANNELS, 0
    for leaving in stage_channels(width):
        total += entering + (2 * blocks - 1) * leaving
        entering = leaving
    return total + entering


def _convolutions(depth: int, width: int, channels: int) -> Iterator[tuple[int, int, int]]:
    """Each convolution's number of weights, its output channels, and the factor by which its output is smaller than the
    image; sizes are rounded up.
    """
    blocks = blocks_per_stage(depth)
    yield 9 * channels * STEM_CHANNELS, STEM_CHANNELS, 1
    entering, reduction = STEM_CHANNELS, 1
    for leaving, stage_stride in zip(stage_channels(width), STAGE_STRIDES, strict=True):
        for block in range(blocks):
            stride = stage_stride if block == 0 else 1
            yield 9 * entering * leaving, leaving, reduction
            reduction *= stride
            yield 9 * leaving * leaving, leaving, reduction
            if stride != 1 or entering != leaving:
                yield entering * leaving, leaving, reduction
            entering = leaving
