from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # here: its first import takes seconds on a busy machine, more than a deadline allows

from bench.metrics.intervals import Interval, bootstrap_mean, carried_decimals, delong, student_t, symmetric, wilson
from bench.metrics.ood import auroc

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


@given(st.integers(0, 10_000), levels)
def test_delong_equals_the_pairwise_formula(seed, level):
    generator = np.random.default_rng(seed)
    inside, outside = generator.integers(0, 9, 25) / 2 + 1, generator.integers(0, 9, 17) / 2
    kernel = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    area = kernel.mean()
    variance = ((kernel.mean(1) - area) ** 2).sum() / (24 * 25) + ((kernel.mean(0) - area) ** 2).sum() / (16 * 17)
    half = {0.8: 1.2815515655, 0.95: 1.9599639845, 0.99: 2.5758293035}[level] * math.sqrt(variance)
    interval = delong(inside, outside, level)
    assert interval.kind == "delong, logit scale"
    # The interval is symmetric in log(area / (1 - area)), whose derivative is 1 / (area (1 - area)).
    for end, sign in ((interval.low, -1), (interval.high, 1)):
        expected = sign * half / (area * (1 - area))
        assert math.log(end / (1 - end)) - math.log(area / (1 - area)) == pytest.approx(expected, rel=1e-6)
    assert 0 < interval.low < area < interval.high < 1


def test_delong_standard_error_agrees_with_the_stratified_bootstrap():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(1, 1, 600), generator.normal(0, 1.5, 900)
    areas = [auroc(generator.choice(inside, 600), generator.choice(outside, 900)) for _ in range(1500)]
    interval = delong(inside, outside)
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(np.std(areas), rel=0.06)
    mirrored = delong(outside, inside)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - interval.high, 1 - interval.low))


@pytest.mark.parametrize(("distance", "sizes"), [(1.0, (80, 120)), (3.29, (40, 40))])
def test_delong_covers_the_true_area(distance, sizes):
    """Near an area of 1 too: two sets of 40 at .99, where the normal interval that is cut to [0, 1] covers 83 %."""
    generator = np.random.default_rng(0)
    truth = 0.5 * (1 + math.erf(distance / 2))  # two unit Gaussians at that distance: Phi(distance / sqrt(2))
    hits = 0
    for _ in range(1000):
        interval = delong(generator.normal(distance, 1, sizes[0]), generator.normal(0, 1, sizes[1]))
        hits += interval.low <= truth <= interval.high
    assert hits / 1000 == pytest.approx(0.95, abs=0.022)


def test_delong_claims_no_certainty_from_perfect_separation():
    interval = delong(np.arange(1.0, 51), -np.arange(64.0))
    expected = wilson(50, 50)
    assert (interval.low, interval.high) == (expected.low, 1.0)
    assert interval.kind == "wilson of disjoint pairs"
    constant = delong([1.0] * 30, [1.0] * 20)
    assert (constant.low, constant.high) == (wilson(10, 20).low, wilson(10, 20).high)


def test_delong_refuses_bad_input():
    with pytest.raises(ValueError, match="out_scores needs at least 2"):
        delong([1.0, 2.0], [0.0])
    with pytest.raises(ValueError, match="NaN"):
        delong([1.0, np.nan], [0.0, 1.0])
    with pytest.raises(ValueError, match="level"):
        delong([1.0, 2.0], [0.0, 1.0], 1.0)


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
    assert bootstrap_mean(values, seed=1).kind == "bootstrap percentile"


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


def test_bootstrap_mean_covers_the_true_mean():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        interval = bootstrap_mean(generator.exponential(size=100), seed=trial, resamples=300)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


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
