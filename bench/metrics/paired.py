"""Two-sided tests of paired differences, over items and over seeds, and the correction for multiple tests."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from bench.metrics.arrays import (
    FloatArray,
    correctness,
    finite_vector,
    matrix,
    random_generator,
    require_at_least,
    vector,
)

MAX_SIGN_FLIP_DIFFERENCES = 20
"""The largest k for which all sign patterns are enumerated; there are 2^(k-1)."""


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> float:
    """The p value of equal accuracy of two classifiers on the same items (McNemar 1947, exact binomial form).

    Args:
        correct_a: Whether classifier A was right, shape (n,), booleans or 0/1.
        correct_b: Whether classifier B was right on each of these items, shape (n,).

    Returns:
        p in (0, 1]; 1 if the classifiers are right on the same items.

    Raises:
        ValueError: If the lengths differ, are 0, or a value is neither 0 nor 1.

    >>> mcnemar([1, 1, 1, 1, 1], [0, 0, 0, 0, 0])  # 2 / 2^5
    0.0625
    """
    only_a, only_b, _ = disagreements(correct_a, correct_b)
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def mcnemar_pairs(correct: npt.ArrayLike) -> FloatArray:
    """The p values of `mcnemar` of every pair of several classifiers on the same items.

    Args:
        correct: Whether each classifier was right on each item, shape (k, n), k, n >= 1, booleans or 0/1.

    Returns:
        p of the pairs (0, 1), (0, 2), …, (k - 2, k - 1), the order of `itertools.combinations`, shape (k (k - 1) / 2,).

    Raises:
        ValueError: If there is no item or classifier, or a value is neither 0 nor 1.

    >>> mcnemar_pairs([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    array([0.0625, 1.    , 0.0625])
    """
    right = matrix("correct", correct)
    if not np.isin(right, (0, 1)).all():
        raise ValueError("correct must hold 0 and 1")
    only = np.rint(right @ (1 - right).T).astype(np.int64)  # items that the row has right and the column has not
    a, b = np.triu_indices(len(right), 1)
    less, both = np.minimum(only[a, b], only[b, a]), only[a, b] + only[b, a]
    p: FloatArray = np.minimum(1.0, 2.0 * bdtr(less, both, 0.5))
    return p


def disagreements(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> tuple[int, int, int]:
    """Numbers of items that only A has right and that only B has right, and of all items; arguments and errors are
    those of `mcnemar`.

    >>> disagreements([1, 1, 0], [0, 1, 0])
    (1, 0, 3)
    """
    a, b = correctness("correct_a", correct_a), correctness("correct_b", correct_b)
    if a.size != b.size:
        raise ValueError(f"correct_a and correct_b must be on the same items, got {a.size} and {b.size}")
    return int((a & ~b).sum()), int((b & ~a).sum()), a.size


def paired_differences(values_a: npt.ArrayLike, values_b: npt.ArrayLike, *, at_least: int = 1) -> FloatArray:
    """The value of A less that of B of each item, shape (n,).

    Args:
        values_a: One value per item, shape (n,), finite.
        values_b: Values of the other model for the same items, shape (n,).
        at_least: The smallest allowed n.

    Raises:
        ValueError: If the lengths differ or are too small, or a value is not finite.

    >>> paired_differences([3, 2], [1, 2])
    array([2., 0.])
    """
    a, b = vector("values_a", values_a, at_least=at_least), vector("values_b", values_b, at_least=at_least)
    if a.size != b.size:
        raise ValueError(f"values_a and values_b must be on the same items, got {a.size} and {b.size}")
    require_finite(a, b)
    return a - b


def require_finite(values_a: FloatArray, values_b: FloatArray) -> None:
    """Raises a ValueError if a value of one of the two models is not finite.

    >>> require_finite(np.array([1.0]), np.array([np.inf]))
    Traceback (most recent call last):
    ValueError: values_a and values_b must be finite
    """
    if not (np.isfinite(values_a).all() and np.isfinite(values_b).all()):
        raise ValueError("values_a and values_b must be finite")


def sign_flip(differences: npt.ArrayLike) -> float:
    """The p value of a zero mean difference, from all 2^k sign patterns of k paired differences (Fisher 1935).

    Args:
        differences: One paired difference per seed, shape (k,), 1 <= k <= 20, finite.

    Returns:
        The share of sign patterns whose absolute sum is at least the observed one; at least 2^(1-k)
        (`smallest_sign_flip_p`).

    Raises:
        ValueError: If there are no or more than 20 differences, or one is not finite.

    >>> sign_flip([1, 2, 3])  # two of eight patterns
    0.25
    """
    d = finite_vector("differences", differences)
    if d.size > MAX_SIGN_FLIP_DIFFERENCES:
        raise ValueError(f"at most {MAX_SIGN_FLIP_DIFFERENCES} differences can be enumerated, got {d.size}")
    # A pattern and its opposite have the same absolute sum, so the first sign stays +.
    sums = d[:1]
    for value in d[1:]:
        sums = np.concatenate([sums + value, sums - value])
    # Sums that are equal in exact arithmetic count as ties, although they were rounded in different orders.
    tolerance = 1e-12 * np.abs(d).sum()
    return float((np.abs(sums) >= abs(d.sum()) - tolerance).mean())


def permutation_mean(values_a: npt.ArrayLike, values_b: npt.ArrayLike, seed: int, resamples: int = 9999) -> float:
    """The p value of equal means of two models on the same items, by permutation of each pair (Fisher 1935).

    If the models are exchangeable on each item, the sign of each difference is a fair coin. All sign patterns are
    enumerated for up to 20 items that differ, and random ones are drawn for more; the observed pattern counts among
    these, so that p is valid and never 0 (Phipson and Smyth 2010). The test is of the mean, the reported number; a
    test of ranks or of signs can call the smaller mean significantly larger.

    Args:
        values_a: One value per item, shape (n,), n >= 1, finite.
        values_b: Values of the other model for the same items, shape (n,).
        seed: Seed of the random patterns; the result is a function of the arguments alone.
        resamples: Number of random patterns, at least 99.

    Returns:
        p in (0, 1]; 1 if no item differs.

    Raises:
        ValueError: If the lengths differ or are 0, a value is not finite, or resamples < 99.

    >>> permutation_mean([1, 2, 3], [0, 0, 0], seed=0)
    0.25
    """
    require_at_least("resamples", resamples, 99)
    d = paired_differences(values_a, values_b)
    d = d[d != 0]
    if not d.size:
        return 1.0
    if d.size <= MAX_SIGN_FLIP_DIFFERENCES:
        return sign_flip(d)
    generator = random_generator(seed)
    total, tolerance = float(d.sum()), 1e-12 * float(np.abs(d).sum())
    extreme, left = 0, resamples
    while left:
        # In blocks: the patterns of 10,000 items would take a gigabyte.
        block = min(left, max(1, 2**22 // d.size))
        heads = generator.integers(0, 2, size=(block, d.size), dtype=np.int8)
        extreme += int((np.abs(2 * (heads @ d) - total) >= abs(total) - tolerance).sum())
        left -= block
    return (1 + extreme) / (1 + resamples)


def permutation_pairs(values: npt.ArrayLike, seed: int, resamples: int = 9999) -> FloatArray:
    """`permutation_mean` of every pair of models, with the same random patterns for all pairs.

    One product of patterns and values serves all pairs, so that the time grows with the number of models. The p value
    of a single pair is as valid as with patterns of its own, but is not the same number. Two kinds of pairs take fewer:
    drawing ends after `ENOUGH_EXTREME` patterns that are as extreme as the observed one (Besag and Clifford 1991,
    Biometrika 78:301), and a bound by Hoeffding's inequality (1963) that is below .05 / (100 pairs) is taken for p.

    Args:
        values: One value per item of each model, shape (models, n), n >= 1, finite.
        seed: Seed of the random patterns; the result is a function of the arguments alone.
        resamples: Number of random patterns, at least 99.

    Returns:
        p in (0, 1], in the order of ``itertools.combinations(range(models), 2)``.

    Raises:
        ValueError: If there are no items, a value is not finite, or resamples < 99.

    >>> permutation_pairs([[1, 2, 3], [0, 0, 0], [1, 2, 3]], seed=0)
    array([0.25, 1.  , 0.25])
    """
    require_at_least("resamples", resamples, 99)
    rows = matrix("values", values)
    if not np.isfinite(rows).all():
        raise ValueError("values must be finite")
    pairs = np.stack(np.triu_indices(len(rows), 1), axis=1)
    p, open_ = np.ones(len(pairs)), np.zeros(len(pairs), dtype=np.bool_)
    for number, (a, b) in enumerate(pairs):
        d = rows[a] - rows[b]
        d = d[d != 0]
        if d.size > MAX_SIGN_FLIP_DIFFERENCES:
            scaled = d / np.abs(d).max()  # squares of tiny values vanish, and those of huge ones overflow
            p[number] = 2 * math.exp(-(float(scaled.sum()) ** 2) / (2 * float((scaled**2).sum())))
            open_[number] = p[number] >= 0.05 / (100 * len(pairs))
        elif d.size:
            p[number] = sign_flip(d)
    if open_.any():
        p[open_] = _random_patterns(rows, pairs[open_], random_generator(seed), resamples)
    return np.maximum(p, np.finfo(np.float64).tiny)


ENOUGH_EXTREME = 2000
"""So many patterns tell a p value to 2 %."""
_CANCELLING = 1e3
"""Where two rows are so many times larger than their difference, the difference itself is summed."""


def _random_patterns(
    rows: FloatArray, pairs: npt.NDArray[np.intp], generator: np.random.Generator, resamples: int
) -> FloatArray:
    """The p values of some pairs of rows, (pairs, 2), as `permutation_pairs`."""
    table, first, second = _to_sum(rows, pairs)
    n = table.shape[1]
    totals, sizes = table.sum(axis=1), np.abs(table).sum(axis=1)
    limits = np.abs(totals[first] - totals[second]) - 1e-12 * (sizes[first] + sizes[second])
    extreme, drawn = np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=np.int64)
    left, open_ = resamples, np.arange(len(pairs))
    while left and len(open_):
        # In blocks: the patterns of 10,000 items would take a gigabyte.
        block = min(left, max(1, 2**22 // max(n, len(open_))))
        bits = np.frombuffer(generator.bytes(block * n // 8 + 1), dtype=np.uint8)
        heads = np.unpackbits(bits, count=block * n).reshape(block, n)
        used, place = np.unique(np.concatenate([first[open_], second[open_]]), return_inverse=True)
        sums = 2 * (table[used] @ heads.T.astype(np.float64)) - totals[used, None]
        a, b = place.reshape(2, -1)
        extreme[open_] += (np.abs(sums[a] - sums[b]) >= limits[open_, None]).sum(axis=1)
        drawn[open_] += block
        left -= block
        open_ = open_[extreme[open_] < ENOUGH_EXTREME]
    return (1 + extreme) / (1 + drawn)


def _to_sum(
    rows: FloatArray, pairs: npt.NDArray[np.intp]
) -> tuple[FloatArray, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """A table (R, n), and for each pair two of its rows whose difference is that of the pair without loss by rounding.

    The rows are those of the models without what these have in common, then zeros, then the differences of pairs that
    are small beside their rows: a model with huge values must not hide how two others differ.
    """
    centred = rows - np.median(rows, axis=0)
    sizes = np.abs(centred).sum(axis=1)
    table, at = [*centred, np.zeros(rows.shape[1])], []
    for a, b in pairs:
        d = rows[a] - rows[b]
        if sizes[a] + sizes[b] > _CANCELLING * np.abs(d).sum():
            at.append((len(table), len(rows)))
            table.append(d)
        else:
            at.append((a, b))
    first, second = np.array(at).T
    return np.stack(table), first, second


def smallest_sign_flip_p(k: int) -> float:
    """The smallest p value that `sign_flip` can return for k differences: 2^(1-k). Below 0.05 from k = 6 on.

    Raises:
        ValueError: If k < 1.

    >>> smallest_sign_flip_p(3)
    0.25
    """
    require_at_least("k", k, 1)
    return math.ldexp(1.0, 1 - k)


def holm(p_values: npt.ArrayLike) -> list[float]:
    """Holm's step-down adjustment (1979): rejecting where the result is <= alpha keeps the family-wise error <= alpha.

    Args:
        p_values: p values of one family of tests, shape (k,), in [0, 1]; may be empty.

    Returns:
        The adjusted p values, in the order given.

    Raises:
        ValueError: If a p value is NaN or lies outside [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = vector("p_values", p_values, at_least=0)
    if p.size and (p.min() < 0 or p.max() > 1):
        raise ValueError(f"p_values must lie in [0, 1], got {p.min():.6g} … {p.max():.6g}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
