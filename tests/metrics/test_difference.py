from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from bench.metrics.difference import (
    Difference,
    accuracy_difference,
    auroc_difference,
    mean_difference,
    seed_difference,
    share_difference,
    unpaired_seed_difference,
)
from bench.metrics.intervals import Interval
from bench.metrics.ood import auroc
from bench.metrics.paired import mcnemar, sign_flip


def pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def mirrored(found: Difference) -> tuple[float, float, float]:
    assert found.interval is not None
    return -found.value, -found.interval.high, -found.interval.low


def numbers(found: Difference) -> tuple[float, float, float]:
    assert found.interval is not None
    return found.value, found.interval.low, found.interval.high


def test_the_interval_of_equal_correctness_is_known_in_closed_form():
    z_squared = 1.959963984540054**2
    _, low, high = numbers(accuracy_difference(*pairs(40, 0, 0, 10)))
    assert (low, high) == pytest.approx((-z_squared / (50 + z_squared), z_squared / (50 + z_squared)))


@pytest.mark.parametrize("counts", [(43, 0, 1, 0), (36, 12, 2, 0), (36, 14, 0, 0), (5, 3, 9, 8), (0, 6, 0, 1)])
def test_the_ends_of_the_interval_of_accuracies_solve_the_score_equation(counts):
    """The nuisance parameter is found here by maximising the likelihood of the four cells."""
    n, (_, only_a, only_b, _) = sum(counts), counts
    for end, z in zip(numbers(accuracy_difference(*pairs(*counts)))[1:], (1.959964, -1.959964), strict=True):

        def loss(q: float, delta: float = end) -> float:
            cells = stats.multinomial.logpmf(
                [n - only_a - only_b, only_a, only_b], n, [1 - delta - 2 * q, q + delta, q]
            )
            return float(-cells)

        least, most = max(0.0, -end), (1 - end) / 2
        q = optimize.minimize_scalar(loss, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x
        statistic = (only_a - only_b - n * end) / math.sqrt(n * (2 * q + end - end**2))
        assert statistic == pytest.approx(z, abs=1e-3)


@given(st.integers(0, 30), st.integers(0, 20), st.integers(0, 20), st.integers(1, 30))
@settings(deadline=None)
def test_the_difference_of_accuracies_mirrors_and_has_the_p_of_mcnemar(both, only_a, only_b, neither):
    a, b = pairs(both, only_a, only_b, neither)
    found, other = accuracy_difference(a, b), accuracy_difference(b, a)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert mirrored(found) == pytest.approx(numbers(other), abs=1e-9)
    assert found.p == other.p == mcnemar(a, b)
    value, low, high = numbers(found)
    assert -1 <= low <= value <= high <= 1
    assert low < high
    if found.p < 0.05:
        assert low > 0 or high < 0


def test_the_score_interval_excludes_0_exactly_if_the_score_test_rejects():
    for only_a in range(13):
        found = accuracy_difference(*pairs(20, only_a, 3, 20))
        z = abs(only_a - 3) / math.sqrt(only_a + 3)
        _, low, high = numbers(found)
        assert (low > 0 or high < 0) == (z > 1.959964)


@given(st.integers(0, 1000), st.floats(-0.5, 0.5))
@settings(max_examples=40, deadline=None)
def test_the_interval_of_means_excludes_0_exactly_if_p_is_at_most_5_percent(seed, shift):
    generator = np.random.default_rng(seed)
    a, b = generator.exponential(1, (2, 40))
    found, other = (mean_difference(*both, seed=3, resamples=999) for both in ((a + shift, b), (b, a + shift)))
    assert found.p == other.p
    assert mirrored(found) == pytest.approx(numbers(other))
    value, low, high = numbers(found)
    assert value == pytest.approx(np.mean(a + shift) - b.mean())
    assert (low > 0 or high < 0) == (found.p <= 0.05)
    assert found.smallest_p == 0.001 <= found.p


def test_the_difference_of_means_of_many_normal_values_is_that_of_student():
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.1, 1, 2000), generator.normal(0, 1, 2000)
    found, expected = mean_difference(a, b, seed=0), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue, rel=0.1, abs=0.002)
    interval = expected.confidence_interval()
    assert numbers(found)[1:] == pytest.approx((interval.low, interval.high), abs=0.004)
    assert found == mean_difference(a, b, seed=0)
    assert found != mean_difference(a, b, seed=1)


