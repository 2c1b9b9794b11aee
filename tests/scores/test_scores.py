"""What every score declares and returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.plugins.score_contract import score_problems
from bench.scores.named import OWN, SCORES, named_score
from bench.scores.spec import OUTPUTS, Score

generator = np.random.default_rng(0)
CENTRES = 6 * np.eye(3, 8)
LABELS = np.arange(90) % 3


def predictions(features: np.ndarray) -> dict[str, Any]:
    """Outputs of a model with the heads 2 <c_y, f>, in float32 as they are stored."""
    logits = 2 * features @ CENTRES.T
    density = np.logaddexp.reduce(logits, axis=1)
    return {
        "logits": logits.astype(np.float32),
        "features": features.astype(np.float32),
        "log_density": density.astype(np.float32),
        "gradient_norm": np.linalg.norm(features - CENTRES[logits.argmax(axis=1)], axis=1).astype(np.float32),
    }


TRAIN = {**predictions(CENTRES[LABELS] + generator.normal(size=(90, 8))), "labels": LABELS}
INSIDE = predictions(CENTRES[LABELS] + generator.normal(size=(90, 8)))
OUTSIDE = predictions(generator.normal(size=(40, 8)) * [1, 1, 1, 4, 4, 4, 4, 4])


def test_the_names() -> None:
    assert [score.name for score in OWN] == [
        *("log-density", "max-probability", "approximate-mass"),  # the paper's
        *("max-logit", "energy", "mahalanobis", "knn", "vim"),
    ]
    assert {score.name for score in OWN} <= set(SCORES.names())


@pytest.mark.parametrize("score", OWN, ids=lambda score: score.name)
def test_every_score_keeps_its_contract_and_is_higher_in_distribution(score: Score) -> None:
    assert score_problems(score) == []
    configured = score.configured({"k": 5} if score.name == "knn" else {})
    fit = configured.fit({name: TRAIN[name] for name in (*score.reads, "labels")}) if score.fitted else None
    inside = configured.score({name: INSIDE[name] for name in score.reads}, fit)
    outside = configured.score({name: OUTSIDE[name] for name in score.reads}, fit)
    assert inside.dtype == outside.dtype == np.float64
    assert (inside.shape, outside.shape) == ((90,), (40,))
    assert np.isfinite(inside).all()
    assert np.median(inside) > np.median(outside)


@pytest.mark.parametrize("score", OWN, ids=lambda score: score.name)
def test_a_score_does_not_depend_on_the_other_items(score: Score) -> None:
    configured = score.configured({"k": 5} if score.name == "knn" else {})
    fit = configured.fit({name: TRAIN[name] for name in (*score.reads, "labels")}) if score.fitted else None
    whole = configured.score({name: INSIDE[name] for name in score.reads}, fit)
    part = configured.score({name: INSIDE[name][7:9] for name in score.reads}, fit)
    np.testing.assert_allclose(part, whole[7:9], rtol=1e-12)


def test_outputs_are_those_of_the_two_passes() -> None:
    assert set(OUTPUTS.values()) == {"forward", "gradient"}


def test_unknown_names_and_parameters_are_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown score 'energi'; did you mean 'energy'"):
        named_score("energi")
    with pytest.raises(ValueError, match="score 'knn' has no parameter 'kk'; did you mean 'k'"):
        named_score("knn", {"kk": 3})
    with pytest.raises(ValueError, match="knn: k: Input should be greater than or equal to 1"):
        named_score("knn", {"k": 0})
    with pytest.raises(ValueError, match=r"score 'energy' has no parameter 'k' \(known: none\)"):
        named_score("energy", {"k": 1})
    assert named_score("knn", {"k": 7}).definition != named_score("knn").definition


def test_energy_is_the_log_density_of_families_whose_density_is_the_sum_of_their_logits() -> None:
    energy = named_score("energy").score({"logits": INSIDE["logits"]}, None)
    density = named_score("log-density").score({"log_density": INSIDE["log_density"]}, None)
    np.testing.assert_allclose(energy, density, rtol=1e-6)
