from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # here: its first import takes seconds on a busy machine, more than a deadline allows

from bench.metrics.intervals import (
    Interval,
    bootstrap_mean,
    carried_decimals,
    median_interval,
    student_t,
    symmetric,
    wilson,
)

levels = st.sampled_from([0.8, 0.95, 0.99])


def test_an_interval_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        wilson(1, 2).low = 0.0


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), levels)
def test_wilson_agrees_with_scipy_and_mirrors(case, level):
    successes, n = case
    interval = wilson(successes, n, level)
    reference = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert interval.low == pytest.approx(reference.low, abs=1e-12)
    assert interval.high == pytest.approx(reference.high, abs=1e-12)
    assert 0 <= interval.low < interval.high <= 1
    assert interval.low <= successes / n <= interval.high
    mirrored = wilson(n - successes, n, level)
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)


def test_wilson_of_half_of_a_thousand_and_of_the_ends():
    interval = wilson(500, 1000)
    assert (interval.high - interval.low) / 2 == pytest.approx(0.031, abs=0.0005)
    assert (interval.level, interval.kind) == (0.95, "wilson")
    z_squared = 1.959963984540054**2
    assert wilson(0, 20) == Interval(0.0, pytest.approx(z_squared / (20 + z_squared)), 0.95, "wilson")
    assert wilson(20, 20) == Interval(pytest.approx(20 / (20 + z_squared)), 1.0, 0.95, "wilson")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "n must be at least 1"),
        ((3, 2), "successes must lie in"),
        ((-1, 2), "successes must lie in"),
        ((1, 2, 0.0), "level"),
        ((1, 2, 95), "level"),
    ],
)
def test_wilson_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson(*arguments)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=10), levels)
def test_student_t_agrees_with_scipy(values, level):
    interval = student_t(values, level)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    if interval is None:
        assert half <= 1e-10 * np.abs(values).max()
        return
    assert interval.low == pytest.approx(np.mean(values) - half, abs=1e-8)
    assert interval.high == pytest.approx(np.mean(values) + half, abs=1e-8)
    assert (interval.level, interval.kind) == (level, "t")


def test_student_t_of_three_seeds_by_hand():
    # t(2, .975) = 4.302653; sd of 1, 2, 3 is 1.
    interval = student_t([1.0, 2.0, 3.0])
    assert interval.high - 2 == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    assert 2 - interval.low == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


@given(
    st.lists(st.floats(0, 1).map(lambda value: round(value, 9)), min_size=2, max_size=6),
    st.sampled_from([(0.0, 1.0), (0.0, math.inf), (-math.inf, 1.0), (-math.inf, math.inf)]),
)
def test_intervals_over_seeds_stay_in_the_range_and_have_a_width(values, within):
    interval = student_t(values, within=within)
    if interval is None:
        assert max(values) == pytest.approx(min(values), rel=1e-11, abs=0)
        return
    free = student_t(values)
    assert within[0] <= interval.low <= np.mean(values) <= interval.high <= within[1]
    assert interval.low < interval.high
    assert (interval.low, interval.high) == (max(free.low, within[0]), min(free.high, within[1]))
    assert (interval.kind == "t") == (interval == free)


def test_a_cut_is_named():
    assert student_t([0.96, 1.0, 0.95], within=(0, 1)).kind == "t, cut to [0, 1]"
    assert student_t([1.0, 900.0], within=(0, math.inf)).kind == "t, cut to [0, inf)"
    assert student_t([0.5, 0.51, 0.52], within=(0, 1)).kind == "t"


@pytest.mark.parametrize("values", [[0.9, 0.9], [0.0, 0.0, 0.0], [0.1 + 0.2, 0.3]])
def test_equal_values_show_no_spread_so_they_have_no_interval(values):
    """Two seeds that agree by chance had an interval of width zero."""
    assert student_t(values) is None
    assert bootstrap_mean(values, seed=0) is None


def test_a_spread_below_the_resolution_of_numbers_is_none():
    assert student_t([0.0, 1e-219]) is None
    assert bootstrap_mean([0.0, 1e-219], seed=0) is None


def test_an_interval_holds_its_estimate_even_outside_the_range():
    interval = symmetric(1.2, 0.5, 0.95, "t", (0.0, 1.0))
    assert (interval.low, interval.high) == (0.7, 1.2)


@pytest.mark.parametrize("interval", [student_t, lambda values: bootstrap_mean(values, seed=0)])
def test_intervals_of_a_mean_refuse_bad_input(interval):
    with pytest.raises(ValueError, match="at least 2"):
        interval([1.0])
    with pytest.raises(ValueError, match="finite, got 1 infinite of 2"):
        interval([1.0, math.inf])
    with pytest.raises(ValueError, match="NaN"):
        interval([1.0, math.nan])


def test_bootstrap_mean_is_a_function_of_the_seed():
    values = np.random.default_rng(0).exponential(size=200)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)
    assert bootstrap_mean(values, seed=1).kind == "bootstrap-t"


