"""Out-of-distribution sets that are computed: uniform noise, images of one colour, and means of two test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.spec import UNLABELLED, ImageShape, Split
from bench.rng import generator

__all__ = ["load_constant", "load_interpolations", "load_uniform", "made_like"]


def made_like(name: str, like: Split | None, image_shape: ImageShape | None) -> tuple[int, ImageShape]:
    """The number and the shape of the images of a set that is made for an in-distribution set.

    Raises:
        ValueError: ``like`` or ``image_shape`` is None.
    """
    if like is None or image_shape is None:
        raise ValueError(f"data set {name!r} is made in the shape and number of an in-distribution set: give both")
    return len(like), image_shape


def load_uniform(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As many images as ``like`` has, as ``test``: every value drawn from U[0, 1), float32.

    Raises:
        ValueError: ``like`` or ``image_shape`` is None.
    """
    del root
    count, shape = made_like("uniform", like, image_shape)
    return {"test": Split.numbered(generator(seed, "uniform").random((count, *shape), dtype=np.float32))}


def load_constant(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """As many images as ``like`` has, as ``test``: each of one colour with channels from U[0, 1), float32.

    Raises:
        ValueError: ``like`` or ``image_shape`` is None.
    """
    del root
    count, shape = made_like("constant", like, image_shape)
    colours = generator(seed, "constant").random((count, shape[0], 1, 1), dtype=np.float32)
    return {"test": Split.numbered(np.broadcast_to(colours, (count, *shape)).copy())}


def load_interpolations(
    root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int
) -> dict[str, Split]:
    """One interpolation for each item of ``like``, as ``test``: unlike any class, close to two; float32 in [0, 1].

    Image i is the mean of image i of ``like`` and of one drawn uniformly from the images of other classes.

    This generalises the "CIFAR10 Interp" of JEM (Grathwohl et al., ICLR 2020, and its code), with three
    differences. JEM averages neighbouring batches of 100 of a shuffled loader. (a) Its pairs may be of one
    class, as a tenth of them are on CIFAR10; these never are. (b) It drops the first batch (9,900 images of
    10,000); here every image is a first parent once. (c) It adds noise of 0.03 to the parents and to the
    mean; there is no noise here.

    Args:
        root: Not used.
        like: Test split of the in-distribution set, labelled, with at least two classes.
        image_shape: None, or the shape of ``like``.
        seed: The data seed.

    Raises:
        ValueError: ``like`` is missing, unlabelled, of one class only, or of another shape.
    """
    del root
    if like is None:
        raise ValueError("data set 'interpolations' is made from an in-distribution test set: give it")
    if image_shape is not None and image_shape != like.image_shape:
        raise ValueError(f"data set 'interpolations' has the shape {like.image_shape}, not {image_shape}")
    classes, class_of, class_sizes = np.unique(like.labels, return_inverse=True, return_counts=True)
    if len(classes) < 2 or classes[0] == UNLABELLED:
        raise ValueError("data set 'interpolations' needs labelled images of at least two classes")

    # The images are sorted by class, so those of the class of image i are one contiguous block. A position is drawn
    # among the others and moved past the block.
    count = len(like)
    by_class = np.argsort(class_of, kind="stable")
    block_start = np.concatenate(([0], np.cumsum(class_sizes)[:-1]))
    own_size = class_sizes[class_of]
    draw = generator(seed, "interpolations").integers(0, count - own_size)
    partner = by_class[np.where(draw >= block_start[class_of], draw + own_size, draw)]

    images = like.unit_images()
    return {"test": Split.numbered(np.float32(0.5) * (images + images[partner]))}
