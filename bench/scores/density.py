"""Scores from the density of x."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.scores.arrays import one_an_item
from bench.scores.spec import Arrays, Score

__all__ = ["ApproximateMass", "LogDensity", "approximate_mass", "log_density"]


def log_density(log_p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The log-density itself.

    Args:
        log_p: log p(x) up to a constant that is the same for all items, shape (n,).

    Returns:
        Scores, shape (n,), higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n,) or a value is NaN.

    >>> log_density([-3, -1])
    array([-3., -1.])
    """
    return one_an_item("log_p", log_p)


def approximate_mass(gradient_norm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """-||d log p(x) / dx||_2: the density is flat near the mass of a distribution (JEM paper, section 5.3.3).

    Args:
        gradient_norm: L2 norm of the gradient of log p with respect to the input, shape (n,), >= 0.

    Returns:
        Scores, shape (n,), <= 0, higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n,), or a value is NaN or negative.

    >>> approximate_mass([1, 2])
    array([-1., -2.])
    """
    norm = one_an_item("gradient_norm", gradient_norm)
    if (norm < 0).any():
        raise ValueError(
            f"gradient_norm must be >= 0, got {int((norm < 0).sum())} negative values; was the score passed?"
        )
    return -norm


class LogDensity(Score):
    """log p(x) as the model gives it, by default the log-sum-exp of the logits."""

    name: ClassVar[str] = "log-density"
    label: ClassVar[str] = "log p(x)"
    summary: ClassVar[str] = "Log-density of the model."
    source: ClassVar[str] = "Bishop 1994; Nalisnick et al. 2019; GMMC paper, section 4.3 (1)"
    reads: ClassVar[tuple[str, ...]] = ("log_density",)

    @property
    def definition(self) -> str:
        """The formula."""
        return "log p(x) up to a constant"

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002 - not fitted
        """The stored log-densities."""
        return log_density(outputs["log_density"])


class ApproximateMass(Score):
    """The negative norm of the input gradient of log p(x), pixels in [0, 1]."""

    name: ClassVar[str] = "approximate-mass"
    label: ClassVar[str] = "approx. mass"
    summary: ClassVar[str] = "Negative norm of the input gradient of log p(x)."
    source: ClassVar[str] = "Grathwohl et al. 2020 (JEM), section 5.3.3; GMMC paper, section 4.3 (2)"
    reads: ClassVar[tuple[str, ...]] = ("gradient_norm",)

    @property
    def definition(self) -> str:
        """The formula."""
        return "-||d log p(x) / dx||_2"

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002 - not fitted
        """The negative of the stored norms."""
        return approximate_mass(outputs["gradient_norm"])
