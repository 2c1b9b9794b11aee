"""Distance of normalised features to the k-th nearest training item."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.scores.arrays import FloatArray, finite_rows
from bench.scores.spec import Arrays, Score, UndefinedScoreError

__all__ = ["NearestNeighbours", "knn"]

_CELLS = 2**24
"""Largest number of entries of a block of products, 128 MiB."""


def knn(features: npt.ArrayLike, train: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """-||z - z_(k)||_2, where z = f / ||f||_2 and z_(k) is the k-th nearest normalised training item (Sun et al. 2022,
    section 3).

    The k nearest are found by inner products in float64, which order unit vectors by distance, and their distances are
    computed from differences: the form 2 - 2 <z, z'> loses half of the digits of small distances, and in float32 all.
    A feature vector of zero stays zero: its distance to every unit vector is 1.

    Args:
        features: Shape (n, d), finite.
        train: Training features, shape (m, d), finite.
        k: Which neighbour, 1 … m. An item that is a training item is its own first neighbour.

    Returns:
        Scores, shape (n,), in [-2, 0], higher = in-distribution.

    Raises:
        ValueError: If a shape is wrong, a value is not finite, or k lies outside 1 … m.

    >>> knn([[2.0, 0.0]], [[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]], k=3)
    array([-2.])
    """
    items, reference = _unit(finite_rows("features", features)), _unit(finite_rows("train", train))
    if items.shape[1] != reference.shape[1]:
        raise ValueError(f"features must have {reference.shape[1]} columns as train has, got {items.shape[1]}")
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie in 1 … {len(reference)}, the number of training items, got {k}")
    # |z - z'|^2 = |z|^2 + |z'|^2 - 2 <z, z'>; the first term is the same for all neighbours of an item.
    lengths = np.square(reference).sum(axis=1)
    found = np.empty(len(items))
    step = max(1, _CELLS // max(len(reference), k * items.shape[1]))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        order = lengths - 2 * (block @ reference.T)
        nearest = np.argpartition(order, k - 1, axis=1)[:, :k]
        gaps = np.square(reference[nearest] - block[:, None, :]).sum(axis=2)
        found[start : start + step] = np.sqrt(gaps.max(axis=1))
    return -found


def _unit(rows: FloatArray) -> FloatArray:
    # Dividing by the largest entry first keeps the squares of tiny and huge features in range.
    scale = np.abs(rows).max(axis=1, keepdims=True)
    scaled = np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0)
    length = np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
    unit: FloatArray = np.divide(scaled, length, out=np.zeros_like(rows), where=length > 0)
    return unit


class NearestNeighbours(Score):
    """Distance of the normalised penultimate features to the k-th nearest training item.

    The paper chooses k on validation data: 50 for CIFAR-10, 200 for CIFAR-100, 1000 for ImageNet. Here it is fixed.

    Attributes:
        k: Which neighbour decides; at most the number of training items.
    """

    name: ClassVar[str] = "knn"
    label: ClassVar[str] = "kNN"
    summary: ClassVar[str] = "Distance of normalised features to the k-th nearest training item."
    source: ClassVar[str] = "Sun et al. 2022, arXiv:2204.06507, section 3"
    reads: ClassVar[tuple[str, ...]] = ("features",)
    fitted: ClassVar[bool] = True

    k: int = Field(50, ge=1)

    @property
    def definition(self) -> str:
        """The formula with k."""
        return (
            f"-||z - z_({self.k})||_2, z = f / ||f||_2 of the penultimate features, z_(k) the k-th nearest of training"
        )

    def fit(self, train: Arrays) -> npt.NDArray[Any]:
        """The training features.

        Raises:
            UndefinedScoreError: There are fewer than k.
        """
        features = train["features"]
        if len(features) < self.k:
            raise UndefinedScoreError(f"k = {self.k} neighbours of {len(features)} training items with finite features")
        return features

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:
        """Negative distances."""
        return knn(outputs["features"], fit, self.k)
