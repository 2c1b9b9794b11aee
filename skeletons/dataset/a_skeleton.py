"""A data set: noise with one brighter quarter, which is the class.

A suite names it as ``dataset = "a_skeleton:DATASET"``, or among the ``sets`` of an evaluation of kind ``ood``. To
register it under its name, publish it as a package with

    [project.entry-points."bench.datasets"]
    a-skeleton = "a_skeleton:DATASET"
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.spec import DatasetSpec, ImageShape, Split, always_found

__all__ = ["DATASET", "load"]

SHAPE = (1, 8, 8)
CLASSES = 4
SIZES = {"train": 800, "test": 400}


def load(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The parts ``train`` and ``test``: uint8 images (n, 1, 8, 8) and labels 0 to 3.

    A set of files reads them below ``root``. A set without test items of its own returns one part, ``all``. bench draws
    the validation items, so the images are the same for every data seed.
    """
    del root, like, image_shape, seed
    return {part: _made(items, number) for number, (part, items) in enumerate(SIZES.items())}


def _made(items: int, number: int) -> Split:
    images = np.random.default_rng(number).integers(0, 128, size=(items, *SHAPE)).astype(np.uint8)
    labels = np.arange(items) % CLASSES
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[:, top : top + 4, left : left + 4] += 96
    return Split.numbered(images, labels)


DATASET = DatasetSpec(
    name="a-skeleton",
    summary="1,200 images of 8x8 grey pixels, noise with one brighter quarter",
    source="your paper, section",
    license="that of the images",
    num_classes=CLASSES,
    image_shape=SHAPE,
    implementation="a_skeleton:load",
    find=always_found,  # a set of files: (root) -> None, or a sentence that says what is missing and where to put it
    fingerprint="made",  # a set of files: their checksums, which the loader verifies
    validation=100,
    sizes=SIZES,
)