def test_means_that_differ_by_the_same_on_all_items_have_no_interval():
    assert mean_difference([1, 2, 3], [1, 2, 3], seed=0) == Difference(0.0, None, 1.0, "bootstrap-t", 1e-4)
    found = mean_difference([2, 3, 4], [1, 2, 3], seed=0)
    assert (found.value, found.interval, found.p) == (1.0, None, None)


def test_one_item_that_differs_is_no_evidence():
    """Most resamples of such differences are all equal, and have no t statistic of their own."""
    found = mean_difference(np.eye(1, 100)[0], np.zeros(100), seed=0)
    _, low, high = numbers(found)
    assert found.p > 0.2
    assert low < 0 < high < 0.2


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_the_difference_of_aurocs_agrees_with_its_p_and_mirrors(seed):
    generator = np.random.default_rng(seed)
    scores = [generator.integers(0, 9, n) / 2 + shift for n, shift in ((20, 1), (30, 0), (20, 0.3), (30, 0))]
    found, other = auroc_difference(*scores), auroc_difference(*scores[2:], *scores[:2])
    value, low, high = numbers(found)
    assert value == pytest.approx(auroc(*scores[:2]) - auroc(*scores[2:]))
    assert mirrored(found) == pytest.approx(numbers(other))
    assert found.p == pytest.approx(other.p)
    assert low <= value <= high
    assert (low > 0 or high < 0) == (found.p < 0.05)


def test_many_items_give_the_test_of_delong():
    generator = np.random.default_rng(1)
    signal = generator.normal(0, 1, 4000)
    a, b = (signal + scale * generator.normal(0, 1, 4000) for scale in (1.0, 1.1))
    found = auroc_difference(a[:2000] + 1, a[2000:], b[:2000] + 1, b[2000:])
    kernels = [(one[:2000, None] + 1 > one[2000:]) * 1.0 for one in (a, b)]
    parts = [(kernels[0] - kernels[1]).mean(axis) for axis in (1, 0)]
    error = math.sqrt(sum(part.var(ddof=1) / 2000 for part in parts))
    value, low, high = numbers(found)
    assert value == pytest.approx(parts[0].mean())
    assert (high - low) / (2 * 1.959964) == pytest.approx(error, rel=0.02)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(value) / error), abs=0.02)


def test_scores_of_the_smallest_sets_are_not_called_different():
    perfect, reversed_ = ([2, 3], [0, 1]), ([0, 1], [2, 3])
    assert auroc_difference(*perfect, *perfect).p == 1.0
    found = auroc_difference(*perfect, *reversed_)
    assert numbers(found)[0] == 1.0
    assert found.p > 0.01
    assert found.interval.high == 1.0
    constant = ([0, 0], [0, 0])
    assert auroc_difference(*constant, *constant).p == 1.0


def test_increasing_maps_of_one_score_are_not_called_different():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(1, 1, 20), generator.normal(0, 1, 30)
    assert auroc_difference(inside, outside, np.exp(inside), np.exp(outside)).p == 1.0


def test_a_difference_over_seeds_has_the_t_interval_and_the_p_of_sign_flips():
    d = [0.010, 0.012, 0.011]
    found = seed_difference(d)
    reference = stats.ttest_1samp(d, 0).confidence_interval()
    assert numbers(found) == pytest.approx((0.011, reference.low, reference.high))
    assert found.p == found.smallest_p == sign_flip(d) == 0.25
    assert seed_difference([0.5]) == Difference(0.5, None, 1.0, "sign flip over seeds", 1.0)
    assert seed_difference([0.5, 0.5]).interval is None


