"""A data set: one bright bar on noise, horizontal or vertical."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.spec import DatasetSpec, ImageShape, Split, always_found

__all__ = ["BARS", "load"]

SIDE = 8
SIZES = {"train": 1_000, "test": 400}


def load(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The parts ``train`` and ``test``: uint8 images of shape (n, 1, 8, 8), labels 0 (horizontal) and 1 (vertical).

    A set that is read from files reads them below ``root``. The data seed is not used, so that the images are the same
    in every suite; bench draws the splits itself.
    """
    del root, like, image_shape, seed
    return {part: _part(size, number) for number, (part, size) in enumerate(SIZES.items())}


def _part(size: int, number: int) -> Split:
    generator = np.random.default_rng(number)
    images = generator.integers(0, 128, size=(size, 1, SIDE, SIDE)).astype(np.uint8)
    labels, places = np.arange(size) % 2, generator.integers(0, SIDE, size=size)
    for image, label, place in zip(images, labels, places, strict=True):
        if label == 0:
            image[0, place, :] = 255
        else:
            image[0, :, place] = 255
    return Split.numbered(images, labels)


BARS = DatasetSpec(
    name="bars",
    summary="1,400 bars of 8x8 grey pixels on noise, horizontal or vertical",
    source="made; the images are those of P. Foldiak, Biological Cybernetics 64, 1990, with one bar",
    license="none needed",
    num_classes=2,
    image_shape=(1, SIDE, SIDE),
    implementation="bars:load",
    find=always_found,  # nothing is missing; a set of files says here what to put where
    fingerprint="made",  # a set of files has their checksums here
    validation=100,
    sizes=SIZES,
)
