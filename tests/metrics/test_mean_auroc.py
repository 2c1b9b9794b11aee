"""The interval of the mean of AUROCs of the same in-items against several sets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from bench.metrics.intervals import wilson
from bench.metrics.ood import auroc
from bench.metrics.ood_inference import auroc_interval, mean_auroc_interval


def test_the_mean_of_one_area_has_its_interval():
    generator = np.random.default_rng(0)
    pair = generator.normal(1, 1, 60), generator.normal(size=50)
    one, mean = auroc_interval(*pair), mean_auroc_interval([pair])
    assert (mean.low, mean.high) == (one.low, one.high)


def test_the_same_set_twice_tells_as_much_as_two_with_the_same_in_items():
    """Copies of one set are not independent, but the variance counts their items as if they were: it is smaller by
    half of the out-items' share, and never by the in-items'."""
    generator = np.random.default_rng(0)
    pair = generator.normal(1, 1, 60), generator.normal(size=5000)
    one, twice = mean_auroc_interval([pair]), mean_auroc_interval([pair, pair])
    assert twice.high - twice.low == pytest.approx(one.high - one.low, rel=0.01)


def test_separated_sets_have_the_interval_of_as_many_trials_as_the_smallest_has_items():
    interval = mean_auroc_interval([([5.0, 6], [1, 2, 3]), ([5.0, 6], [0, 1])])
    assert (interval.low, interval.high) == pytest.approx((wilson(2, 2).low, 1.0))


def test_bad_pairs_are_refused():
    with pytest.raises(ValueError, match="at least 1 set"):
        mean_auroc_interval([])
    with pytest.raises(ValueError, match="the same in-items"):
        mean_auroc_interval([([1.0, 2], [0.0, 1]), ([1.0, 2, 3], [0.0, 1])])
    with pytest.raises(ValueError, match="level"):
        mean_auroc_interval([([1.0, 2], [0.0, 1])], level=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 400, 2000])
def test_the_coverage_of_the_mean_area(n):
    """One near set and one far one of other size, against the same in-items."""
    generator = np.random.default_rng(0)
    truth = (ndtr(0.5 / np.sqrt(2)) + ndtr(2 / np.sqrt(1 + 4))) / 2
    hits = 0
    for _ in range(1000):
        inside = generator.normal(size=n)
        pairs = [(inside, generator.normal(-0.5, 1, n)), (inside, generator.normal(-2, 2, n // 2))]
        interval = mean_auroc_interval(pairs)
        assert interval.low <= np.mean([auroc(*pair) for pair in pairs]) <= interval.high
        hits += interval.low <= truth <= interval.high
    assert 0.93 - 0.014 < hits / 1000 < 0.97 + 0.014
