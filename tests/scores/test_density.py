from __future__ import annotations

import numpy as np
import pytest

from bench.scores.density import approximate_mass, log_density


def test_the_log_density_is_its_own_score_in_float64():
    values = np.array([-150.25, -np.inf, 3.5], dtype=np.float32)
    scores = log_density(values)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, values)


def test_the_score_is_a_copy_of_the_log_density():
    values = np.array([-150.25, 3.5])
    log_density(values)[0] = 0
    assert values[0] == -150.25


def test_approximate_mass_is_higher_where_the_gradient_is_smaller():
    np.testing.assert_array_equal(approximate_mass([0.0, 2.5, np.inf]), [0.0, -2.5, -np.inf])


@pytest.mark.parametrize("score", [log_density, approximate_mass])
def test_bad_input_is_refused(score):
    with pytest.raises(ValueError, match="2 NaN of 3"):
        score([np.nan, 1.0, np.nan])
    with pytest.raises(ValueError, match=r"shape \(n,\)"):
        score([[1.0, 2.0]])


def test_negative_norms_are_refused():
    with pytest.raises(ValueError, match="1 negative"):
        approximate_mass([1.0, -2.0])
