"""Patches of two photographs that come with scikit-learn: natural textures without an object of any class."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.resize import to_channels
from bench.data.spec import UNLABELLED, DamagedData, ImageShape, Split
from bench.rng import generator

__all__ = ["SHA256", "load"]

SHA256 = {
    "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
"""Digests of the JPEG files. Decoders may differ by one grey level, so the decoded pixels have no digest."""

_SMALLEST = 32


def load(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
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
    if like is None or image_shape is None:
        raise ValueError("data set 'patches' is made in the shape and number of an in-distribution set: give both")
    channels, height, width = image_shape
    factor = max(-(-_SMALLEST // height), -(-_SMALLEST // width))
    crop = (factor * height, factor * width)
    photographs = [to_channels(_photograph(name), channels)[0] for name in sorted(SHA256)]
    smallest = min(picture.shape[1] for picture in photographs), min(p.shape[2] for p in photographs)
    if crop[0] > smallest[0] or crop[1] > smallest[1]:
        raise ValueError(
            f"data set 'patches': image shape {image_shape} needs patches of {crop[0]}x{crop[1]} pixels,"
            f" the photographs have {smallest[0]}x{smallest[1]}"
        )

    count = len(like)
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
    labels = np.full(count, UNLABELLED, dtype=np.int64)
    return {"test": Split(images, labels, np.arange(count, dtype=np.int64))}


def _photograph(name: str) -> npt.NDArray[np.uint8]:
    """One photograph as uint8 of shape (1, 3, H, W)."""
    from importlib import resources

    from PIL import Image

    content = (resources.files("sklearn.datasets.images") / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DamagedData(
            f"data set 'patches': scikit-learn's {name} has sha256 {digest}, expected {SHA256[name]};"
            " install a scikit-learn release with the original photographs"
        )
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
