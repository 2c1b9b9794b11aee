from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from bench.metrics.paired import holm, mcnemar
from bench.report.bold import ALPHA, indistinguishable_from_best, indistinguishable_over_seeds
from bench.report.items import Items

N = 100


def row(wrong: range, n: int = N) -> Items:
    """Right on all items but those."""
    correct: NDArray[np.bool_] = np.ones(n, dtype=bool)
    correct[list(wrong)] = False
    return np.arange(n, dtype=np.int64), correct


def test_one_row_is_the_best_of_one() -> None:
    assert indistinguishable_from_best({"a": row(range(5))}) == {"a"}


def test_hand_examples() -> None:
    """Best errs nowhere, so an exact McNemar test of k errors has p = 2^(1-k): .03125 for six, .0625 for five."""
    assert binomtest(0, 6).pvalue == pytest.approx(0.03125)
    assert indistinguishable_from_best({"best": row(range(0)), "six": row(range(6))}) == {"best"}
    assert indistinguishable_from_best({"best": row(range(0)), "five": row(range(5))}) == {"best", "five"}


def test_holm_corrects_over_all_pairs_of_the_column() -> None:
    """Six errors alone are told from none; three times p = .03125 makes .094 when another row stands beside it."""
    rows = {"best": row(range(0)), "six": row(range(6)), "other six": row(range(10, 16))}
    assert indistinguishable_from_best(rows) == {"best", "six", "other six"}
    # Three p, of which the two against the best are .0156 (seven errors): .047 and .031, below .05.
    rows = {"best": row(range(0)), "seven": row(range(7)), "other seven": row(range(10, 17))}
    assert indistinguishable_from_best(rows) == {"best"}
    # Holm, not Bonferroni: of the six pairs here the three of a clear loser leave .0156 the factor 3 instead of 6.
    rows = {"best": row(range(0)), "seven": row(range(7)), "other seven": row(range(10, 17)), "loser": row(range(60))}
    assert indistinguishable_from_best(rows) == {"best"}


def equal_rows(k: int, n: int, generator: np.random.Generator) -> dict[str, Items]:
    """Rows of one true accuracy of 1/2 whose errors on an item are correlated by its difficulty."""
    right = generator.normal(size=n) + generator.normal(size=(k, n)) > 0
    return {f"m{i}": (np.arange(n, dtype=np.int64), right[i]) for i in range(k)}


@pytest.mark.parametrize("k", [3, 5, 8])
def test_equal_rows_seldom_lose_bold(k: int) -> None:
    """The best is chosen from the data. Corrected for the tests against it alone, one of the rows loses bold with a
    probability above the level; corrected over all pairs below it.
    """
    generator = np.random.default_rng(k)
    trials, lost, lost_against_best = 500, 0, 0
    for _ in range(trials):
        rows = equal_rows(k, 400, generator)
        lost += len(indistinguishable_from_best(rows)) < k
        best = max(rows, key=lambda name: int(rows[name][1].sum()))
        against_best = [mcnemar(rows[best][1], rows[name][1]) for name in rows if name != best]
        lost_against_best += min(holm(against_best)) < ALPHA
    assert lost / trials <= ALPHA
    assert lost_against_best / trials > ALPHA


def test_a_better_row_is_still_told_from_the_others() -> None:
    generator = np.random.default_rng(0)
    rows = equal_rows(4, 400, generator)
    ids, right = rows["m2"]
    rows["m2"] = ids, right | (generator.random(400) < 0.4)
    assert indistinguishable_from_best(rows) == {"m2"}


def test_only_items_on_which_the_rows_differ_count() -> None:
    """Forty errors against forty-five others: far apart in items, not in accuracy."""
    rows = {"a": row(range(40)), "b": row(range(40, 85))}
    assert indistinguishable_from_best(rows) == {"a", "b"}
    # The same five more errors, all on items that the best has right and none the other way: still p = .0625.
    rows = {"a": row(range(40)), "b": row(range(45))}
    assert indistinguishable_from_best(rows) == {"a", "b"}
    rows = {"a": row(range(40)), "b": row(range(46))}
    assert indistinguishable_from_best(rows) == {"a"}


def test_the_order_of_rows_does_not_count() -> None:
    rows = {"a": row(range(3)), "b": row(range(30)), "c": row(range(2, 6)), "d": row(range(50, 58))}
    found = {
        frozenset(indistinguishable_from_best({name: rows[name] for name in order})) for order in permutations(rows)
    }
    assert len(found) == 1


def test_equal_rows_are_all_best() -> None:
    rows = {"a": row(range(3)), "b": row(range(3)), "c": row(range(60))}
    assert indistinguishable_from_best(rows) == {"a", "b"}


def test_the_direction_decides_who_is_best() -> None:
    rows = {"few": row(range(5)), "many": row(range(50))}
    assert indistinguishable_from_best(rows, higher_is_better=True) == {"few"}
    assert indistinguishable_from_best(rows, higher_is_better=False) == {"many"}


def test_other_items_are_refused() -> None:
    ids, correct = row(range(3))
    with pytest.raises(ValueError, match="measured on different items"):
        indistinguishable_from_best({"a": (ids, correct), "b": (ids + 1, correct)})
    with pytest.raises(ValueError, match="measured on different items"):
        indistinguishable_from_best({"a": (ids, correct), "b": (ids[::-1].copy(), correct)})
    with pytest.raises(ValueError, match="measured on different items"):
        indistinguishable_from_best({"a": (ids, correct), "b": row(range(3), 50)})


def test_the_level() -> None:
    assert ALPHA == 0.05


def values(shift: float) -> Items:
    return np.arange(N, dtype=np.int64), np.random.default_rng(1).normal(0, 1, N) + shift


def test_means_are_compared_by_permutation() -> None:
    rows = {"best": values(1.0), "alike": values(1.0), "less": values(0.9)}
    rows["alike"][1][:] += np.random.default_rng(2).normal(0, 1, N) - 0.05
    assert indistinguishable_from_best(rows, test="permutation") == {"best", "alike"}
    assert indistinguishable_from_best(rows, test="permutation", higher_is_better=False) >= {"less"}
    # A shift of every item is seen however small it is: pairs, not samples, are compared.
    assert "less" not in indistinguishable_from_best({"best": values(1.0), "less": values(0.999)}, test="permutation")


def test_all_seeds_count_when_families_are_compared() -> None:
    """More than twenty seeds cannot be enumerated; the first twenty alone would not tell these rows apart."""
    even = dict.fromkeys(range(60), 0.0)
    late = {seed: (0.01 if seed % 2 else -0.01) if seed < 20 else 0.02 for seed in range(60)}
    assert indistinguishable_over_seeds({"even": even, "late": late}) == {"late"}
    first = {seed: value for seed, value in late.items() if seed < 20}
    both = indistinguishable_over_seeds({"even": dict.fromkeys(first, 0.0), "late": first})
    assert both == {"even", "late"}
    assert indistinguishable_over_seeds({"even": {1: 0.0}, "late": {1: 1.0}}) is None
