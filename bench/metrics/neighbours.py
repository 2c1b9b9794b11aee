"""Nearest neighbours by Euclidean distance, exact and in bounded memory.

Squared distances are |a|² + |b|² - 2 a·b in float64, in blocks, by matrix products. Their rounding error is of the
order of 1e-14 of |a|² + |b|². Callers centre rows first (`centre_of`), so that a cloud far from the origin loses no
digits. Squared distances that are small beside this sum are computed again from differences: equal rows have the
distance 0, and near ones the right distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, finite_matrix, require_whole

__all__ = ["centre_of", "neighbour_radii", "nearest_neighbours", "squared_distance_blocks"]

_CANCELLED = 1e-6  # squared distances below this share of the sum of squared norms have lost half of their digits
_BLOCK = 2**24  # entries of one block of distances: 128 MiB
_ROWS = 4096  # 4096 x 4096 distances are one such block


def nearest_neighbours(
    queries: npt.ArrayLike, reference: npt.ArrayLike, *, k: int = 1
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k reference rows nearest to each query, nearest first; of equally distant rows the first.

    For generated images and training images the distances tell memorised images from new ones. Their scale depends on
    the space (pixels, or features of a network), so they are compared with those of held-out real images.

    Args:
        queries: Shape (n, d), finite, of any float type; only blocks of it are converted to float64.
        reference: Shape (m, d), likewise, m >= k.
        k: Number of neighbours, at least 1.

    Returns:
        Indices into the reference, shape (n, k), and Euclidean distances, shape (n, k), >= 0.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or k lies outside 1 … m.

    >>> indices, distances = nearest_neighbours([[0.0], [5.0]], [[1.0], [5.0], [9.0]])
    >>> indices.tolist(), distances.tolist()
    ([[0], [1]], [[1.0], [0.0]])
    """
    a, b = np.asarray(queries), np.asarray(reference)
    _check_dimensions("queries", a, "reference", b)
    require_whole("k", k)
    if not 1 <= k <= len(b):
        raise ValueError(f"k must lie in 1 … {len(b)}, the number of reference rows, got {k}")
    # Rows of the first block stand for all: a centre needs only to be near the cloud.
    centre = centre_of(finite_matrix("reference", b[:_ROWS]))
    indices = np.empty((len(a), k), dtype=np.int64)
    distances = np.empty((len(a), k))
    for start in range(0, len(a), _ROWS):
        rows = finite_matrix("queries", a[start : start + _ROWS])
        best = np.empty((len(rows), 0))
        found = np.empty((len(rows), 0), dtype=np.int64)
        for first in range(0, len(b), _ROWS):
            block = finite_matrix("reference", b[first : first + _ROWS])
            (_, squared), *_ = squared_distance_blocks(rows - centre, block - centre)
            numbers = np.broadcast_to(np.arange(first, first + len(block)), squared.shape)
            squared, numbers = np.hstack([best, squared]), np.hstack([found, numbers])
            # A stable sort: equal distances keep the order of the reference.
            order = squared.argsort(axis=1, kind="stable")[:, :k] if k > 1 else squared.argmin(axis=1)[:, None]
            best, found = np.take_along_axis(squared, order, axis=1), np.take_along_axis(numbers, order, axis=1)
        part = slice(start, start + len(rows))
        indices[part] = found
        for place in range(k):  # once more from differences, which do not cancel
            neighbours = np.asarray(b[found[:, place]], dtype=np.float64)
            distances[part, place] = np.sqrt(np.square(rows - neighbours).sum(axis=1))
    return indices, distances


def neighbour_radii(features: npt.ArrayLike, k: int) -> FloatArray:
    """Squared distance of each row to its k-th nearest other row, shape (n,).

    Args:
        features: Shape (n, d), finite.
        k: 1 … n - 1.

    Raises:
        ValueError: If a value is not finite or k lies outside 1 … n - 1.

    >>> neighbour_radii([[0.0], [1.0], [3.0]], k=1).tolist()
    [1.0, 1.0, 4.0]
    """
    rows = finite_matrix("features", features)
    require_whole("k", k)
    if not 1 <= k < len(rows):
        raise ValueError(f"k must lie in 1 … n - 1 = {len(rows) - 1}, got {k}")
    radii = np.empty(len(rows))
    for part, squared in squared_distance_blocks(rows, rows):
        squared[np.arange(len(squared)), np.arange(part.start, part.stop)] = np.inf  # not its own neighbour
        radii[part] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii


def squared_distance_blocks(a: FloatArray, b: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Squared distances of some rows of ``a`` to all rows of ``b``, block by block, with the rows of the block.

    A block has at most 128 MiB, or one row.

    Args:
        a: Shape (n, d), float64.
        b: Shape (m, d), float64.

    >>> [(rows.start, rows.stop, squared.tolist()) for rows, squared in squared_distance_blocks(np.eye(2), np.eye(2))]
    [(0, 2, [[0.0, 2.0], [2.0, 0.0]])]
    """
    norms_a, norms_b = np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b)
    step = max(1, _BLOCK // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        norms = norms_a[rows, None] + norms_b
        squared = norms - 2.0 * (a[rows] @ b.T)
        norms *= _CANCELLED
        near, other = np.nonzero(squared <= norms)
        for first in range(0, near.size, pairs := max(1, _BLOCK // a.shape[1])):
            i, j = near[first : first + pairs], other[first : first + pairs]
            squared[i, j] = np.square(a[start + i] - b[j]).sum(axis=1)
        yield rows, squared


def centre_of(rows: FloatArray) -> FloatArray:
    """A vector near the rows: the lower median of each column, shape (d,).

    It consists of values of the data and not of means: the differences of whole numbers, and of floats near each
    other, are exact, so that distances that are equal without centring stay equal.

    Args:
        rows: Shape (n, d), float64.

    >>> centre_of(np.array([[1e6], [1e6 + 2], [1e6 + 1]]))
    array([1000001.])
    """
    middle = (len(rows) - 1) // 2
    centre: FloatArray = np.partition(rows, middle, axis=0)[middle]
    return centre


def _check_dimensions(name_a: str, a: npt.NDArray[Any], name_b: str, b: npt.NDArray[Any]) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"{name_a} and {name_b} must have shapes (n, d) and (m, d), got {a.shape} and {b.shape}")
