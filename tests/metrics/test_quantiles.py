from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.quantiles import median_interval


@pytest.mark.parametrize("n", [6, 15, 40, 101])
def test_the_coverage_of_the_median_is_at_least_the_level(n):
    """Of a skewed distribution, whose median is log 2."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        interval = median_interval(generator.exponential(size=n))
        assert interval is not None
        hits += interval.low <= np.log(2) <= interval.high
    assert 0.94 <= hits / 2000 <= 0.99


@pytest.mark.parametrize(("n", "place"), [(6, 1), (8, 1), (9, 2), (20, 6), (100, 40)])
def test_the_ends_are_those_of_the_table(n, place):
    """Conover 1999, table A3: the place of the lower end at a level of at least .95."""
    interval = median_interval(np.arange(1, n + 1))
    assert interval is not None
    assert (interval.low, interval.high) == (place, n + 1 - place)


def test_too_few_values_and_bad_arguments():
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0], level=0.9) is not None
    with pytest.raises(ValueError, match="level must lie in"):
        median_interval([1.0], level=1.0)
    with pytest.raises(ValueError, match="values"):
        median_interval([np.nan])
