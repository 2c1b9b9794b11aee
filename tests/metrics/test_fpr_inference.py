from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import beta

from bench.metrics.intervals import wilson
from bench.metrics.ood import fpr_at_tpr
from bench.metrics.ood_inference import FEWEST, fpr_interval

sides = st.sampled_from(["in", "out"])


@given(st.integers(0, 500), st.integers(20, 120), st.integers(1, 120), sides)
def test_it_lies_in_the_unit_interval_and_has_a_width(seed, m, n, positive):
    generator = np.random.default_rng(seed)
    inside, outside = generator.normal(1, 1, m), generator.normal(size=n)
    interval = fpr_interval(inside, outside, positive=positive)
    assert 0 <= interval.low < interval.high <= 1


@given(st.integers(0, 500), sides)
def test_the_number_lies_in_its_interval(seed, positive):
    generator = np.random.default_rng(seed)
    inside, outside = generator.normal(1, 1, FEWEST), generator.normal(size=FEWEST)
    interval = fpr_interval(inside, outside, positive=positive)
    assert interval.low <= fpr_at_tpr(inside, outside, positive=positive) <= interval.high


def test_only_ranks_count():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(1, 1, 400), generator.normal(size=500)
    assert fpr_interval(inside, outside, positive="in") == fpr_interval(inside**3, outside**3, positive="in")


def test_the_two_directions_mirror_each_other():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(1, 1, 400), generator.normal(size=500)
    assert fpr_interval(inside, outside, positive="in") == fpr_interval(-outside, -inside, positive="out")


def test_a_known_threshold_leaves_the_interval_of_jeffreys():
    """Positive items that are all equal leave no doubt where the threshold is: 30 of 100 others lie above it."""
    interval = fpr_interval(np.zeros(5000), np.where(np.arange(100) < 30, 1.0, -1.0), positive="in")
    expected = beta.ppf([0.025, 0.975], 30.5, 70.5)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=1e-9)


def test_the_error_of_the_threshold_makes_it_wider_than_that_of_a_proportion():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(1, 1, 400), generator.normal(size=4000)
    found = fpr_interval(inside, outside, positive="in")
    known = wilson(round(4000 * fpr_at_tpr(inside, outside, positive="in")), 4000)
    assert found.high - found.low > 2 * (known.high - known.low)


def test_perfect_separation_has_an_upper_end():
    interval = fpr_interval(np.arange(400) + 1e6, np.arange(300), positive="in")
    assert interval.low < 1e-4
    assert 0.005 < interval.high < 0.02


def test_bad_options_of_the_fpr_are_refused():
    for options in ({"tpr": 1.0}, {"level": 0.0}):
        with pytest.raises(ValueError, match=r"must lie in \(0, 1\)"):
            fpr_interval([1.0], [0.0], positive="in", **options)
    with pytest.raises(ValueError, match="positive must be"):
        fpr_interval([1.0], [0.0], positive="id")
    with pytest.raises(ValueError, match="in_scores must not be NaN"):
        fpr_interval([np.nan], [0.0], positive="in")


NORMAL = lambda generator, n: generator.normal(size=n)  # noqa: E731
LEFT = lambda generator, n: -generator.exponential(size=n)  # noqa: E731
PAIRS = [(FEWEST, FEWEST), (400, 400), (2000, 2000), (FEWEST, 2000), (2000, FEWEST)]


def covered(interval, m, n, rate, draw, threshold, spread, repeats=1000):
    """The share of simulated sets whose interval holds the true rate.

    Positive scores come from ``draw``, whose 5 % quantile is the threshold; negative ones are normal with a share
    ``rate`` above it.
    """
    generator = np.random.default_rng(0)
    centre = threshold - spread * ndtri(1 - rate)
    hits = 0
    for _ in range(repeats):
        found = interval(draw(generator, m), generator.normal(centre, spread, n))
        hits += found.low <= rate <= found.high
    return hits / repeats


@pytest.mark.slow
@pytest.mark.parametrize(("m", "n"), PAIRS)
@pytest.mark.parametrize(
    ("rate", "draw", "threshold", "spread"),
    [
        *((rate, NORMAL, ndtri(0.05), 1.0) for rate in (0.1, 0.3, 0.6, 0.9)),
        (0.1, NORMAL, ndtri(0.05), 2.5),
        (0.4, NORMAL, ndtri(0.05), 2.5),
        (0.1, LEFT, np.log(0.05), 1.0),
        (0.4, LEFT, np.log(0.05), 1.0),
    ],
)
def test_its_coverage(m, n, rate, draw, threshold, spread):
    """Within .93 and .97 up to the error of 1000 repeats, whose standard deviation is .007."""
    found = covered(lambda a, b: fpr_interval(a, b, positive="in"), m, n, rate, draw, threshold, spread)
    assert 0.93 - 0.014 < found < 0.97 + 0.014


@pytest.mark.slow
def test_wilson_covers_too_seldom_because_the_threshold_is_not_known():
    def interval(a, b):
        return wilson(round(len(b) * fpr_at_tpr(a, b, positive="in")), len(b))

    assert covered(interval, 400, 400, 0.4, LEFT, np.log(0.05), 1.0) < 0.75
