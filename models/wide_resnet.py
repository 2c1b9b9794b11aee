"""The Wide ResNet of JEM and GMMC: a feature extractor, by default without normalisation."""

from __future__ import annotations

from collections import OrderedDict
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .wide_resnet_shape import (
    MIN_IMAGE_SIZE,
    STAGE_STRIDES,
    STEM_CHANNELS,
    Norm,
    blocks_per_stage,
    parse_variant,
    stage_channels,
)

__all__ = ["WideResNet", "build"]

_NEGATIVE_SLOPE = 0.2


def _norm_layer(norm: Norm, channels: int) -> nn.Module:
    match norm:
        case "none":
            return nn.Identity()
        case "batch":
            # In PyTorch's convention the newest batch has weight 0.9 in running means, as in the original code.
            return nn.BatchNorm2d(channels, momentum=0.9)
        case "layer":
            return nn.GroupNorm(1, channels)


class _Block(nn.Module):
    """norm, LeakyReLU, conv, dropout, norm, LeakyReLU, strided conv; plus a shortcut from the raw input."""

    def __init__(self, entering: int, leaving: int, stride: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.norm1 = _norm_layer(norm, entering)
        self.conv1 = nn.Conv2d(entering, leaving, 3, padding=1)
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.norm2 = _norm_layer(norm, leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, stride=stride, padding=1)
        changes = stride != 1 or entering != leaving
        self.shortcut = nn.Conv2d(entering, leaving, 1, stride=stride) if changes else nn.Identity()
        self._normalises = norm != "none"

    def forward(self, x: Tensor) -> Tensor:
        # In place where the value is not needed any more: a convolution or norm keeps its input for the backward
        # pass, not its output. Without a norm, the first activation would overwrite x, which the shortcut reads.
        h: Tensor = F.leaky_relu(self.norm1(x), _NEGATIVE_SLOPE, inplace=self._normalises)
        h = self.dropout(self.conv1(h))
        h = F.leaky_relu(self.norm2(h), _NEGATIVE_SLOPE, inplace=True)
        h = self.conv2(h)
        return h.add_(self.shortcut(x))


class WideResNet(nn.Module):
    """Pre-activation Wide ResNet, images (N, C, H, W) -> features (N, 64 width).

    It differs from the original Wide ResNet as in the JEM and GMMC code: all convolutions have biases, the stride of a
    block is on its second convolution, the input of the shortcut convolution is the raw block input, activations are
    LeakyReLU(0.2), and there is no normalisation by default. The mean over all positions at the end is equal to the 8x8
    pool of the original for 32x32 images, and works for any image of at least 4x4. Initial weights are PyTorch's
    defaults. The trunk of wrn-28-10 has 36,464,928 parameters, and 17,952 more with a norm.

    Args:
        depth: 6 n + 4 with n >= 1.
        width: Factor of the channels (16, 32, 64).
        in_channels: C.
        norm: ``none``; ``batch``: batch norm with PyTorch's momentum 0.9; ``layer``: one mean and variance per image
            (group norm with one group).
        dropout: Probability of dropout between the two convolutions of a block.

    Attributes:
        feature_dim: 64 width.

    Raises:
        ValueError: Depth, width or norm is invalid, or dropout is outside [0, 1).
    """

    def __init__(
        self, depth: int, width: int, *, in_channels: int = 3, norm: Norm = "none", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}; got {norm!r}")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        blocks = blocks_per_stage(depth)
        channels = stage_channels(width)
        self.in_channels = in_channels
        self.feature_dim = channels[-1]
        self.stem = nn.Conv2d(in_channels, STEM_CHANNELS, 3, padding=1)
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        entering = STEM_CHANNELS
        for number, (leaving, stage_stride) in enumerate(zip(channels, STAGE_STRIDES, strict=True), start=1):
            for block in range(blocks):
                stride = stage_stride if block == 0 else 1
                stages[f"stage{number}_block{block + 1}"] = _Block(entering, leaving, stride, norm, dropout)
                entering = leaving
        self.blocks = nn.Sequential(stages)
        self.norm = _norm_layer(norm, self.feature_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 64 width) of images (N, C, H, W).

        Raises:
            ValueError: The number of dimensions or channels is wrong, or the images are smaller than 4x4.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < MIN_IMAGE_SIZE:
            raise ValueError(
                f"images must have shape (N, {self.in_channels}, H, W) with H, W >= {MIN_IMAGE_SIZE}, "
                f"got {tuple(images.shape)}"
            )
        h: Tensor = self.blocks(self.stem(images))
        h = F.leaky_relu(self.norm(h), _NEGATIVE_SLOPE, inplace=True)
        return _mean_over_positions(h)


def _mean_over_positions(h: Tensor) -> Tensor:
    """(N, C) means of (N, C, H, W), in float32 or better: under autocast h is in bfloat16, but a mean has more digits
    than its terms.

    The gradient of a mean over (H, W) is contiguous for any layout of h, and the backward pass of LeakyReLU over two
    different layouts takes several times as long. If the mean is taken over flattened positions in front of the
    channels, the order of channels-last in memory, the gradient has the layout of h; the values are the same bits.
    """
    dtype = torch.promote_types(h.dtype, torch.float32)
    if h.is_contiguous(memory_format=torch.channels_last) and not h.is_contiguous():
        return h.movedim(1, -1).flatten(1, 2).mean(dim=1, dtype=dtype)
    return h.mean(dim=(2, 3), dtype=dtype)


def build(name: str, in_channels: int) -> WideResNet:
    """The Wide ResNet called ``name`` for images of ``in_channels`` channels: ``wrn-28-10`` without normalisation,
    ``wrn-28-10-batch`` and ``-layer`` with it, ``-drop0.3`` with dropout.

    Raises:
        ValueError: The name is not that of a Wide ResNet.
    """
    variant = parse_variant(name)
    return WideResNet(variant.depth, variant.width, in_channels=in_channels, norm=variant.norm, dropout=variant.dropout)
