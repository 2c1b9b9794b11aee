"""The digits that come with scikit-learn: 1,797 grey images of 8x8 pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bench.data.spec import DamagedData, ImageShape, Split

__all__ = ["SHA256", "load"]

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""SHA-256 of the 1797*64 pixel values 0..16 followed by the 1797 labels, one byte each."""


def load(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """All digits as ``all``: float32, shape (1797, 1, 8, 8), the counts 0..16 divided by 16.

    Reads nothing below ``root``; the other arguments have no effect.

    Raises:
        DamagedData: The installed scikit-learn has other pixels or labels.
    """
    del root, like, image_shape, seed
    from sklearn.datasets import load_digits

    bunch = load_digits()
    counts = np.asarray(bunch.images).astype(np.uint8)
    labels = np.asarray(bunch.target).astype(np.uint8)
    digest = hashlib.sha256(counts.tobytes() + labels.tobytes()).hexdigest()
    if digest != SHA256:
        raise DamagedData(
            f"data set 'digits': scikit-learn's load_digits() has sha256 {digest}, expected {SHA256};"
            " install a scikit-learn release with the original digits"
        )
    images = counts[:, None].astype(np.float32) / np.float32(16)
    return {"all": Split(images, labels.astype(np.int64), np.arange(len(labels), dtype=np.int64))}
