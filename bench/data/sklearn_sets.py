"""Sets that come with scikit-learn: its digits, and patches of its two photographs, textures without any object."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.generated import made_like
from bench.data.resize import to_channels
from bench.data.spec import DamagedData, ImageShape, Split
from bench.rng import generator

__all__ = ["DIGITS", "PHOTOGRAPHS", "load_digits", "load_patches"]

DIGITS = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""SHA-256 of the 1797*64 pixel values 0..16 followed by the 1797 labels, one byte each."""

PHOTOGRAPHS = {
    "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
"""Digests of the JPEG files. Decoders may differ by one grey level, so the decoded pixels have no digest."""

_SMALLEST = 32


def load_digits(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """All digits as ``all``: float32, shape (1797, 1, 8, 8), the counts 0..16 divided by 16.

    Reads nothing below ``root``; the other arguments have no effect.

    Raises:
        DamagedData: The installed scikit-learn has other pixels or labels.
    """
    del root, like, image_shape, seed
    from sklearn import datasets

    bunch = datasets.load_digits()
    counts = np.asarray(bunch.images).astype(np.uint8)
    labels = np.asarray(bunch.target).astype(np.uint8)
    digest = hashlib.sha256(counts.tobytes() + labels.tobytes()).hexdigest()
    if digest != DIGITS:
        raise DamagedData(
            f"data set 'digits': scikit-learn's load_digits() has sha256 {digest}, expected {DIGITS};"
            " install a scikit-learn release with the original digits"
        )
    images = counts[:, None].astype(np.float32) / np.float32(16)
    return {"all": Split.numbered(images, labels)}


def load_patches(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As many patches as ``like`` has items, as ``test``: float32 in [0, 1].

    A patch is cut at a uniformly random place of a uniformly random photograph (scikit-learn's
    ``load_sample_images``), turned grey if the shape has one channel, and averaged over equal boxes. Its
    sides are f*H and f*W with the smallest whole f for which both are at least 32 pixels: 32x32 in 4x4
    boxes for 8x8 images, 56x56 in 2x2 boxes for 28x28, no averaging from 32x32 on.

    Args:
        root: Not used.
        like: Test split of the in-distribution set; gives the number of patches.
        image_shape: Shape of the patches; C must be 1 or 3.
        seed: The data seed.

    Raises:
        ValueError: ``like`` or ``image_shape`` is None, or the photographs are too small for the shape.
        DamagedData: The installed scikit-learn has other photographs.
    """
    del root
    count, image_shape = made_like("patches", like, image_shape)
    channels, height, width = image_shape
    factor = max(-(-_SMALLEST // height), -(-_SMALLEST // width))
    crop = (factor * height, factor * width)
    photographs = [to_channels(_photograph(name), channels)[0] for name in sorted(PHOTOGRAPHS)]
    smallest = min(picture.shape[1] for picture in photographs), min(p.shape[2] for p in photographs)
    if crop[0] > smallest[0] or crop[1] > smallest[1]:
        raise ValueError(
            f"data set 'patches': image shape {image_shape} needs patches of {crop[0]}x{crop[1]} pixels,"
            f" the photographs have {smallest[0]}x{smallest[1]}"
        )

    rng = generator(seed, "patches")
    which = rng.integers(len(photographs), size=count)
    tops = rng.integers(smallest[0] - crop[0] + 1, size=count)
    lefts = rng.integers(smallest[1] - crop[1] + 1, size=count)
    images = np.empty((count, channels, height, width), dtype=np.float32)
    for index, picture in enumerate(photographs):
        here = np.flatnonzero(which == index)
        windows = np.lib.stride_tricks.sliding_window_view(picture, crop, axis=(1, 2))
        cut = windows[:, tops[here], lefts[here]].transpose(1, 0, 2, 3)
        boxes = cut.reshape(len(here), channels, height, factor, width, factor)
        images[here] = boxes.mean(axis=(3, 5), dtype=np.float64) / 255.0
    return {"test": Split.numbered(images)}


def _photograph(name: str) -> npt.NDArray[np.uint8]:
    """One photograph as uint8 of shape (1, 3, H, W)."""
    from importlib import resources

    from PIL import Image

    content = (resources.files("sklearn.datasets.images") / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != PHOTOGRAPHS[name]:
        raise DamagedData(
            f"data set 'patches': scikit-learn's {name} has sha256 {digest}, expected {PHOTOGRAPHS[name]};"
            " install a scikit-learn release with the original photographs"
        )
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
