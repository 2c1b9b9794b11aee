from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data.resize import conform, cropped, to_channels
from bench.data.spec import Split


def split(images: npt.NDArray[Any]) -> Split:
    return Split(images, np.arange(len(images), dtype=np.int64), 10 + np.arange(len(images), dtype=np.int64))


def noise(*shape: int, seed: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_same_shape_is_the_split_itself() -> None:
    same = split(noise(2, 3, 4, 5))
    assert conform(same, (3, 4, 5)) is same


@settings(deadline=None, max_examples=40)
@given(*[st.integers(3, 20) for _ in range(4)], st.sampled_from([1, 3]))
def test_float_resampling_agrees_with_torch_antialiased_bilinear(
    height: int, width: int, new_height: int, new_width: int, channels: int
) -> None:
    images = noise(2, channels, height, width)
    ours = conform(split(images), (channels, new_height, new_width)).images
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(images),
        (new_height, new_width),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


def test_bytes_are_the_rounded_floats() -> None:
    levels = np.random.default_rng(1).integers(256, size=(3, 3, 32, 32)).astype(np.uint8)
    bytes_ = conform(split(levels), (3, 14, 14)).images
    floats = conform(split(levels.astype(np.float32) / np.float32(255)), (3, 14, 14)).images
    assert bytes_.dtype == np.uint8
    assert np.abs(bytes_ - floats * 255.0).max() <= 1.0  # Pillow rounds after each of its two passes


def test_labels_and_ids_stay_and_constant_images_stay_constant() -> None:
    constant = np.full((2, 1, 28, 28), 0.3, dtype=np.float32)
    small = conform(split(constant), (3, 8, 8))
    assert small.image_shape == (3, 8, 8)
    np.testing.assert_allclose(small.images, 0.3, atol=1e-6)
    assert small.labels.tolist() == [0, 1]
    assert small.ids.tolist() == [10, 11]


def test_grey_of_bytes_is_pillows_to_the_bit() -> None:
    levels = np.random.default_rng(2).integers(256, size=(1, 3, 64, 64)).astype(np.uint8)
    levels[0, :, 0, 0], levels[0, :, 0, 1] = 0, 255
    pillow = np.asarray(Image.fromarray(np.ascontiguousarray(levels[0].transpose(1, 2, 0))).convert("L"))
    np.testing.assert_array_equal(to_channels(levels, 1)[0, 0], pillow)


def test_grey_of_floats_is_luma_and_colour_of_grey_is_three_times_the_same() -> None:
    primaries = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    np.testing.assert_allclose(to_channels(primaries, 1).ravel(), [0.299, 0.587, 0.114], rtol=1e-6)
    grey = noise(2, 1, 4, 4)
    colour = to_channels(grey, 3)
    for channel in range(3):
        np.testing.assert_array_equal(colour[:, channel], grey[:, 0])
    np.testing.assert_allclose(to_channels(colour, 1), grey, atol=1e-6)
    assert to_channels(np.ones((1, 3, 2, 2), np.float32), 1).max() <= 1.0


def test_unknown_channels_and_empty_shapes_are_errors() -> None:
    with pytest.raises(ValueError, match="cannot turn 2 channels into 1"):
        conform(split(noise(1, 2, 4, 4)), (1, 4, 4))
    with pytest.raises(ValueError, match="positive height and width"):
        conform(split(noise(1, 1, 4, 4)), (1, 0, 4))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_the_crop_is_the_largest_centred_part_of_the_aspect_ratio(h: int, w: int, height: int, width: int) -> None:
    images = np.arange(h * w, dtype=np.float32).reshape(1, 1, h, w)
    part = cropped(images, height, width)
    rows, columns = part.shape[2:]
    assert rows == h or columns == w
    # The other side is the nearest whole number to the one of the exact ratio.
    assert abs(rows - columns * height / width) <= 0.5 * max(1, height / width) + 1e-9 or 1 in (rows, columns)
    top, left = divmod(int(part[0, 0, 0, 0]), w)
    assert (top, left) == ((h - rows) // 2, (w - columns) // 2)
    np.testing.assert_array_equal(part, images[..., top : top + rows, left : left + columns])
