"""Images without structure: uniform noise, and images of one uniformly drawn colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.spec import UNLABELLED, ImageShape, Split
from bench.rng import generator

__all__ = ["load_constant", "load_uniform"]


def load_uniform(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As many images as ``like`` has, as ``test``: every value drawn from U[0, 1), float32.

    Raises:
        ValueError: ``like`` or ``image_shape`` is None.
    """
    del root
    count, shape = _wanted("uniform", like, image_shape)
    return _unlabelled(generator(seed, "uniform").random((count, *shape), dtype=np.float32))


def load_constant(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As many images as ``like`` has, as ``test``: each of one colour with channels from U[0, 1), float32.

    Raises:
        ValueError: ``like`` or ``image_shape`` is None.
    """
    del root
    count, shape = _wanted("constant", like, image_shape)
    colours = generator(seed, "constant").random((count, shape[0], 1, 1), dtype=np.float32)
    return _unlabelled(np.broadcast_to(colours, (count, *shape)).copy())


def _wanted(name: str, like: Split | None, image_shape: ImageShape | None) -> tuple[int, ImageShape]:
    if like is None or image_shape is None:
        raise ValueError(f"data set {name!r} is made in the shape and number of an in-distribution set: give both")
    return len(like), image_shape


def _unlabelled(images: npt.NDArray[np.float32]) -> dict[str, Split]:
    labels = np.full(len(images), UNLABELLED, dtype=np.int64)
    return {"test": Split(images, labels, np.arange(len(images), dtype=np.int64))}