def test_bootstrap_mean_shifts_and_scales_with_the_values():
    values = np.random.default_rng(0).exponential(size=100)
    base, moved = bootstrap_mean(values, seed=3), bootstrap_mean(10 * values - 4, seed=3)
    assert moved.low == pytest.approx(10 * base.low - 4)
    assert moved.high == pytest.approx(10 * base.high - 4)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bootstrap_mean_of_many_values_is_the_normal_interval(level):
    values = np.random.default_rng(0).normal(5, 2, size=3000)
    interval, normal = bootstrap_mean(values, 0, level, resamples=4000), student_t(values, level)
    width = normal.high - normal.low
    assert interval.low == pytest.approx(normal.low, abs=0.05 * width)
    assert interval.high == pytest.approx(normal.high, abs=0.05 * width)


def test_bootstrap_mean_follows_the_skewness_and_stays_in_the_range():
    """Of 100 items three have a large value: a fourth may have been missed, and the mean cannot be negative."""
    values = np.zeros(100)
    values[:3] = 1.0, 4.0, 6.0
    free, cut = bootstrap_mean(values, seed=0), bootstrap_mean(values, seed=0, within=(0, math.inf))
    assert free.high - 0.11 > 2 * (0.11 - free.low)
    assert (cut.high, cut.low) == (free.high, max(free.low, 0.0))
    low = bootstrap_mean(1 - values / 6, seed=0, within=(-math.inf, 0.99))
    assert low.kind == "bootstrap-t, cut to (-inf, 0.99]"


def test_bootstrap_mean_of_more_values_than_are_drawn_one_by_one():
    """Groups of values keep mean, spread and skewness: the ends are those of Hall's expansion (1992, section 3.5)."""
    values = np.random.default_rng(2).exponential(size=30_500)
    interval = bootstrap_mean(values, seed=0, resamples=9999)
    mean, error, skew = values.mean(), values.std() / math.sqrt(values.size), stats.skew(values)
    z = 1.959964
    shift = skew * (2 * z**2 + 1) / (6 * math.sqrt(values.size))
    assert interval.low == pytest.approx(mean - (z - shift) * error, abs=0.06 * error)
    assert interval.high == pytest.approx(mean + (z + shift) * error, abs=0.06 * error)


@pytest.mark.parametrize("n", [1001, 1999, 2001])
def test_one_value_that_differs_gives_an_interval_wherever_it_is(n):
    """Values beyond a whole number of groups take no part in resampling."""
    for seed in range(20):
        interval = bootstrap_mean(np.eye(1, n)[0], seed=seed, within=(0, 1))
        assert 0 <= interval.low <= 1 / n < interval.high < 0.5


def median_coverage(n: int, rank: int) -> float:
    """P(r <= B <= n - r): the exact probability that the median lies between the values at ranks r and n + 1 - r."""
    return float(stats.binom.cdf(n - rank, n, 0.5) - stats.binom.cdf(rank - 1, n, 0.5))


@given(st.integers(1, 200), levels)
def test_the_interval_of_a_median_is_the_narrowest_that_covers(n, level):
    interval = median_interval(np.arange(1.0, n + 1)[::-1], level)
    if interval is None:
        assert median_coverage(n, 1) < level
        return
    rank = int(interval.low)
    assert interval.high == n + 1 - rank
    assert median_coverage(n, rank) >= level > median_coverage(n, rank + 1) or n < 2 * (rank + 1)


def test_the_interval_of_a_median_by_hand():
    """P(2 <= B <= 8) = 1 - 22 / 1024 for ten values; 5 values enclose the median with 1 - 2 / 32 only."""
    assert median_interval([3, 1, 2, 5, 4, 7, 6, 9, 8, math.inf]) == Interval(2.0, 9.0, 0.95, "order statistics")
    assert median_interval([1, 2, 3, 4, math.inf, math.inf]) == Interval(1.0, math.inf, 0.95, "order statistics")
    assert median_interval([1, 2, 3, 4, 5]) is None
    with pytest.raises(ValueError, match="NaN"):
        median_interval([1.0, math.nan])
    with pytest.raises(ValueError, match="level"):
        median_interval([1.0, 2.0], 95)


def test_bootstrap_mean_refuses_too_few_resamples_and_a_bad_level():
    with pytest.raises(ValueError, match="resamples must be at least 100"):
        bootstrap_mean([1.0, 2.0], seed=0, resamples=10)
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([1.0, 2.0], seed=0, level=0)


@pytest.mark.parametrize(
    ("value", "error", "decimals"),
    [
        (4.613, 0.93, 1),
        (9.708, 0.047, 2),
        (263.1, 5.4, 0),
        (263.1, 54.0, 0),
        (0.5, 0.012, 3),  # two digits of an error that begins with 1 or 2
        (0.5, 0.03, 2),
        (12.3, 2.9, 1),
        (12.3, 3.1, 0),
        (1.0, 1.0, 1),
    ],
)
def test_a_number_carries_the_decimals_of_its_standard_error(value, error, decimals):
    assert carried_decimals(value, Interval(value - 2 * error, value + 2 * error, 0.95, "t")) == decimals
    # An end that was cut says nothing of the error.
    assert carried_decimals(value, Interval(value, value + 2 * error, 0.95, "t, cut to [0, 1]")) == decimals


def test_an_interval_without_width_or_end_carries_no_decimals():
    assert carried_decimals(1.5, Interval(1.5, 1.5, 0.95, "t")) == 0
    assert carried_decimals(1.5, Interval(0.0, math.inf, 0.95, "t")) == 0
