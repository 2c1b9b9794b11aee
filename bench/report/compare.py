"""The best values of a column, and those that a paired test does not tell from the best."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.metrics.paired import holm, mcnemar, permutation_mean

__all__ = ["ALPHA", "TESTS", "Items", "common_items", "indistinguishable_from_best"]

ALPHA = 0.05

TESTS = {
    "mcnemar": "exact McNemar on the same items",
    "permutation": "permutation of the pairs of common items",
}
"""The paired tests, as a note prints them."""

Items = tuple[NDArray[np.int64], NDArray[Any]]
"""Ids of the items, (n,), and for each whether it was right, or its value, (n,)."""


def common_items(rows: Mapping[str, Items]) -> dict[str, Items]:
    """The rows on the items that all of them have, in increasing order of their ids.

    Args:
        rows: By row, ids without repetition, (n,), and a result for each item, (n,); at least one row.

    Returns:
        The rows, all with the same array of ids; the array is empty if they have no item in common.
    """
    ids = reduce(np.intersect1d, [ids for ids, _ in rows.values()])
    found = {}
    for name, (own, values) in rows.items():
        order = np.argsort(own)
        found[name] = ids, values[order[np.searchsorted(own, ids, sorter=order)]]
    return found


def indistinguishable_from_best(
    rows: Mapping[str, Items],
    *,
    test: Literal["mcnemar", "permutation"] = "mcnemar",
    higher_is_better: bool = True,
    seed: int = 0,
) -> set[str]:
    """The rows to print in bold: the best, and all that a paired test does not tell from it.

    The best is chosen from the data, so all pairs of rows are tested on the same items, with Holm's correction at level
    .05. If all rows are equally good, the probability that any of them is not bold is then at most .05. A correction
    for the tests against the best alone gives .06 to .10 in simulations of 3 to 8 rows.

    Args:
        rows: By row, per-item results on one set of items; at least one row.
        test: Exact McNemar for booleans; permutation of pairs for values (`bench.metrics.paired`).
        higher_is_better: Direction of the column.
        seed: Seed of the random permutations.

    Raises:
        ValueError: If rows were measured on different items (see `common_items`).
    """
    names = list(rows)
    ids = rows[names[0]][0]
    if any(not np.array_equal(ids, other) for other, _ in rows.values()):
        raise ValueError("the rows of the column were measured on different items")
    sign = 1 if higher_is_better else -1
    sums = {name: sign * float(rows[name][1].sum()) for name in names}
    best = {name for name in names if sums[name] == max(sums.values())}
    pairs = list(combinations(names, 2))
    # Enough resamples that the smallest p, times the number of pairs, stays far below the level.
    resamples = max(9999, 200 * len(pairs))

    def p_value(a: str, b: str) -> float:
        if test == "mcnemar":
            return mcnemar(rows[a][1], rows[b][1])
        return permutation_mean(rows[a][1], rows[b][1], seed, resamples)

    adjusted = dict(zip(pairs, holm([p_value(*pair) for pair in pairs]), strict=True))
    return best.union(*(pair for pair, p in adjusted.items() if p >= ALPHA and best.intersection(pair)))
