"""Which values of a column are best, and which cannot be told from the best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.metrics.paired import holm, mcnemar_exact

__all__ = ["ALPHA", "indistinguishable_from_best"]

ALPHA = 0.05

Items = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Ids of the items and whether each was right."""


def indistinguishable_from_best(correct: Mapping[str, Items], *, higher_is_better: bool = True) -> set[str]:
    """The rows to print in bold: the best, and all that an exact McNemar test does not tell from it.

    Tests are against the best row, on the same items, corrected within the column by Holm at level .05.

    Args:
        correct: By row, per-item results on one set of items; at least one row.
        higher_is_better: Direction of the column.

    Raises:
        ValueError: Rows were measured on different items: no paired test exists.
    """
    rows = list(correct)
    ids = correct[rows[0]][0]
    if any(not np.array_equal(ids, other) for other, _ in correct.values()):
        raise ValueError("the rows of the column were measured on different items")
    sign = 1 if higher_is_better else -1
    best = max(rows, key=lambda row: sign * int(correct[row][1].sum()))
    others = [row for row in rows if row != best]
    if not others:
        return {best}
    adjusted = holm([mcnemar_exact(correct[best][1], correct[row][1]) for row in others])
    return {best, *(row for row, p in zip(others, adjusted, strict=True) if p >= ALPHA)}
