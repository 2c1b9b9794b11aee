from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.metrics.intervals import wilson
from bench.metrics.ood import auroc
from bench.metrics.ood_inference import auroc_interval, delong, delong_difference, paired_placements

levels = st.sampled_from([0.8, 0.95, 0.99])
scores = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


def width(interval) -> float:
    return interval.high - interval.low


@given(scores, scores, levels)
def test_the_interval_contains_the_area_has_a_width_and_mirrors(inside, outside, level):
    area, interval = auroc(inside, outside), auroc_interval(inside, outside, level)
    assert 0 <= interval.low <= area <= interval.high <= 1
    assert interval.low < interval.high
    mirrored = auroc_interval(outside, inside, level)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-12)
    mapped = auroc_interval(np.exp(inside), np.exp(outside), level)
    assert (mapped.low, mapped.high) == (interval.low, interval.high)


@given(st.integers(2, 300), st.integers(2, 300))
@settings(max_examples=30)
def test_perfect_separation_is_as_certain_as_the_smaller_set_makes_it(m, n):
    interval, expected = auroc_interval(np.arange(m) + 1.0, -np.arange(n)), wilson(min(m, n), min(m, n))
    assert (interval.low, interval.high) == (pytest.approx(expected.low), 1.0)
    reverse = auroc_interval(-np.arange(m), np.arange(n) + 1.0)
    assert (reverse.low, reverse.high) == (0.0, pytest.approx(1 - expected.low))


@pytest.mark.parametrize(("m", "n"), [(2, 2), (10, 10), (40, 40), (400, 100), (100, 2000), (1000, 1000)])
def test_the_width_falls_as_the_area_goes_to_1(m, n):
    """Normal scores at their quantiles, which are moved apart until the sets are separated."""
    inside, outside = (stats.norm.ppf((np.arange(size) + 0.5) / size) for size in (m, n))
    found = [
        (auroc(inside + shift, outside), auroc_interval(inside + shift, outside)) for shift in np.arange(0, 9, 0.05)
    ]
    areas, widths = [area for area, _ in found], [width(interval) for _, interval in found]
    assert areas == sorted(areas)
    assert areas[-1] == 1.0
    assert all(later <= 1.0001 * earlier for earlier, later in itertools.pairwise(widths))


def test_the_smallest_sets():
    """2 against 2: from four pairs in order to none, no area is known well."""
    for inside, outside, area in (([2, 3], [0, 1], 1.0), ([1, 3], [0, 2], 0.75), ([1, 1], [1, 1], 0.5)):
        interval = auroc_interval(inside, outside)
        assert auroc(inside, outside) == area
        assert width(interval) > 0.6
    assert auroc_interval([2, 3], [0, 1]).low == pytest.approx(wilson(2, 2).low)


def test_equal_scores_say_nothing_but_that_they_tie():
    """The area of constant scores is exactly .5; the sample cannot tell, so that the interval is not a point."""
    interval = auroc_interval(np.zeros(30), np.zeros(20))
    assert 0.25 < interval.low < 0.5 < interval.high < 0.75


def test_many_items_give_the_standard_error_of_delong():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(1, 1, 6000), generator.normal(0, 1.5, 9000)
    ends, reference = auroc_interval(inside, outside), delong(inside, outside)
    assert width(ends) == pytest.approx(width(reference), rel=0.002)
    assert ends.kind == "wilson, delong variance"


def test_both_intervals_refuse_bad_input():
    for function in (auroc_interval, delong):
        with pytest.raises(ValueError, match="out_scores needs at least 2"):
            function([1.0, 2.0], [0.0])
        with pytest.raises(ValueError, match="NaN"):
            function([1.0, np.nan], [0.0, 1.0])
        with pytest.raises(ValueError, match="level"):
            function([1.0, 2.0], [0.0, 1.0], 1.0)


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


def test_delong_claims_no_certainty_from_perfect_separation():
    interval = delong(np.arange(1.0, 51), -np.arange(64.0))
    expected = wilson(50, 50)
    assert (interval.low, interval.high) == (expected.low, 1.0)
    assert interval.kind == "wilson of disjoint pairs"
    constant = delong([1.0] * 30, [1.0] * 20)
    assert (constant.low, constant.high) == (wilson(10, 20).low, wilson(10, 20).high)


def test_a_difference_with_added_items_is_the_formula_of_agresti_and_min():
    """Each set of differences gets half an item at -1, half at 1 and one at 0."""
    generator = np.random.default_rng(3)
    sets = [generator.normal(shift, 1, size) for shift, size in ((1, 30), (0, 40), (0.5, 30), (0, 40))]
    interval, p = delong_difference(*sets)
    middle, variance = [], 0.0
    for part in paired_placements(*sets):
        values, weights = np.concatenate([part, [-1, 1, 0]]), np.concatenate([np.ones(part.size), [0.5, 0.5, 1]])
        middle.append(np.average(values, weights=weights))
        variance += np.average((values - middle[-1]) ** 2, weights=weights) / weights.sum()
    centre, error = np.mean(middle), math.sqrt(variance)
    assert (interval.low, interval.high) == pytest.approx((centre - 1.959964 * error, centre + 1.959964 * error))
    assert p == pytest.approx(2 * stats.norm.sf(abs(centre) / error))


def test_placements_of_unpaired_sets_are_refused():
    with pytest.raises(ValueError, match="out_a and out_b must be on the same items, got 2 and 3"):
        paired_placements([1, 2], [0, 1], [1, 2], [0, 1, 2])
    with pytest.raises(ValueError, match="in_a and in_b must be on the same items, got 3 and 2"):
        paired_placements([1, 2, 3], [0, 1], [1, 2], [0, 1])
    with pytest.raises(ValueError, match="in_b must not be NaN"):
        paired_placements([1, 2], [0, 1], [1, math.nan], [0, 1])
