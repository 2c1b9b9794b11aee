from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from bench.report.compare import ALPHA, Items, indistinguishable_from_best

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


def test_holm_corrects_within_the_column() -> None:
    """Six errors alone are told from none; twice p = .03125 makes .0625 when another row is tested beside it."""
    rows = {"best": row(range(0)), "six": row(range(6)), "other six": row(range(10, 16))}
    assert indistinguishable_from_best(rows) == {"best", "six", "other six"}
    # Holm, not Bonferroni: a clear loser (ten errors) leaves the other its full alpha.
    rows = {"best": row(range(0)), "six": row(range(6)), "ten": row(range(10, 20))}
    assert indistinguishable_from_best(rows) == {"best"}
    # Two p of .0156 (seven errors) become .031 each, below .05.
    rows = {"best": row(range(0)), "seven": row(range(7)), "other seven": row(range(10, 17))}
    assert indistinguishable_from_best(rows) == {"best"}


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
