"""Separation of in- and out-of-distribution items by a score, where a higher score means in-distribution.

All functions use ranks alone: a strictly increasing map of the scores does not change their results. Infinite scores
are ranked like any others; NaN is an error.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, require_number, vector

Positive = Literal["in", "out"]


def placement_values(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """For each item, the share of the other set that is ranked correctly against it; ties count half.

    These are the structural components V10 and V01 of DeLong et al. (1988); the mean of either is the AUROC.

    Args:
        in_scores: Scores of in-distribution items, shape (m,).
        out_scores: Scores of out-of-distribution items, shape (n,).

    Returns:
        For each in-item the share of out-items below it, shape (m,), and for each out-item the share of in-items
        above it, shape (n,).

    Raises:
        ValueError: If a set is empty, not one-dimensional, or holds NaN.

    >>> placement_values([2, 3], [1, 2])
    (array([0.75, 1.  ]), array([1.  , 0.75]))
    """
    inside, outside = _scores(in_scores, out_scores)
    return _share_below(inside, outside), 1.0 - _share_below(outside, inside)


def auroc(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(in > out) + P(in = out) / 2, in [0, 1]; 0.5 is chance.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,).

    Raises:
        ValueError: If a set is empty, not one-dimensional, or holds NaN.

    >>> auroc([2, 3], [1, 2])  # three pairs in order, and a tie
    0.875
    """
    inside, outside = _scores(in_scores, out_scores)
    return float(_twice_count_below(inside, outside).sum() / (2 * inside.size * outside.size))


def missing_as_wrong(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The ranks of all scores. An item without a score (NaN) is ranked wrongly against every item of the other set:
    below all if it is in-distribution, above all if it is not.

    A model therefore gains nothing by missing scores. Every function of this module accepts the ranks as scores.

    Args:
        in_scores: Scores of in-distribution items, shape (m,); NaN where there is none.
        out_scores: Scores of out-of-distribution items, shape (n,); NaN where there is none.

    Returns:
        Finite ranks of both, shapes (m,) and (n,); equal scores have equal ranks.

    Raises:
        ValueError: If a set is empty or not one-dimensional.

    >>> missing_as_wrong([np.nan, 2.0], [1.0])
    (array([-1.,  1.]), array([0.]))
    """
    inside, outside = np.asarray(in_scores, dtype=np.float64), np.asarray(out_scores, dtype=np.float64)
    present = [~np.isnan(inside), ~np.isnan(outside)]
    vector("in_scores", np.where(present[0], inside, 0.0))
    vector("out_scores", np.where(present[1], outside, 0.0))
    ordered = np.unique(np.concatenate([inside[present[0]], outside[present[1]]]))
    ranks_in = np.where(present[0], np.searchsorted(ordered, inside), -1)
    ranks_out = np.where(present[1], np.searchsorted(ordered, outside), ordered.size)
    return ranks_in.astype(np.float64), ranks_out.astype(np.float64)


def average_precision(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike, *, positive: Positive) -> float:
    """Average precision, the step-wise area under the precision-recall curve (AUPR-in or AUPR-out), in (0, 1].

    Sum over thresholds of (R_k - R_{k-1}) P_k, without interpolation; tied scores share a threshold. It depends on the
    sizes of the two sets: chance is about the share of positive items.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,).
        positive: The set to detect. ``"out"`` ranks by the negated score.

    Raises:
        ValueError: If a set is empty, not one-dimensional, or holds NaN, or `positive` is unknown.

    >>> round(average_precision([3, 1], [2], positive="in"), 6)  # (1 + 2/3) / 2
    0.833333
    """
    wanted, other = by_positive(in_scores, out_scores, positive)
    # Recall changes only at scores of positive items, so only these are thresholds.
    thresholds, multiplicity = np.unique(wanted, return_counts=True)
    true_positives = count_at_least(wanted, thresholds)
    false_positives = count_at_least(other, thresholds)
    precision = true_positives / (true_positives + false_positives)
    return float((multiplicity * precision).sum() / wanted.size)


def fpr_at_tpr(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike, tpr: float = 0.95, *, positive: Positive) -> float:
    """False-positive rate at the strictest threshold whose true-positive rate reaches `tpr`, in [0, 1]; 0 is best.

    Every distinct score is a possible threshold, without interpolation. The two values of `positive` give different
    numbers.

    Args:
        in_scores: Scores of in-distribution items, shape (m,), higher = in-distribution.
        out_scores: Scores of out-of-distribution items, shape (n,).
        tpr: Share of positive items that must be detected, in (0, 1].
        positive: The set to detect: ``"in"`` (ODIN and the energy papers) or ``"out"`` (OpenOOD).

    Raises:
        ValueError: If a set is empty, not one-dimensional, or holds NaN, or `tpr` or `positive` is out of
            range.

    >>> fpr_at_tpr([1, 2, 3, 4], [0.0, 1.5], positive="in")
    0.5
    """
    require_number("tpr", tpr)
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1], got {tpr}")
    wanted, other = by_positive(in_scores, out_scores, positive)
    # Rates are compared, not ceil(tpr * n): 0.95 * n can round to either side of a whole number.
    rates = np.arange(1, wanted.size + 1) / wanted.size
    needed = int(np.argmax(rates >= tpr))
    threshold = np.sort(wanted)[::-1][needed]
    return float((other >= threshold).mean())


def _scores(in_scores: npt.ArrayLike, out_scores: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    return vector("in_scores", in_scores), vector("out_scores", out_scores)


def by_positive(
    in_scores: npt.ArrayLike, out_scores: npt.ArrayLike, positive: Positive
) -> tuple[FloatArray, FloatArray]:
    """Scores of the positive and of the negative set, signed so that higher = positive; errors as `fpr_at_tpr`.

    >>> by_positive([2, 3], [1], "out")
    (array([-1.]), array([-2., -3.]))
    """
    inside, outside = _scores(in_scores, out_scores)
    if positive == "in":
        return inside, outside
    if positive == "out":
        return -outside, -inside
    raise ValueError(f'positive must be "in" or "out", got {positive!r}')


def _twice_count_below(values: FloatArray, reference: FloatArray) -> npt.NDArray[np.int64]:
    """For each value: twice the number of reference scores below it, plus the number equal to it. Exact."""
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, values, side="left")
    not_above = np.searchsorted(ordered, values, side="right")
    return (below + not_above).astype(np.int64)


def _share_below(values: FloatArray, reference: FloatArray) -> FloatArray:
    share: FloatArray = _twice_count_below(values, reference) / (2.0 * reference.size)
    return share


def count_at_least(values: FloatArray, thresholds: FloatArray) -> npt.NDArray[np.int64]:
    """For each threshold, the number of values that are at least as large.

    >>> count_at_least(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0]))
    array([1, 2])
    """
    return (values.size - np.searchsorted(np.sort(values), thresholds, side="left")).astype(np.int64)
