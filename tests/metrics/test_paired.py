from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.metrics.paired import (
    holm,
    mcnemar,
    mcnemar_pairs,
    permutation_mean,
    permutation_pairs,
    sign_flip,
    smallest_sign_flip_p,
)


def outcomes(both, only_a, only_b, neither):
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@given(st.integers(0, 30), st.integers(0, 60), st.integers(0, 60), st.integers(1, 30))
def test_mcnemar_is_the_binomial_test_of_the_items_that_differ(both, only_a, only_b, neither):
    a, b = outcomes(both, only_a, only_b, neither)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(b, a) == mcnemar(a, b)


def test_mcnemar_by_hand():
    # 1 against 5 of 6: 2 (C(6,0) + C(6,1)) / 64.
    assert mcnemar(*outcomes(100, 1, 5, 3)) == pytest.approx(14 / 64)
    assert mcnemar([True, False], [True, False]) == 1.0
    assert mcnemar(*outcomes(0, 3, 3, 0)) == 1.0


@given(st.integers(1, 6), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_mcnemar_of_all_pairs_is_that_of_each(k, n, seed):
    draw = np.random.default_rng(seed)
    correct = draw.random((k, n)) < draw.random((k, 1))
    expected = [mcnemar(a, b) for a, b in itertools.combinations(correct, 2)]
    assert mcnemar_pairs(correct).tolist() == expected  # to the bit: bold face hangs on it


def test_mcnemar_of_all_pairs_refuses_bad_input():
    for bad in ([[0.5]], [[]], [1, 0]):
        with pytest.raises(ValueError, match="correct must"):
            mcnemar_pairs(bad)


def test_mcnemar_refuses_bad_input():
    with pytest.raises(ValueError, match="same items, got 2 and 1"):
        mcnemar([True, False], [True])
    with pytest.raises(ValueError, match="0 and 1 only"):
        mcnemar([0.5], [1])


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9), st.sampled_from([1.0, 0.1, 1e-4]))
def test_sign_flip_equals_the_enumeration_in_integers(whole, unit):
    sums = [
        abs(sum(s * d for s, d in zip(signs, whole, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(whole))
    ]
    expected = sum(value >= abs(sum(whole)) for value in sums) / len(sums)
    # Multiples of 0.1 are inexact: ties must survive the rounding.
    assert sign_flip([unit * d for d in whole]) == expected


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.randoms())
def test_sign_flip_ignores_sign_and_order_and_respects_its_floor(differences, random):
    p = sign_flip(differences)
    assert smallest_sign_flip_p(len(differences)) <= p <= 1
    assert sign_flip([-d for d in differences]) == p
    assert sign_flip(random.sample(differences, len(differences))) == p


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 20])
def test_differences_of_one_sign_reach_the_smallest_p(k):
    assert sign_flip(np.linspace(0.5, 0.9, k)) == smallest_sign_flip_p(k) == 2.0 ** (1 - k)


def test_five_seeds_cannot_be_significant_and_six_can():
    assert smallest_sign_flip_p(5) > 0.05 > smallest_sign_flip_p(6)


def test_sign_flip_of_no_difference_is_one():
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip([1.0, -1.0]) == 1.0


def test_sign_flip_refuses_bad_input():
    with pytest.raises(ValueError, match="at most 20 differences"):
        sign_flip(np.ones(21))
    with pytest.raises(ValueError, match="at least 1"):
        sign_flip([])
    with pytest.raises(ValueError, match="NaN"):
        sign_flip([1.0, math.nan])
    with pytest.raises(ValueError, match="finite"):
        sign_flip([1.0, math.inf])
    with pytest.raises(ValueError, match="k must be at least 1"):
        smallest_sign_flip_p(0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, alpha):
    adjusted = holm(p_values)
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > alpha:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(adjusted) if p <= alpha} == rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_lies_between_the_raw_and_the_bonferroni_value_and_follows_the_order(p_values, random):
    adjusted = holm(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, raw * len(p_values))
    order = random.sample(range(len(p_values)), len(p_values))
    assert holm([p_values[i] for i in order]) == [adjusted[i] for i in order]


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        holm([0.5, 1.5])
    with pytest.raises(ValueError, match="NaN"):
        holm([math.nan])


def exact_p(whole: list[int]) -> float:
    """The law of the sum of integers with random signs, by convolution."""
    reach = sum(map(abs, whole))
    law = np.zeros(2 * reach + 1)
    law[reach] = 1.0
    for value in whole:
        law = (np.roll(law, value) + np.roll(law, -value)) / 2
    sums = np.arange(-reach, reach + 1)
    return float(law[np.abs(sums) >= abs(sum(whole))].sum())


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20), st.sampled_from([1.0, 0.1]))
@settings(max_examples=30, deadline=None)
def test_permutation_of_few_pairs_is_exact(whole, unit):
    base = np.linspace(0, 1, len(whole)) if unit == 1.0 else np.zeros(len(whole))
    p = permutation_mean(base + unit * np.array(whole), base, seed=0)
    assert p == pytest.approx(exact_p(whole), abs=1e-12)


def test_permutation_of_few_pairs_is_scipys():
    rng = np.random.default_rng(5)
    for n in (2, 7, 12):
        a, b = rng.exponential(1, n), rng.exponential(1.3, n)
        expected = stats.permutation_test(
            (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=1e6
        )
        assert permutation_mean(a, b, seed=0) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_random_permutations_of_many_pairs_approach_the_exact_value(shift):
    whole = [int(value) + shift for value in np.random.default_rng(shift).integers(-8, 9, 120)]
    p, exact = permutation_mean(np.array(whole), np.zeros(120), seed=3), exact_p(whole)
    assert p == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 9999) + 1e-4)
    assert p >= 1e-4


