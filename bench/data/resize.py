"""Converts images to another shape: centred crop, grey to colour and back, antialiased bilinear resampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.spec import ImageShape, Split

__all__ = ["conform", "cropped", "resized", "to_channels"]

_Images = npt.NDArray[np.float32] | npt.NDArray[np.uint8]


def conform(split: Split, image_shape: ImageShape) -> Split:
    """The same items in another image shape; the split itself if it has that shape.

    The channels are converted first (`to_channels`). Then each channel is resampled with Pillow's BILINEAR filter,
    whose support grows with the reduction (antialiasing), as torchvision does for PIL images. uint8 stays uint8
    (rounded), float32 stays float32 within [0, 1].

    Args:
        split: Images of shape (n, C, H, W).
        image_shape: The new shape (C', H', W').

    Raises:
        ValueError: Channels other than 1 and 3, or a size that is not positive.
    """
    if split.image_shape == image_shape:
        return split
    channels, height, width = image_shape
    if height < 1 or width < 1:
        raise ValueError(f"image shape {image_shape}: expected positive height and width")
    images = to_channels(split.images, channels)
    if images.shape[2:] != (height, width):
        images = _resample(images, height, width)
    return Split(images, split.labels, split.ids)


def cropped(images: _Images, height: int, width: int) -> _Images:
    """The largest centred part of images that has the aspect ratio ``height`` : ``width``.

    Args:
        images: Shape (..., H, W).
        height: Height of the images that will be made of it, at least 1.
        width: Their width, at least 1.

    Returns:
        A view of shape (..., H', W') with H' = H or W' = W.
    """
    have, wide = images.shape[-2:]
    if wide * height > have * width:
        rows, columns = have, max(1, round(have * width / height))
    else:
        rows, columns = max(1, round(wide * height / width)), wide
    top, left = (have - rows) // 2, (wide - columns) // 2
    return images[..., top : top + rows, left : left + columns]


def resized(images: _Images, height: int, width: int) -> _Images:
    """Images in another size: the largest centred part of the aspect ratio, resampled as by `conform`.

    Args:
        images: Shape (n, C, H, W).
        height: The new height, at least 1.
        width: The new width, at least 1.

    Returns:
        Shape (n, C, height, width), same dtype.
    """
    part = cropped(images, height, width)
    return part if part.shape[2:] == (height, width) else _resample(part, height, width)


def to_channels(images: _Images, channels: int) -> _Images:
    """Convert grey images to colour (the same value three times) or colour images to grey.

    Grey is the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B. For uint8 it is computed in the fixed-point form of
    Pillow's ``convert("L")`` and equals it to the bit.

    Args:
        images: Shape (n, C, H, W) with C of 1 or 3.
        channels: 1 or 3.

    Returns:
        Shape (n, channels, H, W), same dtype.

    Raises:
        ValueError: The numbers of channels differ and are not 1 and 3.
    """
    have = images.shape[1]
    if have == channels:
        return images
    if (have, channels) == (1, 3):
        colour: npt.NDArray[Any] = np.repeat(images, 3, axis=1)
        return colour
    if (have, channels) != (3, 1):
        raise ValueError(f"cannot turn {have} channels into {channels}: only grey (1) and colour (3) are known")
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    if images.dtype == np.uint8:
        fixed: npt.NDArray[np.uint32] = (
            np.uint32(19595) * red.astype(np.uint32)
            + np.uint32(38470) * green.astype(np.uint32)
            + np.uint32(7471) * blue.astype(np.uint32)
            + np.uint32(1 << 15)
        )
        return (fixed >> np.uint32(16)).astype(np.uint8)
    luma: npt.NDArray[np.float64] = 0.299 * red.astype(np.float64) + 0.587 * green + 0.114 * blue
    return np.clip(luma, 0.0, 1.0).astype(np.float32)


def _resample(images: _Images, height: int, width: int) -> _Images:
    from PIL import Image

    count, channels = images.shape[:2]
    planes: npt.NDArray[Any] = np.empty((count * channels, height, width), dtype=images.dtype)
    for target, plane in zip(planes, images.reshape(count * channels, *images.shape[2:]), strict=True):
        target[:] = np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
    if planes.dtype == np.float32:
        np.clip(planes, 0.0, 1.0, out=planes)
    resampled: _Images = planes.reshape(count, channels, height, width)
    return resampled
