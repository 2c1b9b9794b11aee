"""Scores from the logits alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.scores.arrays import finite_rows
from bench.scores.spec import Arrays, Score

__all__ = ["Energy", "MaxLogit", "MaxProbability", "energy", "max_logit", "max_probability"]


def max_probability(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The maximum softmax probability, as its log-odds: max logit - logsumexp of the other logits.

    The log-odds rank items exactly as the probability does (Hendrycks and Gimpel 2017), but still differ where the
    probability rounds to 1, in float32 from a margin of about 17 on. They do not change if a constant is added to an
    item's logits.

    Args:
        logits: Shape (n, K), K >= 2, finite; log-probabilities serve as well.

    Returns:
        Log-odds, shape (n,), >= -log(K - 1), higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n, K) with K >= 2, or a logit is NaN or infinite.

    >>> max_probability([[3.0, 1.0], [0.0, 0.0]])
    array([2., 0.])
    """
    z = finite_rows("logits", logits, columns=2)
    rows, best = np.arange(len(z)), z.argmax(axis=1)
    top = z[rows, best]
    z[rows, best] = -np.inf
    log_odds: npt.NDArray[np.float64] = top - np.logaddexp.reduce(z, axis=1)
    return log_odds


def max_logit(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The largest logit (Hendrycks et al. 2022).

    Unlike the maximum probability it changes if a constant is added to an item's logits. For GMMC it is
    -min_y ||phi(x) - mu_y||^2 / 2, so it ranks by the distance to the nearest class center.

    Args:
        logits: Shape (n, K), K >= 1, finite.

    Returns:
        Scores, shape (n,), higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n, K), or a logit is NaN or infinite.

    >>> max_logit([[3.0, 1.0], [0.0, 0.0]])
    array([3., 0.])
    """
    largest: npt.NDArray[np.float64] = finite_rows("logits", logits).max(axis=1)
    return largest


def energy(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The negative free energy at temperature 1, logsumexp_y of the logits (Liu et al. 2020, eq. 4).

    For a family whose log p(x) is the log-sum-exp of its logits, which softmax, JEM and GMMC are, this is the
    log-density, computed in float64 from the stored logits instead of in float32 by the network. For GMMC it is
    log sum_y exp(-||phi(x) - mu_y||^2 / 2), the log-density of the mixture in feature space up to a constant. The two
    scores differ only for families with a density of their own.

    Args:
        logits: Shape (n, K), K >= 1, finite. A constant added to an item's logits is added to its score.

    Returns:
        Scores, shape (n,), higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n, K), or a logit is NaN or infinite.

    >>> energy([[0.0, 0.0], [1000.0, 0.0]]).round(4).tolist()
    [0.6931, 1000.0]
    """
    summed: npt.NDArray[np.float64] = np.logaddexp.reduce(finite_rows("logits", logits), axis=1)
    return summed


class MaxProbability(Score):
    """The largest class probability, ranked by its log-odds, which do not round to 1."""

    name: ClassVar[str] = "max-probability"
    label: ClassVar[str] = "max p(y|x)"
    summary: ClassVar[str] = "Largest class probability."
    source: ClassVar[str] = "Hendrycks and Gimpel 2017; GMMC paper, section 4.3 (3)"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def definition(self) -> str:
        """The formula."""
        return "max_y p(y|x), ranked by its log-odds: max logit - logsumexp of the other logits"

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002 - not fitted
        """The log-odds of the largest probability."""
        return max_probability(outputs["logits"])


class MaxLogit(Score):
    """The largest logit; for GMMC half the negative squared distance to the nearest class center."""

    name: ClassVar[str] = "max-logit"
    label: ClassVar[str] = "max logit"
    summary: ClassVar[str] = "Largest logit."
    source: ClassVar[str] = "Hendrycks et al. 2022, arXiv:1911.11132"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def definition(self) -> str:
        """The formula."""
        return "max_y logit_y"

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002 - not fitted
        """The largest logits."""
        return max_logit(outputs["logits"])


class Energy(Score):
    """The log-sum-exp of the logits at temperature 1.

    It equals ``log-density`` up to rounding for every family whose log p(x) is the log-sum-exp of its logits: softmax,
    JEM and GMMC.
    """

    name: ClassVar[str] = "energy"
    label: ClassVar[str] = "energy"
    summary: ClassVar[str] = "Log-sum-exp of the logits; equals log-density for softmax, JEM and GMMC."
    source: ClassVar[str] = "Liu et al. 2020, arXiv:2010.03759, eq. 4"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def definition(self) -> str:
        """The formula."""
        return "logsumexp_y logit_y (negative free energy at T = 1)"

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002 - not fitted
        """The log-sum-exp of the logits."""
        return energy(outputs["logits"])
