"""Proportions of repeated random measurements: closed forms, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.intervals import wilson
from bench.metrics.repeated import conditions_proportion, repeated_proportion, repeated_variance


def test_one_run_is_wilsons_interval() -> None:
    for count in (0, 1, 7, 20):
        outcomes = (np.arange(20) < count)[:, None]
        assert repeated_proportion(outcomes) == wilson(count, 20)


def test_equal_runs_say_no_more_than_one() -> None:
    outcomes = np.repeat((np.arange(200) < 50)[:, None], 8, axis=1)
    found, once = repeated_proportion(outcomes), wilson(50, 200)
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=2e-3)
    assert repeated_variance(outcomes)[1] == 0


def test_items_that_all_differ_alike_count_as_often_as_they_were_tried() -> None:
    # Every item is 1 in exactly half of the runs, in a balanced design: only the rest varies.
    outcomes = np.add.outer(np.arange(400), np.arange(4)) % 2
    by_items, by_runs = repeated_variance(outcomes)
    assert by_items == pytest.approx(0.25 / (400 * 4), rel=0.05)
    assert by_runs == 0


def test_what_all_items_of_a_run_share_is_counted() -> None:
    outcomes = np.zeros((1000, 2))
    outcomes[:, 0] = np.arange(1000) < 600
    outcomes[:, 1] = np.arange(1000) < 400
    by_items, by_runs = repeated_variance(outcomes)
    # Means of runs .6 and .4: variance .02, half of it for a mean of two, less the small rest.
    assert by_runs == pytest.approx(0.01, rel=0.01)
    wide = repeated_proportion(outcomes)
    assert wide.low < 0.3
    assert wide.high > 0.7
    assert by_items < 0.001


def test_no_event_in_many_runs_is_no_better_known_than_in_one() -> None:
    found = repeated_proportion(np.zeros((200, 8)))
    assert (found.low, found.high) == (0.0, pytest.approx(wilson(0, 200).high))
    one = np.zeros((200, 8))
    one[0, 0] = 1
    assert repeated_proportion(one).high > 0.9 * found.high
    assert repeated_proportion(1 - one).low < 1 - 0.9 * found.high


def _coverage(a: float, b: float, n: int, runs: int, shared: float, trials: int = 400) -> float:
    """Share of intervals that hold a / (a + b): items draw a probability from a beta distribution, and each run of each
    item is a coin of it, shifted by what the run shares.
    """
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(trials):
        chance = generator.beta(a, b, n)[:, None] + shared * generator.standard_normal(runs)[None]
        found = repeated_proportion(generator.random((n, runs)) < chance)
        hits += found.low <= a / (a + b) <= found.high
    return hits / trials


@pytest.mark.parametrize(
    ("a", "b", "n", "runs"),
    [(1, 3, 200, 8), (0.1, 0.3, 100, 4), (5, 15, 200, 6), (0.05, 0.95, 200, 2), (50, 50, 60, 3)],
)
def test_it_covers_items_and_seeds_of_their_own_noise(a: float, b: float, n: int, runs: int) -> None:
    # Nominal 95 %; the standard error of 400 trials is 1.1 points.
    assert 0.92 <= _coverage(a, b, n, runs, 0.0) <= 0.995


def test_it_covers_noise_that_all_items_share() -> None:
    # One run alone would cover 40 to 60 % here. Few runs say little of their own variance: a few points are missing.
    assert _coverage(5, 5, 200, 4, 0.05) >= 0.87
    assert _coverage(5, 5, 200, 8, 0.05) >= 0.90


def test_conditions_are_no_sample() -> None:
    """Half of the conditions are always right and half never: other items would give the same mean."""
    outcomes = np.repeat((np.arange(8) < 4)[None], 500, axis=0)
    fixed, random = conditions_proportion(outcomes), repeated_proportion(outcomes)
    assert 0.47 < fixed.low < 0.5 < fixed.high < 0.53
    assert random.high - random.low > 0.4


def test_equal_conditions_say_no_more_than_one() -> None:
    assert conditions_proportion(np.ones((20, 1))) == wilson(20, 20)
    outcomes = np.repeat((np.arange(200) < 50)[:, None], 75, axis=1)
    found, once = conditions_proportion(outcomes), wilson(50, 200)
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=2e-3)
    none = conditions_proportion(np.zeros((20, 75)))
    assert (none.low, none.high) == (0, pytest.approx(wilson(0, 20).high))


@pytest.mark.parametrize(("spread", "n"), [(0.0, 100), (1.0, 100), (3.0, 100), (3.0, 1000)])
def test_it_covers_items_under_conditions_of_unequal_difficulty(spread: float, n: int) -> None:
    """An item is right under a condition if its ability, of this spread, exceeds the difficulty, up to noise."""
    generator, difficulty = np.random.default_rng(3), np.linspace(-2, 4, 15)
    share = 1 / (1 + np.exp(difficulty - spread * generator.standard_normal((200_000, 1))))
    hits = 0
    for _ in range(400):
        chance = 1 / (1 + np.exp(difficulty - spread * generator.standard_normal((n, 1))))
        found = conditions_proportion(generator.random((n, 15)) < chance)
        hits += found.low <= share.mean() <= found.high
    # Nominal 95 %; the standard error of 400 trials is 1.1 points. Equal items vary less than the limit of the ratio.
    assert 0.92 <= hits / 400 <= (0.998 if spread else 1)


@pytest.mark.parametrize("outcomes", [[0, 1], [[0.5]], [[]], [[2]]])
def test_other_arrays_are_refused(outcomes: object) -> None:
    with pytest.raises(ValueError, match="outcomes must"):
        repeated_proportion(outcomes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="outcomes must"):
        conditions_proportion(outcomes)  # type: ignore[arg-type]
