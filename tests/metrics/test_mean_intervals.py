from __future__ import annotations

import numpy as np
import pytest

from bench.metrics.mean_intervals import bootstrap_t_mean


def test_normal_values_have_the_t_interval():
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_t_mean(values, seed=0)
    half = 1.966 * values.std(ddof=1) / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.015)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.015)
    assert bootstrap_t_mean(values, seed=0) == interval


def test_the_interval_of_skewed_values_reaches_further_to_the_long_side():
    values = np.random.default_rng(0).exponential(size=100) ** 2
    interval = bootstrap_t_mean(values, seed=0)
    assert interval.high - values.mean() > 1.3 * (values.mean() - interval.low)


def test_it_moves_and_scales_with_the_values():
    values = np.random.default_rng(0).exponential(size=50)
    plain, moved = bootstrap_t_mean(values, seed=0), bootstrap_t_mean(3 * values + 7, seed=0)
    assert moved.low == pytest.approx(3 * plain.low + 7)
    assert moved.high == pytest.approx(3 * plain.high + 7)


def test_one_value_that_differs_leaves_a_finite_interval_about_the_mean():
    values = np.array([20.0] + [1e-9] * 99)
    interval = bootstrap_t_mean(values, seed=0, within=(0, np.inf))
    assert 0 <= interval.low < values.mean() < interval.high < 20
    assert interval.kind in ("bootstrap t", "bootstrap t, cut to its range")


def test_blocks_of_resamples_do_not_change_the_result(monkeypatch):
    values = np.random.default_rng(0).exponential(size=50)
    whole = bootstrap_t_mean(values, seed=0)
    monkeypatch.setattr("bench.metrics.mean_intervals._BLOCK", 5000)
    assert bootstrap_t_mean(values, seed=0) == whole


def test_bad_input_is_refused():
    for options, message in (({"level": 1.0}, "level"), ({"resamples": 9}, "resamples")):
        with pytest.raises(ValueError, match=message):
            bootstrap_t_mean([0.0, 1.0], seed=0, **options)
    with pytest.raises(ValueError, match="1 infinite of 2"):
        bootstrap_t_mean([0.0, np.inf], seed=0)
    with pytest.raises(ValueError, match="at least 2"):
        bootstrap_t_mean([0.0], seed=0)
