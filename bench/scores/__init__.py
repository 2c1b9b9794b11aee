"""Scores for out-of-distribution detection, from stored outputs of a model; higher = in-distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.scores.density import approximate_mass, log_density
from bench.scores.probability import max_probability

__all__ = ["SCORES", "Score", "approximate_mass", "log_density", "max_probability"]


@dataclass(frozen=True)
class Score:
    """A score of items.

    Attributes:
        function: Maps the stored output to float64 scores, shape (n,).
        output: The stored output that it takes: ``"log_density"`` (n,), ``"logits"`` (n, K) or ``"gradient_norm"``
            (n,).
        definition: The formula, as printed with the number.
        source: The papers that define it.
    """

    function: Callable[[Any], npt.NDArray[np.float64]]
    output: str
    definition: str
    source: str


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "log-density": Score(
            log_density,
            output="log_density",
            definition="log p(x) up to a constant",
            source="Bishop 1994; Nalisnick et al. 2019; GMMC paper, section 4.3 (1)",
        ),
        "max-probability": Score(
            max_probability,
            output="logits",
            definition="max_y p(y|x), ranked by its log-odds: max logit - logsumexp of the other logits",
            source="Hendrycks and Gimpel 2017; GMMC paper, section 4.3 (3)",
        ),
        "approximate-mass": Score(
            approximate_mass,
            output="gradient_norm",
            definition="-||d log p(x) / dx||_2",
            source="Grathwohl et al. 2020 (JEM), section 5.3.3; GMMC paper, section 4.3 (2)",
        ),
    }
)
"""The scores by name."""
