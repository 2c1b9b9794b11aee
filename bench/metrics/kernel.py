"""Kernel distance of two sets of features: unbiased squared maximum mean discrepancy with a polynomial kernel.

It is called KID only if the features are those of the 2015 Inception network; the caller names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import (
    FloatArray,
    finite_matrix,
    random_generator,
    require_at_least,
    require_number,
    require_whole,
)

__all__ = ["PolynomialKernel", "kernel_distance", "kernel_distances"]

_BLOCK = 2**23  # entries of one block of kernel values: 64 MiB


@dataclass(frozen=True)
class PolynomialKernel:
    """k(x, y) = (gamma x·y + coef0)^degree.

    Attributes:
        degree: A whole number, at least 1; a fraction of a negative base is no number.
        gamma: Finite; None: 1 / d, with the dimension d of the features.
        coef0: Added constant, finite.

    Raises:
        ValueError: If one of them is out of range.
    """

    degree: int = 3
    gamma: float | None = None
    coef0: float = 1.0

    def __post_init__(self) -> None:
        require_at_least("degree", self.degree, 1)
        require_number("coef0", self.coef0)
        if self.gamma is not None:
            require_number("gamma", self.gamma)

    def __call__(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Kernel values, shape (n, m), of rows (n, d) and (m, d)."""
        gamma = 1.0 / a.shape[1] if self.gamma is None else self.gamma
        values = a @ b.T
        values *= gamma
        values += self.coef0
        power: FloatArray = values**self.degree
        return power

    def own_mean(self, features: npt.ArrayLike) -> float:
        """Mean kernel value over pairs of different rows, shape (n, d), n >= 2.

        >>> PolynomialKernel(degree=1, gamma=1.0, coef0=0.0).own_mean([[1.0], [2.0], [3.0]])  # (2 + 3 + 6) / 3
        3.6666666666666665
        """
        rows = finite_matrix("features", features)
        total, n = 0.0, len(rows)
        for start in range(0, n, step := max(1, _BLOCK // n)):
            values = self(rows[start : start + step], rows)
            own = np.arange(len(values))
            total += float(values.sum()) - float(values[own, start + own].sum())
        return total / (n * (n - 1))


CUBIC = PolynomialKernel()
"""The kernel of KID: (x·y / d + 1)^3."""


def kernel_distance(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    subsets: int = 100,
    subset_size: int | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, equation 3); with the default kernel that of KID
    (Bińkowski et al. 2018, section 4).

    The estimate is mean k(a, a') + mean k(b, b') - 2 mean k(a, b) over pairs of different rows. Its expectation is the
    distance of the distributions whatever the set sizes, so values of unequal n are comparable; near 0 it may be
    negative. All sums are in float64.

    Args:
        a: Features, shape (n, d), finite.
        b: Features, shape (m, d), finite.
        degree: Degree of the kernel (gamma x·y + coef0)^degree, at least 1.
        gamma: None: 1 / d.
        coef0: As above.
        subsets: Number of pairs of subsets; 100 in the paper's code and its peers. It counts with a ``subset_size``
            alone.
        subset_size: Rows of each subset, drawn without replacement, 2 … min(n, m); 1,000 in the paper's code and its
            peers. None: one estimate from all rows and all pairs, which has the same expectation and the smallest
            variance.
        seed: Seed of the subsets; the result is a function of the arguments alone.

    Returns:
        Mean and population standard deviation over the subsets. The latter is 0 for one estimate; it is the spread of
        estimates from ``subset_size`` rows, not the uncertainty of the mean.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, a set has fewer than 2 rows, or degree, subsets or
            subset_size is out of range.

    >>> a, b = np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])
    >>> kernel_distance(a, b, degree=1, gamma=1.0, coef0=0.0, subset_size=None)  # 0 + 15 - 2 * 4
    (7.0, 0.0)
    """
    kernel = PolynomialKernel(degree, gamma, coef0)
    first, second = _pair(a, b)
    least = min(len(first), len(second))
    if subset_size is None:
        return _distance(kernel, first, second), 0.0
    require_at_least("subsets", subsets, 1)
    require_whole("subset_size", subset_size)
    if not 2 <= subset_size <= least:
        raise ValueError(f"subset_size must lie in 2 … {least}, the size of the smaller set, got {subset_size}")
    generator = random_generator(seed)
    found = []
    for _ in range(subsets):
        rows_a = generator.choice(len(first), subset_size, replace=False)
        rows_b = generator.choice(len(second), subset_size, replace=False)
        found.append(_distance(kernel, first[rows_a], second[rows_b]))
    return float(np.mean(found)), float(np.std(found))


def kernel_distances(
    features: npt.ArrayLike,
    reference: npt.ArrayLike,
    sets: Sequence[npt.NDArray[np.int64]],
    *,
    kernel: PolynomialKernel = CUBIC,
    reference_mean: float | None = None,
) -> FloatArray:
    """The distance of several sets of rows to one reference, from all pairs, by one pass over the kernel values.

    Args:
        features: Shape (n, d), finite.
        reference: Shape (m, d), finite, m >= 2.
        sets: Indices of the rows of each set, at least 2 different ones each.
        kernel: The kernel.
        reference_mean: ``kernel.own_mean(reference)``, if it is known: one reference serves many distances.

    Returns:
        One distance per set, as of `kernel_distance` with ``subset_size=None``.

    Raises:
        ValueError: As `kernel_distance`.

    >>> a, b = np.array([[0.0], [2.0], [9.0]]), np.array([[3.0], [5.0]])
    >>> kernel_distances(a, b, [np.array([0, 1])], kernel=PolynomialKernel(1, 1.0, 0.0)).tolist()
    [7.0]
    """
    rows, fixed = _pair(features, reference)
    n, m = len(rows), len(fixed)
    if min(map(len, sets)) < 2:
        raise ValueError("every set needs at least 2 rows")
    member = np.zeros((n, len(sets)))
    for place, indices in enumerate(sets):
        member[indices, place] = 1.0
    sizes = member.sum(axis=0)
    own, cross = np.zeros(len(sets)), np.zeros(len(sets))
    for start in range(0, n, step := max(1, _BLOCK // max(n, m))):
        part = slice(start, start + step)
        values = kernel(rows[part], rows)
        here = np.arange(len(values))
        values[here, start + here] = 0.0  # pairs of different rows
        own += np.einsum("is,is->s", member[part], values @ member)
        cross += member[part].T @ kernel(rows[part], fixed).mean(axis=1)
    within = kernel.own_mean(fixed) if reference_mean is None else reference_mean
    distances: FloatArray = own / (sizes * (sizes - 1)) + within - 2.0 * cross / sizes
    return distances


def _distance(kernel: PolynomialKernel, a: FloatArray, b: FloatArray) -> float:
    return float(kernel_distances(a, b, [np.arange(len(a))], kernel=kernel)[0])


def _pair(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = finite_matrix("features", a), finite_matrix("reference", b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both sets must have one dimension, got {first.shape[1]} and {second.shape[1]}")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"each set needs at least 2 rows, got {len(first)} and {len(second)}")
    return first, second