def test_permutation_is_symmetric_deterministic_and_keeps_its_level():
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        a, b = rng.exponential(1, (2, 30))
        p = permutation_mean(a, b, seed=1, resamples=199)
        assert p == permutation_mean(b, a, seed=1, resamples=199)
        rejected += p < 0.05
    assert rejected <= 400 * 0.05 + 4 * math.sqrt(400 * 0.05 * 0.95)


def test_permutation_tests_the_mean_where_ranks_and_signs_see_the_opposite():
    """Most items prefer b by little, a few prefer a by much: the means are what is compared."""
    a, b = np.zeros(60), np.full(60, 0.01)
    a[:10] = 5.0
    assert a.mean() > b.mean()
    assert stats.binomtest(10, 60).pvalue < 0.001  # the sign test: b is larger
    assert permutation_mean(a, b, seed=0) < 0.01  # a is larger
    assert permutation_mean(a, a, seed=0) == 1.0


def test_permutation_refuses_bad_input():
    with pytest.raises(ValueError, match="same items, got 2 and 1"):
        permutation_mean([1.0, 2.0], [1.0], seed=0)
    with pytest.raises(ValueError, match="must be finite"):
        permutation_mean([np.inf], [1.0], seed=0)
    with pytest.raises(ValueError, match="resamples must be at least 99"):
        permutation_mean([1.0], [1.0], seed=0, resamples=9)
    with pytest.raises(ValueError, match="at least 1"):
        permutation_mean([], [], seed=0)


@given(st.integers(2, 4), st.integers(1, 18), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_pairs_that_differ_in_few_items_are_exact_in_the_order_of_combinations(models, items, seed):
    rows = np.random.default_rng(seed).integers(-3, 4, (models, items)).astype(float)
    expected = [permutation_mean(rows[a], rows[b], seed=0) for a, b in itertools.combinations(range(models), 2)]
    assert permutation_pairs(rows, seed=0) == pytest.approx(expected, abs=1e-12)


def test_random_permutations_of_all_pairs_approach_the_exact_values():
    rows = np.random.default_rng(1).integers(-8, 9, (4, 120)) + np.array([[0], [0], [1], [2]])
    for (a, b), p in zip(itertools.combinations(rows, 2), permutation_pairs(rows, seed=3), strict=True):
        exact = exact_p((a - b).tolist())
        assert p == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 9999) + 1e-4)


def test_ties_of_pairs_survive_large_values_and_pairs_may_be_of_both_kinds():
    """A sum of 0 ties with every pattern, although values are 2^30 times the differences; two rows are equal."""
    signs = np.tile([1.0, -1.0], 12)
    common = np.random.default_rng(0).uniform(1e3, 2e3, 24)
    rows = np.stack([common, common + 2.0**-20 * signs, common, common + 2.0**-20 * np.abs(signs)])
    tied, equal, apart, *_ = permutation_pairs(rows, seed=0)
    assert (tied, equal) == (1.0, 1.0)  # every sum is at least 0, and no item differs
    assert apart == pytest.approx(2 * math.exp(-12))  # all signs are equal: Hoeffding's bound is that of 24 items


def test_permutations_of_pairs_keep_their_level_and_refuse_bad_input():
    rng = np.random.default_rng(0)
    below = sum(
        (permutation_pairs(rng.exponential(1, (3, 30)), seed=1, resamples=199) < 0.05).sum() for _ in range(200)
    )
    assert below <= 600 * 0.05 + 5 * math.sqrt(600 * 0.05 * 0.95)
    with pytest.raises(ValueError, match="values must be finite"):
        permutation_pairs([[1.0, np.inf], [0.0, 0.0]], seed=0)
    with pytest.raises(ValueError, match="resamples must be at least 99"):
        permutation_pairs([[1.0], [0.0]], seed=0, resamples=9)
    with pytest.raises(ValueError, match="n, m >= 1"):
        permutation_pairs([[], []], seed=0)


@pytest.mark.parametrize("huge", [0.0, 1e8, 1e12, 1e16, 1e300])
@pytest.mark.parametrize("count", [1, 3])
def test_rows_of_huge_values_do_not_hide_how_others_differ(huge: float, count: int) -> None:
    """A third row of 1e12, such as the NLL of a model that broke, made two others equal."""
    draw = np.random.default_rng(0)
    good = draw.gamma(1.0, 1.0, 200)
    rows = [good, good + draw.normal(0.25, 1, 200), *(huge * draw.normal(size=(count, 200)))]
    alone = permutation_mean(rows[0], rows[1], seed=0, resamples=99999)
    assert 1e-4 < alone < 0.05
    p = permutation_pairs(rows, seed=0, resamples=99999)[0]
    assert p == pytest.approx(alone, rel=0.25)


def test_pairs_that_are_settled_early_are_valid() -> None:
    """Against pairs alone: large p from fewer patterns, and tiny ones from the upper bound."""
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(6, 60)) + np.array([[0], [0], [0.1], [0.3], [1.0], [5.0]])
    for (a, b), p in zip(
        itertools.combinations(rows, 2), permutation_pairs(rows, seed=1, resamples=50_000), strict=True
    ):
        alone = permutation_mean(a, b, seed=2, resamples=50_000)
        d = a - b
        bound = 2 * math.exp(-(d.sum() ** 2) / (2 * (d**2).sum()))
        assert p <= bound * 1.2
        assert p == pytest.approx(alone, rel=0.15, abs=1e-4)
