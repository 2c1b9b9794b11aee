from __future__ import annotations

import numpy as np
import pytest

from bench.attacks.norms import (
    mean_over_successes,
    median_with_failures,
    norms_with_failures,
    summarise_norms,
)


def test_failures_count_in_the_median_but_not_in_the_mean() -> None:
    norms = norms_with_failures(np.array([1.0, 2.0, 0.0, 6.0, 0.0]), np.array([True, True, False, True, False]))
    assert mean_over_successes(norms) == 3.0
    assert median_with_failures(norms) == 6.0
    summary = summarise_norms(norms)
    assert (summary.successes, summary.attacked, summary.success_rate) == (3, 5, 0.6)


def test_half_failures_make_the_median_infinite() -> None:
    assert median_with_failures(np.array([1.0, 2.0, np.inf, np.inf])) == np.inf
    assert median_with_failures(np.array([1.0, 2.0, 3.0, np.inf])) == 2.5


def test_nothing_attacked_is_not_a_number() -> None:
    summary = summarise_norms(np.array([]))
    assert np.isnan([summary.mean_over_successes, summary.median, summary.success_rate]).all()


@pytest.mark.parametrize("norms", [[-1.0], [np.nan], [[1.0]]])
def test_what_is_no_norm_is_refused(norms: list[float]) -> None:
    with pytest.raises(ValueError, match="norms must be"):
        summarise_norms(np.array(norms))
