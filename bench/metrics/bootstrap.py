"""Resampled t statistics of a mean, from which intervals and p values of means are made."""

from __future__ import annotations

import numpy as np

from bench.metrics.arrays import FloatArray

__all__ = ["studentised_means"]

_BLOCK = 2**21
"""Number of draws that are in memory at once."""


def studentised_means(values: FloatArray, seed: int, resamples: int) -> FloatArray:
    """The t statistics of the means of resamples, in increasing order: (mean* - mean) / error* (Efron and Tibshirani
    1993, section 12.5).

    The error of a resample counts the variance of the values as one more observation: (n v* + v) / (n + 1) in place of
    v*. Without it a resample of equal values, which is common if few values differ from the rest, has no t statistic.

    Args:
        values: Values, shape (n,), finite and not all equal.
        seed: Seed of the draws.
        resamples: Number of resamples, B.

    Returns:
        t statistics, shape (B,). That of the values themselves is (mean - truth) / sqrt(v / n), where v is their mean
        squared deviation.

    >>> studentised_means(np.array([0.0, 1.0]), seed=0, resamples=5).round(3).tolist()  # both values, or one twice
    [-2.449, -2.449, 0.0, 0.0, 2.449]
    """
    generator = np.random.default_rng(seed)
    n = values.size
    deviations = values - values.mean()
    variance = float((deviations**2).mean())
    found = []
    for start in range(0, resamples, max(1, _BLOCK // n)):
        rows = min(max(1, _BLOCK // n), resamples - start)
        drawn = deviations[generator.integers(0, n, size=(rows, n), dtype=np.int32)]
        means = drawn.mean(axis=1)
        variances = np.maximum(np.einsum("ij,ij->i", drawn, drawn) / n - means**2, 0.0)
        found.append(means / np.sqrt((n * variances + variance) / (n + 1) / n))
    return np.sort(np.concatenate(found))
