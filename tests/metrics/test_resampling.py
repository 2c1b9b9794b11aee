from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.frechet import GaussianStats, frechet_distance
from bench.metrics.resampling import (
    allocate,
    error_of_leave_outs,
    leave_outs,
    proportional_size,
    stratified_draws,
)

strata = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def counts_of(labels, rows=None):
    chosen = np.asarray(labels) if rows is None else np.asarray(labels)[rows]
    return {int(s): int(n) for s, n in zip(*np.unique(chosen, return_counts=True), strict=True)}


def test_allocation_by_largest_remainders():
    plenty = {0: 100, 1: 100, 2: 100}
    assert allocate({0: 1, 1: 1, 2: 1}, 10, plenty) == {0: 4, 1: 3, 2: 3}
    assert allocate({0: 0.5, 1: 0.3, 2: 0.2}, 9, plenty) == {0: 4, 1: 3, 2: 2}
    # Where a stratum is used up the others share the rest.
    assert allocate({0: 0.5, 1: 0.3, 2: 0.2}, 100, {0: 10, 1: 100, 2: 100}) == {0: 10, 1: 54, 2: 36}
    # A stratum without items has no share.
    assert allocate({0: 0.5, 1: 0.5}, 6, {1: 8}) == {0: 0, 1: 6}
    with pytest.raises(ValueError, match="larger than the strata"):
        allocate({0: 1.0}, 6, {0: 5, 1: 50})


@given(strata, st.data())
def test_an_allocation_is_complete_and_within_what_there_is(labels, data):
    available = counts_of(labels)
    size = data.draw(st.integers(0, len(labels)))
    shares = {s: data.draw(st.floats(0.01, 1)) for s in available}
    taken = allocate(shares, size, available)
    assert sum(taken.values()) == size
    assert all(0 <= taken[s] <= available[s] for s in available)
    exact = {s: size * share / sum(shares.values()) for s, share in shares.items()}
    if all(math.ceil(exact[s]) <= available[s] for s in available):
        assert all(abs(taken[s] - exact[s]) < 1 for s in available)


def test_the_largest_draw_with_given_shares():
    assert proportional_size({0: 0.5, 1: 0.5}, {0: 40, 1: 40}) == 80
    assert proportional_size({0: 0.5, 1: 0.5}, {0: 30, 1: 50}) == 60
    # The rare class is used up long before; half of the items are drawn all the same.
    assert proportional_size({0: 0.5, 1: 0.5}, {0: 1, 1: 99}) == 50
    assert proportional_size({0: 1.0, 7: 1.0}, {0: 1}) == 1


@given(strata, st.data())
def test_draws_are_stratified_without_repetition_and_use_all_items_evenly(labels, data):
    size = data.draw(st.integers(1, len(labels)))
    draws = stratified_draws(labels, size, 12, seed=3)
    assert len(draws) == (1 if size == len(labels) else 12)
    expected = {
        s: n
        for s, n in allocate({s: float(n) for s, n in counts_of(labels).items()}, size, counts_of(labels)).items()
        if n
    }
    used = np.zeros(len(labels), dtype=int)
    for rows in draws:
        assert len(set(rows.tolist())) == size
        assert counts_of(labels, rows) == expected
        used[rows] += 1
    for stratum in expected:
        of_stratum = used[np.asarray(labels) == stratum]
        assert of_stratum.max() - of_stratum.min() <= 2
    assert all(np.array_equal(a, b) for a, b in zip(draws, stratified_draws(labels, size, 12, seed=3), strict=True))


def test_draws_with_shares_of_their_own():
    labels = [0] * 30 + [1] * 70
    for rows in stratified_draws(labels, 40, 5, 0, {0: 0.5, 1: 0.5}):
        assert counts_of(labels, rows) == {0: 20, 1: 20}


def jackknife_error(statistic, strata, seed, **options):
    return error_of_leave_outs([[statistic(rows) for rows in sets] for sets in leave_outs(strata, seed, **options)])


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=20), st.integers(1, 3))
def test_the_jackknife_of_a_mean_with_groups_of_one_is_the_textbook_standard_error(values, repeats):
    array = np.array(values)
    error = jackknife_error(lambda rows: array[rows].mean(), np.zeros(len(array)), 0, groups=20, repeats=repeats)
    assert error == pytest.approx(array.std(ddof=1) / math.sqrt(len(array)), abs=1e-9)


def test_strata_that_are_fixed_are_not_charged():
    """Two classes of a hundred each, far apart: the mean varies with their numbers, unless these are given."""
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(0, 1, 100), generator.normal(50, 1, 100)])
    labels = np.repeat([0, 1], 100)
    given_classes = jackknife_error(lambda rows: values[rows].mean(), labels, 0, repeats=5)
    by_chance = jackknife_error(lambda rows: values[rows].mean(), np.zeros(200), 0, repeats=5)
    assert given_classes == pytest.approx(1 / math.sqrt(200), rel=0.4)
    assert by_chance == pytest.approx(25 / math.sqrt(200), rel=0.4)


def test_too_few_items_cannot_be_left_out():
    assert leave_outs([0, 0], 0) == []


def test_the_jackknife_covers_the_expected_distance():
    """Of draws of one size: its bias of order 1/n belongs to the expectation. A percentile bootstrap misses it."""
    generator = np.random.default_rng(0)
    reference = GaussianStats(10_000, np.full(5, 0.3), np.eye(5))

    def distance(rows):
        return frechet_distance(reference, GaussianStats.from_features(rows))

    expected = np.mean([distance(generator.normal(size=(120, 5))) for _ in range(400)])
    hits = 0
    for trial in range(150):
        features = generator.normal(size=(120, 5))
        error = jackknife_error(lambda rows, f=features: distance(f[rows]), np.zeros(120), trial)
        hits += abs(distance(features) - expected) <= 1.96 * error
    assert 0.88 <= hits / 150 <= 1.0
