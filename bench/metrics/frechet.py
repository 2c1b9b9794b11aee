"""Fréchet distance between Gaussians fitted to two sets of features.

The distance is called FID only if the features are those of the 2015 Inception network; the caller names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, finite_matrix

_ROWS_AT_ONCE = 4096  # bounds the float64 copy of float32 features


@dataclass(frozen=True, eq=False)
class GaussianStats:
    """Mean and covariance of a set of feature vectors, in float64.

    Attributes:
        n: Number of vectors, at least 2 (one vector has no covariance).
        mean: Shape (d,).
        covariance: Unbiased (divisor n - 1), symmetric, shape (d, d).

    Raises:
        ValueError: If n < 2, the shapes do not fit, a value is not finite, or the covariance is not
            symmetric.
    """

    n: int
    mean: FloatArray
    covariance: FloatArray

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean, dtype=np.float64)
        covariance = finite_matrix("covariance", self.covariance)
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, got {self.n}")
        if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
            raise ValueError(f"mean and covariance must be (d,) and (d, d), got {mean.shape}, {covariance.shape}")
        if not np.isfinite(mean).all():
            raise ValueError("mean must be finite")
        if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * np.abs(covariance).max()):
            raise ValueError("covariance must be symmetric")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)

    @classmethod
    def from_features(cls, features: npt.ArrayLike) -> GaussianStats:
        """Fits a Gaussian to features, shape (n, d), of any float type; two passes, in float64.

        Raises:
            ValueError: If the shape is not (n, d) with n >= 2, or a value is not finite.
        """
        rows = np.asarray(features)
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise ValueError(f"features must have shape (n, d) with d >= 1, got {rows.shape}")
        n, d = rows.shape
        if n < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, got {n}")
        invalid = int((~np.isfinite(rows)).sum())
        if invalid:
            raise ValueError(f"features must be finite, got {invalid} of {rows.size} values that are not")
        mean = rows.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((d, d))
        for start in range(0, n, _ROWS_AT_ONCE):
            centred = rows[start : start + _ROWS_AT_ONCE] - mean
            scatter += centred.T @ centred
        return cls(n, mean, scatter / (n - 1))

    @cached_property
    def root(self) -> FloatArray:
        """A factor R of the covariance R Rᵀ, shape (d, d); cached, because one reference serves many distances."""
        eigenvalues, eigenvectors = np.linalg.eigh(self.covariance)
        factor: FloatArray = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
        return factor


def frechet_distance(a: GaussianStats, b: GaussianStats) -> float:
    """Squared Fréchet (2-Wasserstein) distance |m_a - m_b|² + tr(A + B - 2 (A B)^½), >= 0 (Dowson and Landau 1982).

    The estimate is biased upwards: for two samples of size n of one d-dimensional Gaussian its expectation is
    (2d + d(d+1)/2) / n to first order, not 0. Distances of unequal n are therefore not comparable.

    The trace of (A B)^½ is the sum of the roots of the eigenvalues of the symmetric A^½ᵀ B A^½. Two symmetric
    eigendecompositions are several times faster than a matrix square root, give real values, and are accurate for
    singular covariances. Eigenvalues and a result below zero by rounding are set to 0. ``a`` caches the first
    decomposition.

    Raises:
        ValueError: If the dimensions differ.

    >>> a, b = GaussianStats(9, np.zeros(1), np.eye(1)), GaussianStats(9, np.full(1, 3.0), 4 * np.eye(1))
    >>> frechet_distance(a, b)  # 3^2 + (1 - 2)^2
    10.0
    """
    _require_same_dimension(a, b)
    product_eigenvalues = np.linalg.eigvalsh(a.root.T @ b.covariance @ a.root)
    trace_of_root = np.sqrt(np.maximum(product_eigenvalues, 0.0)).sum()
    shift = a.mean - b.mean
    distance = shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * trace_of_root
    return max(float(distance), 0.0)


def _require_same_dimension(a: GaussianStats, b: GaussianStats) -> None:
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"statistics must have one dimension, got {a.mean.size} and {b.mean.size}")
