"""Scores for out-of-distribution detection, from stored outputs of a model; higher = in-distribution.

Each is a function on arrays and, for suites, a `Score` by name in `bench.scores.named`.
"""

from bench.scores.density import approximate_mass, log_density
from bench.scores.logits import energy, max_logit, max_probability
from bench.scores.mahalanobis import fit_gaussians, mahalanobis
from bench.scores.neighbours import knn
from bench.scores.spec import Score, UndefinedScoreError
from bench.scores.vim import fit_vim, vim

__all__ = [
    "Score",
    "UndefinedScoreError",
    "approximate_mass",
    "energy",
    "fit_gaussians",
    "fit_vim",
    "knn",
    "log_density",
    "mahalanobis",
    "max_logit",
    "max_probability",
    "vim",
]
