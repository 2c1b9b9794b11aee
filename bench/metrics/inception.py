"""Inception score of generated images, from a classifier's log-probabilities.

It is called Inception score only if the classifier is the 2015 Inception network; the caller names it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from bench.metrics.arrays import FloatArray, log_probabilities, require_whole


def inception_score(log_probs: npt.ArrayLike, *, splits: int = 1) -> tuple[float, float]:
    """Exponential of the mean KL(p(y|x) || p(y)), in [1, K]; higher is better (Salimans et al. 2016, section 4).

    The mean KL is computed as H(p(y)) - mean H(p(y|x)), which has no 0 * (log 0 - log 0) where probabilities
    underflow. The items are split in the given order, into runs i*n//splits … (i+1)*n//splits - 1. Samples sorted by
    class score far too low in several splits, so shuffle them first. Small splits are biased downwards.

    Args:
        log_probs: Log-probabilities (not logits), shape (n, K).
        splits: Number of runs that are scored separately, 1 … n.

    Returns:
        Mean and population standard deviation over the splits. The latter is 0 for one split; it is the
        spread between splits, not the uncertainty of the mean.

    Raises:
        ValueError: On NaN, rows whose probabilities do not sum to one, or splits outside 1 … n.

    >>> inception_score([[0.0, -np.inf], [-np.inf, 0.0]])  # two classes, each certain
    (2.0, 0.0)
    >>> inception_score(np.log([[0.5, 0.5], [0.5, 0.5]]))
    (1.0, 0.0)
    """
    log_p = log_probabilities("log_probs", log_probs)
    n = log_p.shape[0]
    require_whole("splits", splits)
    if not 1 <= splits <= n:
        raise ValueError(f"splits must lie in 1 … n = {n}, got {splits}")
    bounds = [i * n // splits for i in range(splits + 1)]
    scores = [_score(np.exp(log_p[lo:hi])) for lo, hi in pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(probs: FloatArray) -> float:
    marginal_entropy = entr(probs.mean(axis=0)).sum()
    conditional_entropy = entr(probs).sum(axis=1).mean()
    return float(np.exp(max(marginal_entropy - conditional_entropy, 0.0)))
