"""Predictions grouped by confidence: the bins of a reliability diagram, of equal width or of equal mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, correct_of, require_at_least, vector

__all__ = [
    "Binning",
    "Edges",
    "ReliabilityCurve",
    "bin_edges",
    "bin_index",
    "binned",
    "confidences",
    "last_of_ties",
    "reliability",
]

Binning = Literal["width", "mass"]
Edges = Literal["right", "left"]

CONFIDENCE_TOLERANCE = 1e-6
"""A confidence may exceed 1 by this much (the exp of a float32 log-probability) and then counts as 1."""


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence and accuracy in bins of the confidence: the data of a reliability diagram.

    Attributes:
        edges: Bin edges from 0 to 1, shape (bins + 1,).
        count: Items per bin, int64, shape (bins,).
        mean_confidence: Mean confidence per bin (not the bin's centre), shape (bins,); NaN in an empty bin.
        accuracy: Share of correct items per bin, shape (bins,); NaN in an empty bin.
    """

    edges: FloatArray
    count: npt.NDArray[np.int64]
    mean_confidence: FloatArray
    accuracy: FloatArray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of |accuracy - mean confidence| over bins by count, in [0, 1]."""
        filled = self.count > 0
        gaps = np.abs(self.accuracy[filled] - self.mean_confidence[filled])
        return float(np.average(gaps, weights=self.count[filled]))

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest |accuracy - mean confidence| of a bin with items, in [0, 1]."""
        filled = self.count > 0
        return float(np.abs(self.accuracy[filled] - self.mean_confidence[filled]).max())


def confidences(values: npt.ArrayLike) -> FloatArray:
    """Confidences as float64, shape (n,), in [0, 1].

    Raises:
        ValueError: If the shape is not (n,), n is 0, a value is NaN or lies outside [0, 1].

    >>> confidences([0.5, 1.0000001])
    array([0.5, 1. ])
    """
    conf = vector("confidence", values)
    if conf.min() < 0 or conf.max() > 1 + CONFIDENCE_TOLERANCE:
        raise ValueError(f"confidence must lie in [0, 1], got {conf.min():.9g} … {conf.max():.9g}")
    return np.minimum(conf, 1.0)


def bin_edges(confidence: npt.ArrayLike, bins: int, binning: Binning = "width", edges: Edges = "right") -> FloatArray:
    """The edges of the bins, from 0 to 1.

    Edges of equal width are ``np.linspace(0, 1, bins + 1)``, as in other implementations; some lie one rounding error
    above their decimal (0.30000000000000004).

    Bins of equal mass have the quantiles of the confidences as inner edges (``np.quantile``, linear interpolation).
    Ties are never split, so tied confidences can make bins larger than n / bins. Edges with no item between
    them are merged, duplicates among them; there are then fewer than ``bins`` bins, none of them empty, and one if all
    confidences are equal.

    Args:
        confidence: Shape (n,), in [0, 1].
        bins: Number of bins, at least 1.
        binning: ``"width"`` or ``"mass"``.
        edges: The edge that belongs to a bin, as in `reliability`.

    Returns:
        Shape (number of bins + 1,), the first 0 and the last 1, increasing; but a bin of equal mass that holds only
        items at 0 or only items at 1 has no width.

    Raises:
        ValueError: On bad confidences, bins < 1, or an unknown `binning` or `edges`.

    >>> bin_edges([0.1, 0.4, 0.6, 0.9], 2)
    array([0. , 0.5, 1. ])
    >>> bin_edges([0.1, 0.2, 0.3, 0.9], 2, "mass")
    array([0.  , 0.25, 1.  ])
    >>> bin_edges([0.7, 0.7, 0.7], 5, "mass")
    array([0., 1.])
    """
    require_at_least("bins", bins, 1)
    if binning not in get_args(Binning):
        raise ValueError(f'binning must be "width" or "mass", got {binning!r}')
    if edges not in get_args(Edges):
        raise ValueError(f'edges must be "right" or "left", got {edges!r}')
    conf = confidences(confidence)
    if binning == "width":
        return np.linspace(0.0, 1.0, bins + 1)
    inner = np.quantile(conf, np.arange(1, bins) / bins)
    # Of edges with the same items below them only the first is needed, and none with no item on one side.
    below = np.searchsorted(np.sort(conf), inner, side=edges)
    ranks, first = np.unique(below, return_index=True)
    return np.concatenate([[0.0], inner[first[(ranks > 0) & (ranks < conf.size)]], [1.0]])


def bin_index(confidence: FloatArray, boundaries: FloatArray, edges: Edges = "right") -> npt.NDArray[np.intp]:
    """The bin of each confidence, shape (n,).

    Args:
        confidence: Shape (n,), in [0, 1].
        boundaries: Edges from 0 to 1, as `bin_edges` gives them.
        edges: The edge that belongs to a bin.

    >>> bin_index(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0]))
    array([0, 0, 1])
    """
    side: Literal["left", "right"] = "left" if edges == "right" else "right"
    # Only the inner edges are searched, so that 0 and 1 always fall into the first and the last bin.
    return np.searchsorted(boundaries[1:-1], confidence, side=side)


def binned(
    confidence: FloatArray, bins: int, binning: Binning = "width", edges: Edges = "right"
) -> npt.NDArray[np.intp]:
    """The bin of each confidence among its own `bin_edges`, shape (n,); arguments and errors are those of `bin_edges`.

    >>> binned(np.array([0.1, 0.2, 0.9]), 2)
    array([0, 0, 1])
    """
    return bin_index(confidence, bin_edges(confidence, bins, binning, edges), edges)


def last_of_ties(ordered: FloatArray) -> npt.NDArray[np.intp]:
    """The index of the last of each group of equal confidences, in increasing order.

    Args:
        ordered: Confidences in increasing order, shape (n,).

    >>> last_of_ties(np.array([0.5, 0.5, 0.9]))
    array([1, 2])
    """
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))


def reliability(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = 20,
    binning: Binning = "width",
    edges: Edges = "right",
) -> ReliabilityCurve:
    """Groups predictions by confidence (Guo et al. 2017, section 2; equal mass: Nixon et al. 2019, section 3).

    Args:
        confidence: Probability of the predicted class, shape (n,), in [0, 1].
        correct: Whether the prediction was right, shape (n,), booleans or 0/1.
        bins: Number of bins; bins of equal mass can be fewer, see `bin_edges`.
        binning: Bins of equal width (``"width"``) or of equal numbers of items (``"mass"``).
        edges: The edge that belongs to a bin. ``"right"``: (lo, hi], and 0 belongs to the first bin. ``"left"``:
            [lo, hi), and 1 belongs to the last bin; for comparison with other tools.

    Raises:
        ValueError: On NaN, confidences outside [0, 1], unequal lengths, no items, bins < 1, or an unknown
            `binning` or `edges`.

    >>> curve = reliability([0.2, 0.75, 1.0], [0, 1, 1], bins=2)
    >>> curve.count, curve.mean_confidence, curve.accuracy
    (array([1, 2]), array([0.2  , 0.875]), array([0., 1.]))
    """
    conf = confidences(confidence)
    boundaries = bin_edges(conf, bins, binning, edges)
    hit = correct_of(conf, correct)
    index, filled = bin_index(conf, boundaries, edges), boundaries.size - 1
    count = np.bincount(index, minlength=filled).astype(np.int64)
    # The mean of an empty bin is 0/0 = NaN on purpose.
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=conf, minlength=filled) / count
        accuracy = np.bincount(index, weights=hit.astype(np.float64), minlength=filled) / count
    return ReliabilityCurve(boundaries, count, mean_confidence, accuracy)
