from __future__ import annotations

import numpy as np
import pytest

from bench.scores import SCORES

# One in- and one out-of-distribution item, as each output shows them.
OUTPUTS = {
    "log_density": np.array([-10.0, -200.0]),
    "logits": np.array([[9.0, 0.0, 0.0], [1.0, 0.9, 1.1]]),
    "gradient_norm": np.array([0.1, 12.0]),
}


def test_the_names():
    assert set(SCORES) == {"log-density", "max-probability", "approximate-mass"}
    assert {score.output for score in SCORES.values()} == set(OUTPUTS)


@pytest.mark.parametrize("name", ["log-density", "max-probability", "approximate-mass"])
def test_every_score_is_higher_in_distribution_and_says_what_it_is(name):
    score = SCORES[name]
    values = score.function(OUTPUTS[score.output])
    assert values.dtype == np.float64
    assert values.shape == (2,)
    assert values[0] > values[1]
    assert score.definition
    assert score.source


def test_the_mapping_cannot_be_changed():
    with pytest.raises(TypeError):
        SCORES["other"] = SCORES["log-density"]
