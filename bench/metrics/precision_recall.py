"""Precision, recall, density and coverage of generated samples, from k-nearest-neighbour balls in a feature space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import finite_matrix, require_whole
from bench.metrics.neighbours import centre_of, neighbour_radii, squared_distance_blocks

__all__ = ["PRDC", "Rule", "prdc"]

Rule = Literal["<", "<="]
"""Whether a point at exactly the distance of a ball's radius lies outside (``<``) or inside (``<=``)."""


@dataclass(frozen=True)
class PRDC:
    """How well samples cover real data, and how well real data cover samples.

    Attributes:
        precision: Share of samples within a ball of a real item, in [0, 1].
        recall: Share of real items within a ball of a sample, in [0, 1].
        density: Mean number of real balls that a sample lies in, divided by k, >= 0; about 1 for samples of the real
            distribution, and above 1 where samples crowd in dense regions.
        coverage: Share of real items whose ball holds a sample, in [0, 1].
        balls: Number of real balls that each sample lies in, shape (m,). Precision is the share of those above 0 and
            density their mean divided by k: given the real items, means over independent samples.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    balls: npt.NDArray[np.int64] = field(repr=False, compare=False)


def prdc(real: npt.ArrayLike, samples: npt.ArrayLike, *, k: int = 5, rule: Rule = "<") -> PRDC:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The ball of an item has the distance to its k-th nearest other item of the same set as radius. All four depend on
    both set sizes, so they are compared at equal sizes only. For equal distributions and equal sizes the expected
    density is 1 and the expected coverage 1 - 2^-k to first order.

    With the default ``<`` and k = 5 the results are those of the package prdc and of dgm-eval. torch-fidelity takes
    ``<=`` and k = 3. The rules differ only where distances are equal, such as among duplicates.

    Distances are computed in float64, from centred features in blocks of at most 128 MiB: a constant that is added to
    all features has no effect, and equal rows have the distance 0 (see `bench.metrics.neighbours`).

    Args:
        real: Features of real items, shape (n, d), finite, n > k.
        samples: Features of generated items, shape (m, d), finite, m > k.
        k: Neighbour that sets the radius of a ball, at least 1.
        rule: Whether a distance equal to the radius counts as outside or inside.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, k < 1, or a set has no more than k items.

    >>> line = [[0.0], [1.0], [3.0], [6.0]]
    >>> prdc(line, line, k=1)
    PRDC(precision=1.0, recall=1.0, density=1.0, coverage=1.0)
    >>> prdc(line, [[100.0], [101.0]], k=1)
    PRDC(precision=0.0, recall=0.0, density=0.0, coverage=0.0)
    """
    if rule not in ("<", "<="):
        raise ValueError(f"rule must be '<' or '<=', got {rule!r}")
    a, b = finite_matrix("real", real), finite_matrix("samples", samples)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"real items and samples must have one dimension, got {a.shape[1]} and {b.shape[1]}")
    require_whole("k", k)
    if not 1 <= k < min(len(a), len(b)):
        raise ValueError(f"k must be at least 1 and below both set sizes, {len(a)} and {len(b)}; got {k}")
    inside = np.less if rule == "<" else np.less_equal
    centre = centre_of(np.concatenate([a, b]))
    a, b = a - centre, b - centre
    real_radii, sample_radii = neighbour_radii(a, k), neighbour_radii(b, k)
    balls = np.zeros(len(b), dtype=np.int64)
    recalled, covered = np.empty(len(a), dtype=np.bool_), np.empty(len(a), dtype=np.bool_)
    for rows, squared in squared_distance_blocks(a, b):
        within = inside(squared, real_radii[rows, None])
        balls += within.sum(axis=0)
        covered[rows] = within.any(axis=1)
        recalled[rows] = inside(squared, sample_radii).any(axis=1)
    return PRDC(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean() / k),
        coverage=float(covered.mean()),
        balls=balls,
    )
