"""Resampling: stratified draws of equal size, the jackknife error of a statistic of a set, and bootstrap draws.

The bias of statistics such as the Fréchet distance is of order 1/n, so their values on sets of unequal size are not
comparable. The mean over draws of one size uses all items of the larger set and has the bias of the smaller set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from bench.metrics.arrays import FloatArray, random_generator

GROUPS = 20
"""Default number of groups of the jackknife."""
_MOST_VALUES = 1000
"""Largest number of values whose means are resampled one by one. More are put into at most this many groups."""
_BLOCK = 2**16
"""Number of draws at once; they fit the cache of a core."""

Indices = npt.NDArray[np.int64]


def allocate(shares: Mapping[int, float], size: int, available: Mapping[int, int]) -> dict[int, int]:
    """How many items of each stratum a draw takes: its share of the size, by largest remainders, up to its items.

    Args:
        shares: By stratum, its share of the draw, >= 0; scaled to sum to 1 over the strata with items.
        size: Number of items of the draw.
        available: By stratum, its number of items.

    Returns:
        By stratum, a number of items up to ``available``; the sum is ``size``.

    Raises:
        ValueError: If the strata with a share hold fewer than ``size`` items.

    >>> allocate({0: 0.5, 1: 0.5}, 4, {0: 1, 1: 9})
    {0: 1, 1: 3}
    """
    open_ = {stratum: share for stratum, share in shares.items() if share > 0 and available.get(stratum, 0) > 0}
    taken = dict.fromkeys(shares, 0)
    if size > sum(available[stratum] for stratum in open_):
        raise ValueError(f"a draw of {size} items is larger than the strata that it is taken from")
    while (left := size - sum(taken.values())) > 0:
        total = sum(open_.values())
        exact = {stratum: left * share / total for stratum, share in open_.items()}
        whole = {stratum: math.floor(value) for stratum, value in exact.items()}
        by_remainder = sorted(open_, key=lambda stratum: (whole[stratum] - exact[stratum], stratum))
        for stratum in by_remainder[: left - sum(whole.values())]:
            whole[stratum] += 1
        for stratum, count in whole.items():
            taken[stratum] = min(taken[stratum] + count, available[stratum])
        open_ = {stratum: share for stratum, share in open_.items() if taken[stratum] < available[stratum]}
    return taken


def proportional_size(shares: Mapping[int, float], available: Mapping[int, int]) -> int:
    """The size of the largest draw in which every stratum has its share, but at least half of all items.

    The lower bound keeps a stratum with far fewer items than its share from making draws too small; a draw of that
    size takes all its items (see `allocate`).

    Args:
        shares: By stratum, its share of the draw; strata without items are left out.
        available: By stratum, its number of items.

    >>> proportional_size({0: 0.5, 1: 0.5}, {0: 4, 1: 9})
    8
    """
    present = {stratum: share for stratum, share in shares.items() if share > 0 and available.get(stratum, 0) > 0}
    items = sum(available[stratum] for stratum in present)
    for size in range(items, items // 2, -1):
        counts = allocate(present, size, dict.fromkeys(present, size))
        if all(count <= available[stratum] for stratum, count in counts.items()):
            return size
    return max(items // 2, min(items, 1))


def stratified_draws(
    strata: npt.ArrayLike, size: int, draws: int, seed: int, shares: Mapping[int, float] | None = None
) -> list[Indices]:
    """Draws without replacement. All have the same number of items of a stratum; together they use all items evenly.

    Args:
        strata: Stratum of each item, integers, shape (n,).
        size: Number of items of a draw, 1 … n.
        draws: Number of draws. If a draw takes all items, only one is returned.
        seed: Seed of the order in which items are used.
        shares: By stratum, its share of a draw; None: its share of the items.

    Returns:
        Indices of the items of each draw, in random order, each of shape (size,).

    Raises:
        ValueError: If a draw is larger than the strata with a share.

    >>> strata = np.array([0, 0, 1, 1])
    >>> [sorted(strata[draw].tolist()) for draw in stratified_draws(strata, 2, 2, seed=0)]
    [[0, 1], [0, 1]]
    """
    labels = np.asarray(strata)
    generator = random_generator(seed)
    members = {int(stratum): np.flatnonzero(labels == stratum) for stratum in np.unique(labels)}
    available = {stratum: len(items) for stratum, items in members.items()}
    counts = allocate(shares or {s: float(n) for s, n in available.items()}, size, available)
    decks = {stratum: generator.permutation(items) for stratum, items in members.items()}
    found = []
    for _ in range(1 if size == len(labels) else draws):
        parts = []
        for stratum, count in counts.items():
            if not count:
                continue
            deck = decks[stratum]
            hand, rest = deck[:count], deck[count:]
            if len(hand) < count:
                # The rest of the deck, filled up with items of a new deck that are not in the hand yet.
                fresh = generator.permutation(np.setdiff1d(members[stratum], hand))
                missing = count - len(hand)
                used = np.concatenate([hand, fresh[:missing]])
                hand, rest = used, generator.permutation(np.setdiff1d(members[stratum], fresh[:missing]))
            decks[stratum] = rest
            parts.append(hand)
        found.append(generator.permutation(np.concatenate(parts)))
    return found


def leave_outs(strata: npt.ArrayLike, seed: int, *, groups: int = GROUPS, repeats: int = 1) -> list[list[Indices]]:
    """The sets of a grouped jackknife: in each, one group of items is left out (Efron and Tibshirani 1993, chapter 11;
    Shao and Tu 1995, section 2.3).

    Unlike a bootstrap it is valid for statistics with a bias of order 1/n: all leave-out values are shifted alike.

    Args:
        strata: Stratum of each item, shape (n,). Groups take items of every stratum in turn, so that the error of a set
            with fixed strata does not include their sizes.
        seed: Seed of the divisions into groups.
        groups: Number of groups; fewer if there are fewer items.
        repeats: Number of divisions into groups, over which the variance is averaged.

    Returns:
        For each division into groups, the indices of the items of each set; empty for fewer than three items.

    >>> [sorted(rows.tolist()) for rows in leave_outs([0, 0, 0], seed=0)[0]]
    [[0, 1], [1, 2], [0, 2]]
    """
    labels = np.asarray(strata)
    groups = min(groups, labels.size)
    if groups < 3:
        return []
    generator = random_generator(seed)
    divisions = []
    for _ in range(repeats):
        shuffled = generator.permutation(labels.size)
        # A stable sort keeps items shuffled within their stratum; each stratum continues the turn of the last one.
        group = np.empty(labels.size, dtype=np.int64)
        group[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(labels.size) % groups
        divisions.append([shuffled[group[shuffled] != index] for index in range(groups)])
    return divisions


def error_of_leave_outs(values: npt.ArrayLike) -> float:
    """The standard error from a statistic of each set of `leave_outs`, shape (repeats, groups).

    >>> round(error_of_leave_outs([[2.5, 2.0, 1.5]]), 6)  # of the mean of 1, 2, 3
    0.57735
    """
    left_out = np.asarray(values, dtype=np.float64)
    groups = left_out.shape[1]
    variances = [(groups - 1) / groups * np.square(row - row.mean()).sum() for row in left_out]
    return float(np.sqrt(np.mean(variances)))


def bootstrap_draws(n: int, draws: int, seed: int) -> Iterator[Indices]:
    """Draws of n items out of n with replacement: indices, each of shape (n,).

    >>> [items.tolist() for items in bootstrap_draws(1, draws=2, seed=0)]
    [[0], [0]]
    """
    generator = random_generator(seed)
    for _ in range(draws):
        yield generator.integers(n, size=n)


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
    generator = random_generator(seed)
    if values.size > _MOST_VALUES:
        of_group = -(-values.size // _MOST_VALUES)
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