def test_more_seeds_than_can_be_enumerated_are_tested_too():
    found = seed_difference(np.linspace(0.1, 0.2, 25))
    assert found.p == found.smallest_p == 1e-4
    assert seed_difference(np.linspace(-0.1, 0.1, 25)).p > 0.9


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 6))
def test_a_difference_between_unpaired_seeds_is_that_of_welch(seed, k, m):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(0.5, 1, k), generator.normal(0, 3, m)
    found, expected = unpaired_seed_difference(a, b), stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert numbers(found)[1:] == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_unpaired_seeds_without_spread_have_neither_interval_nor_p():
    assert unpaired_seed_difference([1, 1], [2, 2]) == Difference(-1.0, None, None, "Welch t")
    assert isinstance(unpaired_seed_difference([1, 1], [2, 2.1]).interval, Interval)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (accuracy_difference, ([1], [1, 0]), "same items, got 1 and 2"),
        (accuracy_difference, ([1], [1], 95), "level must lie"),
        (mean_difference, ([1, 2], [1, 2, 3], 0), "same items, got 2 and 3"),
        (mean_difference, ([1], [1], 0), "at least 2"),
        (mean_difference, ([1, math.inf], [1, 2], 0), "must be finite"),
        (mean_difference, ([1, 2], [1, 2], 0, 0.95, 9), "resamples must be at least 99"),
        (auroc_difference, ([1, 2], [0, 1], [1, 2], [0, 1, 2]), "out_a and out_b must be on the same items"),
        (seed_difference, ([],), "at least 1"),
        (seed_difference, ([math.inf],), "finite"),
        (unpaired_seed_difference, ([1], [1, 2]), "at least 2"),
        (unpaired_seed_difference, ([1, math.inf], [1, 2]), "must be finite"),
        (unpaired_seed_difference, ([1, 2], [1, 2], 0), "level must lie"),
    ],
)
def test_bad_input_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_few_items_are_not_resampled():
    """Two items that differ alike gave the smallest p of the bootstrap, .0001."""
    found = mean_difference([1.0, 2.0], [0.0, 0.0], seed=0)
    assert (found.p, found.smallest_p) == (0.5, 0.5)
    assert found.interval is not None
    assert found.interval.low < 0
    generator, rejected = np.random.default_rng(0), 0
    for _ in range(400):
        p = mean_difference(generator.normal(size=8), np.zeros(8), seed=0).p
        rejected += p is not None and p <= 0.05
    assert rejected <= 32  # 5 % of 400, and three standard errors


def test_rounding_is_no_difference():
    a = np.array([0.1 + 0.2, 0.7, 0.3] * 10)
    b = np.array([0.3, 0.7, 0.1 + 0.2] * 10)
    found = mean_difference(a, b, seed=0)
    assert (found.value, found.p, found.interval) == (0.0, 1.0, None)


def test_shares_have_added_pairs():
    """One item of 100 differs in all seeds: 1/102 -+ 1.96 sqrt((2/102 - 1/102^2) / 102), and p is that of one sign."""
    a, b = np.r_[1.0, np.full(99, 2 / 3)], np.r_[0.0, np.full(99, 2 / 3)]
    found = share_difference(a, b, seed=0)
    half = 1.959964 * np.sqrt((2 / 102 - 1 / 102**2) / 102)
    assert found.interval is not None
    assert (found.value, found.p) == (pytest.approx(0.01), 1.0)
    assert [found.interval.low, found.interval.high] == pytest.approx([1 / 102 - half, 1 / 102 + half], abs=1e-6)
    bootstrap = mean_difference(a, b, seed=0).interval
    assert bootstrap is not None
    assert bootstrap.high - bootstrap.low > 3 * (found.interval.high - found.interval.low)


@given(st.lists(st.tuples(st.sampled_from([0, 1 / 3, 2 / 3, 1]), st.sampled_from([0, 1 / 3, 2 / 3, 1])), min_size=1))
def test_shares_are_antisymmetric_and_in_range(pairs):
    a, b = np.array(pairs).T
    found, turned = share_difference(a, b, seed=1), share_difference(b, a, seed=1)
    assert found.interval is not None
    assert turned.interval is not None
    assert (turned.value, turned.p) == (pytest.approx(-found.value), pytest.approx(found.p))
    assert turned.interval.low == pytest.approx(-found.interval.high)
    assert -1 <= found.interval.low < found.interval.high <= 1


def test_no_shares_are_refused():
    with pytest.raises(ValueError, match=r"shares_b must lie in \[0, 1\], got 0 … 1.5"):
        share_difference([1, 0], [0, 1.5], seed=0)
    with pytest.raises(ValueError, match="same items"):
        share_difference([1, 0], [0], seed=0)
