"""The scores by name.

Other packages register an instance of their subclass of `bench.scores.spec.Score` under the entry-point group
``bench.scores``.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.registry import Registry, UnknownNameError, when_asked
from bench.scores.density import ApproximateMass, LogDensity
from bench.scores.logits import Energy, MaxLogit, MaxProbability
from bench.scores.mahalanobis import Mahalanobis
from bench.scores.neighbours import NearestNeighbours
from bench.scores.spec import Score
from bench.scores.vim import ViM

__all__ = ["SCORES", "named_score"]

OWN: tuple[Score, ...] = (
    LogDensity(),
    MaxProbability(),
    ApproximateMass(),
    MaxLogit(),
    Energy(),
    Mahalanobis(),
    NearestNeighbours(),
    ViM(),
)

SCORES: Registry[Score] = Registry(
    "score",
    "scores",
    Score,  # type: ignore[type-abstract]
    "bench.scores",
    builtin=lambda: OWN,
    problems=when_asked("bench.plugins.score_contract:score_problems"),
)


def named_score(name: str, params: Mapping[str, object] | None = None) -> Score:
    """A score with these parameters; the others have their defaults.

    Raises:
        ValueError: The score or a parameter is unknown (the nearest name is suggested), or a value is invalid.

    >>> named_score("knn", {"k": 10}).parameters
    {'k': 10}
    """
    try:
        score = SCORES.get(name)
    except UnknownNameError as error:
        raise ValueError(str(error)) from None
    return score.configured(params or {})
