"""Fréchet distance between Gaussians fitted to two sets of features.

The distance is called FID only if the features are those of the 2015 Inception network; the caller names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, finite_matrix, random_generator, require_at_least, require_whole

__all__ = ["GaussianStats", "frechet_distance", "frechet_infinity"]

_ROWS_AT_ONCE = 4096  # bounds the float64 copy of float32 features


@dataclass(frozen=True, eq=False)
class GaussianStats:
    """Mean and covariance of a set of feature vectors, in float64.

    Attributes:
        n: Number of vectors, at least 2 (one vector has no covariance); None if it is not known, as of statistics from
            a file of pytorch-fid. Nothing is computed from it; it tells which distances are comparable.
        mean: Shape (d,).
        covariance: Unbiased (divisor n - 1), symmetric, shape (d, d).

    Raises:
        ValueError: If n < 2, the shapes do not fit, a value is not finite, or the covariance is not
            symmetric.
    """

    n: int | None
    mean: FloatArray
    covariance: FloatArray

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean, dtype=np.float64)
        covariance = finite_matrix("covariance", self.covariance)
        if self.n is not None and self.n < 2:
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
        if rows.dtype.kind not in "biuf":
            raise ValueError(f"features must hold real numbers, got {rows.dtype}")
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

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> GaussianStats:
        """The statistics in the arrays of a file: ``mu`` (d,), ``sigma`` (d, d) and, if it is there, ``n``.

        pytorch-fid writes ``mu`` and ``sigma`` alone. The number of vectors cannot be recovered from them, so without
        ``n`` it is None.

        Raises:
            ValueError: If ``mu`` or ``sigma`` is missing, ``n`` is not one whole number, or as the class.

        >>> GaussianStats.from_arrays({"mu": np.zeros(2), "sigma": np.eye(2)}).n is None
        True
        """
        absent = [name for name in ("mu", "sigma") if name not in arrays]
        if absent:
            raise ValueError(f"statistics need the arrays mu and sigma; there is no {' and no '.join(absent)}")
        n = None
        if "n" in arrays:
            given = np.asarray(arrays["n"])
            if given.size != 1 or given.dtype.kind not in "iu":
                raise ValueError(f"n must be one whole number, got {given.dtype} of shape {given.shape}")
            n = int(given.reshape(()))
        return cls(n, arrays["mu"], arrays["sigma"])

    @classmethod
    def load(cls, path: str | Path) -> GaussianStats:
        """Statistics from an ``.npz`` file as pytorch-fid or `save` writes it; see `from_arrays`.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it holds no such statistics, or Python objects, which are never loaded.
        """
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError(f"{path} is no .npz archive")
        with loaded as arrays:
            return cls.from_arrays(arrays)

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file that pytorch-fid reads: ``mu`` and ``sigma``, and beside them ``n`` if it is known.

        Args:
            path: Ends in ``.npz``.

        Raises:
            ValueError: If the path has another ending, to which NumPy would append one.
        """
        if Path(path).suffix != ".npz":
            raise ValueError(f"{path}: the file of statistics must end in .npz")
        known = {} if self.n is None else {"n": np.array(self.n)}
        np.savez(path, allow_pickle=False, mu=self.mean, sigma=self.covariance, **known)

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


def frechet_infinity(
    reference: GaussianStats, features: npt.ArrayLike, *, points: int = 15, least: int | None = None, seed: int = 0
) -> float:
    """Fréchet distance extrapolated to infinitely many samples (Chong and Forsyth 2020): the intercept of a linear fit
    of the distance against 1/n.

    The bias of the distance is about c/n, so the intercept is nearly free of it. Only the bias from the samples
    goes; that from a finite reference stays. The extrapolation may be negative, and its standard error is larger than
    that of the distance of all samples.

    Args:
        reference: Statistics of the real features.
        features: Features of samples, shape (n, d).
        points: Number of set sizes, evenly spaced from ``least`` to n; for each one subset is drawn without
            replacement. At least 2.
        least: The smallest size, 2 … n - 1; None: n // 10, or 2 if that is smaller.
        seed: Seed of the subsets.

    Raises:
        ValueError: If features or statistics are not valid, points < 2, or least lies outside 2 … n - 1.

    >>> features = np.random.default_rng(0).normal(size=(4000, 4))
    >>> standard = GaussianStats(None, np.zeros(4), np.eye(4))
    >>> all_samples = frechet_distance(standard, GaussianStats.from_features(features))
    >>> abs(frechet_infinity(standard, features)) < all_samples
    True
    """
    rows = finite_matrix("features", features)
    n = len(rows)
    smallest = max(2, n // 10) if least is None else least
    require_at_least("points", points, 2)
    require_whole("least", smallest)
    if not 2 <= smallest < n:
        raise ValueError(f"least must lie in 2 … n - 1 = {n - 1}, got {smallest}")
    generator = random_generator(seed)
    sizes = np.unique(np.linspace(smallest, n, points).round().astype(int))
    distances = [
        frechet_distance(reference, GaussianStats.from_features(rows[generator.choice(n, int(size), replace=False)]))
        for size in sizes
    ]
    _, intercept = np.polyfit(1.0 / sizes, distances, 1)
    return float(intercept)


def _require_same_dimension(a: GaussianStats, b: GaussianStats) -> None:
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"statistics must have one dimension, got {a.mean.size} and {b.mean.size}")
