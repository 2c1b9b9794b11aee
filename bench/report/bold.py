"""Bold face: the best value of a column, and those that a paired test does not tell from the best.

Two questions are kept apart (docs/metrics.md, "Differences"). *Are these weights different?* is answered over items,
with one seed or with the mean over several. *Are these families different?* is answered over seeds, and needs six.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.metrics.difference import seed_difference
from bench.metrics.ood_inference import placement_difference
from bench.metrics.paired import holm, mcnemar_pairs, permutation_pairs
from bench.report.items import Items, mean_area, placements_on_same_items, scored_difference
from bench.report.stored import Scored

__all__ = [
    "ALPHA",
    "ENOUGH_SEEDS",
    "OVER_SEEDS",
    "TESTS",
    "indistinguishable_by_area",
    "indistinguishable_from_best",
    "indistinguishable_over_seeds",
]

ALPHA = 0.05

TESTS = {
    "mcnemar": "exact McNemar on the same items",
    "permutation": "permutation of the pairs of common items",
    "auroc": "DeLong's paired test on the same items",
}
"""The paired tests, as a note prints them."""

OVER_SEEDS = "sign flips of the differences over seeds"
"""The test of families, as a note prints it."""

ENOUGH_SEEDS = 6
"""The smallest number of seeds with which a test over seeds can reach p < .05."""


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
        test: Exact McNemar for booleans; permutation of pairs for values, such as means of booleans over seeds
            (`bench.metrics.paired`).
        higher_is_better: Direction of the column.
        seed: Seed of the random permutations.

    Raises:
        ValueError: If rows were measured on different items (see `bench.report.items.common_items`).
    """
    names = list(rows)
    ids = rows[names[0]][0]
    if any(not np.array_equal(ids, other) for other, _ in rows.values()):
        raise ValueError("the rows of the column were measured on different items")
    sign = 1 if higher_is_better else -1
    sums = {name: sign * float(rows[name][1].sum()) for name in names}

    values = [values for _, values in rows.values()]
    if test == "mcnemar" and all(one.dtype == np.bool_ for one in values):
        return _best_and_equals(sums, mcnemar_pairs(np.stack(values)))
    # Enough resamples that the smallest p, times the number of pairs, stays far below the level.
    resamples = max(9999, 200 * math.comb(len(rows), 2))
    return _best_and_equals(sums, permutation_pairs(np.stack(values).astype(np.float64), seed, resamples))


def indistinguishable_over_seeds(
    rows: Mapping[str, Mapping[int, float]], *, higher_is_better: bool = True
) -> set[str] | None:
    """The rows to print in bold by a test of families: all pairs are compared by sign flips of the differences over
    seeds, with Holm's correction at level .05.

    Args:
        rows: By row, the number of each seed.
        higher_is_better: Direction of the column.

    Returns:
        The names, or None if the rows do not have one set of at least ``ENOUGH_SEEDS`` seeds: the test could then tell
        no two families apart.
    """
    seeds = sorted(next(iter(rows.values())))
    if len(seeds) < ENOUGH_SEEDS or any(sorted(row) != seeds for row in rows.values()):
        return None
    sign = 1 if higher_is_better else -1
    sums = {name: sign * sum(row.values()) for name, row in rows.items()}

    def p_value(a: str, b: str) -> float:
        p = seed_difference([rows[a][seed] - rows[b][seed] for seed in seeds]).p
        assert p is not None  # a sign flip always has one
        return p

    return _best_and_equals(sums, [p_value(*pair) for pair in combinations(rows, 2)])


def indistinguishable_by_area(
    rows: Mapping[str, Mapping[int, Scored]], *, higher_is_better: bool = True
) -> set[str] | None:
    """The rows to print in bold in a column of AUROCs, as `indistinguishable_from_best` for scores of two sets.

    Args:
        rows: By row, the scores of each seed; all rows have the same seeds.
        higher_is_better: Direction of the column.

    Returns:
        The names, or None if two rows share fewer than two items of a set.
    """
    sign = 1 if higher_is_better else -1
    areas = {name: sign * mean_area(row) for name, row in rows.items()}
    p_values: list[float] = []
    placements = placements_on_same_items(rows.values())
    if placements is not None and min(map(len, placements[0])) > 1:
        # As a rule. To rank the scores of a row once, and not for each pair, takes a tenth of the time of twelve rows.
        for (above_a, below_a), (above_b, below_b) in combinations(placements, 2):
            p_values.append(placement_difference(above_a - above_b, below_a - below_b)[1])
        return _best_and_equals(areas, p_values)
    for a, b in combinations(rows, 2):
        found = scored_difference(rows[a], rows[b])
        if found is None:
            return None
        assert found[0].p is not None
        p_values.append(found[0].p)
    return _best_and_equals(areas, p_values)


def _best_and_equals(sums: Mapping[str, float], p_values: npt.ArrayLike) -> set[str]:
    """The rows with the largest sum, and those that are not told from one of these by any pair's corrected p.

    Args:
        sums: By row, a number that is larger if the row is better.
        p_values: The p value of each pair of rows, in the order of `itertools.combinations`.
    """
    top = max(sums.values())
    best = np.array([value == top for value in sums.values()])
    a, b = np.triu_indices(len(sums), 1)
    alike = (np.array(holm(p_values)) >= ALPHA) & (best[a] | best[b])
    best[a[alike]] = best[b[alike]] = True
    return {name for name, shown in zip(sums, best, strict=True) if shown}
