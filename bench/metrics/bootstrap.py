"""Resampled t statistics of a mean, from which intervals and p values of means are made."""

from __future__ import annotations

import numpy as np

from bench.metrics.arrays import FloatArray

__all__ = ["studentised_means"]

GROUPS = 1000
"""Largest number of values that are resampled one by one. More are put into at most this many groups."""
_BLOCK = 2**16
"""Number of draws at once; they fit the cache of a core."""


def studentised_means(values: FloatArray, seed: int, resamples: int) -> FloatArray:
    """The t statistics of the means of resamples, in increasing order: (mean* - mean) / error* (Efron and Tibshirani
    1993, section 12.5).

    The error of a resample counts the variance of the values as one more observation: (n v* + v) / (n + 1) in place of
    v*. Without it a resample of equal values, which is common if few values differ from the rest, has no t statistic.

    More than 1,000 values are divided at random into 500 to 1,000 groups of equal size, without the remainder, and the
    means of the groups are resampled. The t statistic of so many independent group means has the law of that of all
    values, up to Student's degrees of freedom, and the cost does not grow with n.

    Args:
        values: Values, shape (n,), finite, with a variance above 0.
        seed: Seed of the groups and draws.
        resamples: Number of resamples, B.

    Returns:
        t statistics, shape (B,). That of the values themselves is (mean - truth) / sqrt(v / n), where v is their mean
        squared deviation.

    >>> studentised_means(np.array([0.0, 1.0]), seed=0, resamples=5).round(3).tolist()  # both values, or one twice
    [-2.449, -2.449, 0.0, 0.0, 2.449]
    """
    generator = np.random.default_rng(seed)
    if values.size > GROUPS:
        of_group = -(-values.size // GROUPS)
        kept = generator.permutation(values)[: values.size // of_group * of_group]
        grouped = kept.reshape(-1, of_group).mean(axis=1)
        # The only value that differs may be in the remainder.
        values = grouped if grouped.var() > 0 else values
    n = values.size
    # In units of their own spread: squares of tiny deviations would vanish.
    deviations = (values - values.mean()) / values.std()
    most = max(1, _BLOCK // n)
    found = []
    for start in range(0, resamples, most):
        drawn = deviations[generator.integers(0, n, size=(min(most, resamples - start), n))]
        means = drawn.mean(axis=1)
        variances = np.maximum(np.einsum("ij,ij->i", drawn, drawn) / n - means**2, 0.0)
        found.append(means / np.sqrt((n * variances + 1) / (n + 1) / n))
    return np.sort(np.concatenate(found))
