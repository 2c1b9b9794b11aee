"""How much memory the covariances of a Gaussian mixture take; without torch, for planning."""

from __future__ import annotations

import math

__all__ = ["MOST_BYTES", "matrix_bytes"]

MOST_BYTES = 8 * 2**30
"""Largest memory of all covariances: images of 64x64 with more than 14 classes are beyond it."""


def matrix_bytes(num_classes: int, image_shape: tuple[int, int, int]) -> int:
    """Bytes of a float32 matrix of D x D for each class, for images of D values."""
    return 4 * num_classes * math.prod(image_shape) ** 2
