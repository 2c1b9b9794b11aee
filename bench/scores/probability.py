"""Scores from the predictive distribution p(y|x)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
    z = np.array(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] < 2:
        raise ValueError(f"logits must have shape (n, K) with K >= 2, got {z.shape}")
    if not np.isfinite(z).all():
        raise ValueError(f"logits must be finite, got {int((~np.isfinite(z)).sum())} of {z.size} values that are not")
    rows, best = np.arange(len(z)), z.argmax(axis=1)
    top = z[rows, best]
    z[rows, best] = -np.inf
    log_odds: npt.NDArray[np.float64] = top - np.logaddexp.reduce(z, axis=1)
    return log_odds
