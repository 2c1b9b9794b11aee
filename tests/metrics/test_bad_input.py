"""Every public function of `bench.metrics` refuses every kind of bad argument with an error that names it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bench.metrics
from bench.metrics import GaussianStats

RNG = np.random.default_rng(0)
N = 30
PROBS = RNG.dirichlet(np.ones(4), N)
VECTOR, OTHER = RNG.uniform(0.3, 1, N), RNG.uniform(0.3, 1, N)
FEATURES, MORE = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 3))
CORRECT = RNG.integers(0, 2, N).astype(bool)

GOOD: dict[str, Any] = {
    "a": FEATURES,
    "b": MORE,
    "binning": "width",
    "bins": 10,
    "coef0": 1.0,
    "confidence": VECTOR,
    "correct": CORRECT,
    "correct_a": CORRECT,
    "correct_b": ~CORRECT,
    "degree": 3,
    "differences": VECTOR[:8] - 0.6,
    "draws": 200,
    "edges": "right",
    "features": FEATURES,
    "gamma": 0.5,
    "in_a": VECTOR,
    "in_b": OTHER,
    "in_scores": VECTOR,
    "k": 2,
    "labels": RNG.integers(0, 4, N),
    "least": 10,
    "level": 0.9,
    "log_probs": np.log(PROBS),
    "logits": np.log(PROBS) * 2,
    "n": 10,
    "out_a": OTHER,
    "out_b": VECTOR,
    "out_scores": OTHER,
    "p_values": [0.01, 0.5],
    "points": 5,
    "positive": "in",
    "probs": PROBS,
    "queries": FEATURES,
    "real": FEATURES,
    "reference": MORE,
    "resamples": 200,
    "rule": "<",
    "samples": MORE,
    "seed": 0,
    "splits": 3,
    "subset_size": 10,
    "subsets": 2,
    "successes": 3,
    "tpr": 0.9,
    "values": VECTOR,
    "values_a": VECTOR,
    "values_b": OTHER,
    "within": (0.0, 1.0),
}
"""A good value of each parameter, whatever function has it."""

STATS = GaussianStats.from_features(MORE)
OF_FUNCTION: dict[str, dict[str, Any]] = {
    "frechet_distance": {"a": GaussianStats.from_features(FEATURES), "b": STATS},
    "frechet_infinity": {"reference": STATS},
}

WHOLE = {
    "bins", "degree", "draws", "k", "least", "n", "points", "resamples", "seed", "splits", "subset_size", "subsets",
    "successes",
}  # fmt: skip
CHOICES = {"binning", "edges", "positive", "rule"}
SCORES = {"in_a", "in_b", "out_a", "out_b", "in_scores", "out_scores"}

PAIRED = {"confidence", "correct", "correct_a", "correct_b", "in_a", "in_b", "labels", "out_a", "out_b", "values_b"}
ALLOWED = {
    ("median_interval", "values", "infinite"),  # a norm that no attack reached
    ("risk_coverage", "confidence", "infinite"),  # any score ranks, a log-odds too
}

FUNCTIONS = [name for name in bench.metrics.__all__ if inspect.isfunction(getattr(bench.metrics, name))]


def arguments(name: str) -> dict[str, Any]:
    own = OF_FUNCTION.get(name, {})
    return {one: own.get(one, GOOD[one]) for one in inspect.signature(getattr(bench.metrics, name)).parameters}


def bad_values(parameter: str, good: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(good, GaussianStats):
        return
    if parameter in WHOLE:
        yield from {"a half": 1.5, "NaN": math.nan, "text": "3", "negative": -1, "infinite": math.inf}.items()
        yield from {"a fraction as large as a good value": good + 0.5, "an array": [good, good]}.items()
        if parameter not in ("seed", "successes"):
            yield "zero", 0
    elif parameter in CHOICES:
        yield from {"another word": "nonsense", "None": None, "a number": 1, "empty": ""}.items()
    elif parameter in ("level", "tpr"):
        yield from {"NaN": math.nan, "0": 0.0 if parameter == "level" else -0.1, "text": "high"}.items()
        yield from {"above": 1.5, "below": -1.0, "an array": [0.9, 0.9]}.items()
    elif parameter in ("gamma", "coef0"):
        yield from {"NaN": math.nan, "infinite": math.inf, "text": "large", "an array": [1.0, 1.0]}.items()
    elif parameter == "within":
        yield from {"turned round": (1.0, 0.0), "NaN": (math.nan, 1.0), "three": (0.0, 1.0, 2.0)}.items()
    else:
        yield from bad_arrays(parameter, np.asarray(good))


def bad_arrays(parameter: str, good: Any) -> Iterator[tuple[str, Any]]:
    yield from {"one axis more": good[..., None], "a scalar": 0.5, "text": np.full(good.shape, "x")}.items()
    yield "complex", good + 1j
    if parameter not in ("queries", "p_values"):  # no query has no neighbour, no test no correction
        yield "empty", good[:0]
    if good.ndim == 2:
        yield "one axis less", good[:, 0]
        yield "no columns", good[:, :0]
    broken = good.astype(float)
    broken[(0,) * good.ndim] = math.nan
    yield "NaN", broken
    if parameter not in SCORES:
        broken = good.astype(float)
        broken[(0,) * good.ndim] = math.inf
        yield "infinite", broken
    if parameter in PAIRED:
        yield "shorter than the others", good[:-1]


CASES = [
    pytest.param(name, parameter, bad, id=f"{name}-{parameter}-{what}")
    for name in FUNCTIONS
    for parameter, good in arguments(name).items()
    for what, bad in bad_values(parameter, good)
    if (name, parameter, what) not in ALLOWED
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_good_values_are_good(name):
    getattr(bench.metrics, name)(**arguments(name))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "parameter", "bad"), CASES)
def test_a_bad_value_is_refused(name, parameter, bad):
    with pytest.raises(ValueError) as error:
        getattr(bench.metrics, name)(**arguments(name) | {parameter: bad})
    assert len(str(error.value)) > 15
