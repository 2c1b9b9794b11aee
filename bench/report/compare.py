"""Which values of a column are best, and which cannot be told from the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.metrics.paired import holm, mcnemar_exact, permutation_mean

__all__ = ["ALPHA", "TESTS", "Items", "indistinguishable_from_best"]

ALPHA = 0.05

TESTS = {
    "mcnemar": "exact McNemar on the same items",
    "permutation": "permutation of the pairs of common items",
}
"""The paired tests, in the words of a note."""

Items = tuple[NDArray[np.int64], NDArray[Any]]
"""Ids of the items, and of each whether it was right, or its value."""


def indistinguishable_from_best(
    rows: Mapping[str, Items],
    *,
    test: Literal["mcnemar", "permutation"] = "mcnemar",
    higher_is_better: bool = True,
    seed: int = 0,
) -> set[str]:
    """The rows to print in bold: the best, and all that a paired test does not tell from it.

    Tests are against the row with the best mean, on the same items, corrected within the column by Holm at level .05.

    Args:
        rows: By row, per-item results on one set of items; at least one row.
        test: Exact McNemar for booleans; permutation of pairs for values (`bench.metrics.paired`).
        higher_is_better: Direction of the column.
        seed: Of random permutations.

    Raises:
        ValueError: Rows were measured on different items: no paired test exists.
    """
    names = list(rows)
    ids = rows[names[0]][0]
    if any(not np.array_equal(ids, other) for other, _ in rows.values()):
        raise ValueError("the rows of the column were measured on different items")
    sign = 1 if higher_is_better else -1
    best = max(names, key=lambda name: sign * float(rows[name][1].sum()))
    others = [name for name in names if name != best]
    if not others:
        return {best}

    def p_value(name: str) -> float:
        if test == "mcnemar":
            return mcnemar_exact(rows[best][1], rows[name][1])
        return permutation_mean(rows[best][1], rows[name][1], seed)

    adjusted = holm([p_value(name) for name in others])
    return {best, *(name for name, p in zip(others, adjusted, strict=True) if p >= ALPHA)}
