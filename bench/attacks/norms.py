"""Statistics of perturbation norms of attacks that may fail, as in C&W tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NormSummary:
    """Norms of one attack over the images that it attacked.

    Attributes:
        mean_over_successes: Mean of the finite norms; NaN without a success.
        median: Median over all attacked images, a failure counting as infinity.
        successes: Number of successes.
        attacked: Number of attacked images.
    """

    mean_over_successes: float
    median: float
    successes: int
    attacked: int

    @property
    def success_rate(self) -> float:
        """Successes per attacked image, in [0, 1]; NaN without an attacked image."""
        return self.successes / self.attacked if self.attacked else float("nan")


def norms_with_failures(norms: NDArray[np.floating], success: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The norms, infinity where the attack failed.

    Args:
        norms: (N,).
        success: (N,).

    Returns:
        (N,).
    """
    return np.where(success, norms, np.inf)


def mean_over_successes(norms: NDArray[np.floating]) -> float:
    """Mean of the finite entries of (N,) norms; NaN if there is none."""
    finite = norms[np.isfinite(norms)]
    return float(finite.mean(dtype=np.float64)) if finite.size else float("nan")


def median_with_failures(norms: NDArray[np.floating]) -> float:
    """Median of (N,) norms, failures being infinite; NaN for an empty array."""
    return float(np.median(norms)) if norms.size else float("nan")


def summarise_norms(norms: NDArray[np.floating]) -> NormSummary:
    """Summary of (N,) norms of the attacked images, failures being infinite.

    Raises:
        ValueError: A norm is negative or NaN, or the shape is not (N,).
    """
    if norms.ndim != 1 or np.isnan(norms).any() or (norms < 0).any():
        raise ValueError(f"norms must be (N,) values >= 0 with infinity for failures, got shape {norms.shape}")
    return NormSummary(
        mean_over_successes(norms),
        median_with_failures(norms),
        int(np.isfinite(norms).sum()),
        int(norms.size),
    )
