"""Coverage of the intervals of proportions, means and medians, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.metrics.intervals import bootstrap_mean, median_interval, student_t, wilson
from bench.metrics.repeated import repeated_proportion
from tests.metrics.simulation import Case, Draw, assert_limits, measured

SIZES = (100, 400, 2000)
Values = Callable[[np.random.Generator, int], Any]


def proportion(least: float, most: float, n: int) -> Draw:
    """A proportion of n trials, with a chance that is uniform between two ends."""

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        truth = generator.uniform(least, most)
        return wilson(int(generator.binomial(n, truth)), n), truth

    return draw


def repeated(a: float, b: float, shared: float, n: int, runs: int) -> Draw:
    """n items in several runs: each item has a chance from a beta distribution, shifted by what a run shares."""

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        chance = generator.beta(a, b, n)[:, None] + shared * generator.standard_normal(runs)[None]
        return repeated_proportion(generator.random((n, runs)) < chance), a / (a + b)

    return draw


def mean(values: Values, truth: float, n: int) -> Draw:
    """The mean of n values by the bootstrap; 399 resamples instead of 1,999 save time."""
    return lambda generator: (
        bootstrap_mean(values(generator, n), seed=int(generator.integers(2**31)), resamples=399),
        truth,
    )


def percentile(values: Values, truth: float, n: int) -> Draw:
    """The percentile bootstrap, for comparison."""
    from bench.metrics.intervals import Interval

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        sample = values(generator, n)
        means = sample[generator.integers(0, n, size=(999, n))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        return Interval(float(low), float(high), 0.95, "bootstrap percentile"), truth

    return draw


def over_seeds(values: Values, truth: float, k: int) -> Draw:
    return lambda generator: (student_t(values(generator, k)), truth)


def median(values: Values, truth: float, n: int) -> Draw:
    return lambda generator: (median_interval(values(generator, n)), truth)


def nll(generator: np.random.Generator, n: int) -> Any:
    """The NLL of an overconfident classifier: small for most items, large for one in twelve."""
    return np.where(generator.random(n) < 1 / 12, generator.exponential(3, n), generator.exponential(0.05, n))


def with_failures(generator: np.random.Generator, n: int) -> Any:
    """Log-normal norms of a minimal-norm attack that fails on 40 % of the items, those with the largest norms."""
    norms = np.exp(generator.normal(size=n))
    return np.where(norms > np.exp(0.2533471), np.inf, norms)


MEANS: tuple[tuple[str, Values, float], ...] = (
    ("bounded: beta(2, 5)", lambda g, n: g.beta(2, 5, n), 2 / 7),
    ("skewed: exponential", lambda g, n: g.exponential(1, n), 1.0),
    ("skewed: NLL, one in twelve large", nll, 3 / 12 + 0.05 * 11 / 12),
    ("heavy tails: Student's t, 3 degrees of freedom", lambda g, n: g.standard_t(3, n), 0.0),
    ("heavy tail: log-normal, sigma 1", lambda g, n: np.exp(g.normal(size=n)), float(np.exp(0.5))),
)
DISCRETE = "the binomial distribution is discrete"
HEAVY = "no bootstrap knows a tail that a sample of 100 does not show"

CASES = [
    *(Case("wilson", "p = .5", str(n), proportion(0.5, 0.5, n)) for n in SIZES),
    *(Case("wilson", "p = .9", str(n), proportion(0.9, 0.9, n)) for n in SIZES),
    *(
        Case("wilson", "p = .99", str(n), proportion(0.99, 0.99, n), (90.5 if n == 100 else 93.0, 98.0), why=DISCRETE)
        for n in SIZES
    ),
    *(Case("wilson", "p uniform in .95 to 1", str(n), proportion(0.95, 1, n)) for n in SIZES),
    *(
        Case("student_t", "normal seeds", str(k), over_seeds(lambda g, n: g.normal(size=n), 0.0, k))
        for k in (2, 3, 5, 10)
    ),
    *(
        Case(
            "student_t",
            "uniform seeds",
            str(k),
            over_seeds(lambda g, n: g.random(n), 0.5, k),
            (92.0, 97.0),
            why="not normal",
        )
        for k in (5, 10)
    ),
    Case(
        "student_t",
        "exponential seeds",
        "5",
        over_seeds(lambda g, n: g.exponential(1, n), 1.0, 5),
        (85.0, 93.0),
        why="the interval assumes normal seeds",
    ),
    *(
        Case(
            "repeated_proportion",
            "own noise of each item, p = .25",
            f"{n} in {runs} runs",
            repeated(1, 3, 0, n, runs),
            (93.0, 98.0 if n == 100 else 97.0),
            why="the limits of the ratio are conservative" if n == 100 else "",
        )
        for n, runs in ((100, 4), (400, 4), (400, 10), (2000, 4))
    ),
    *(
        Case(
            "repeated_proportion",
            "own noise, rare: p = .05",
            f"{n} in {runs} runs",
            repeated(0.2, 3.8, 0, n, runs),
            (93.0, 98.0),
            why="the limits of the ratio are conservative",
        )
        for n, runs in ((100, 3), (400, 3), (2000, 3))
    ),
    *(
        Case(
            "repeated_proportion",
            "noise shared by all items of a run",
            f"200 in {runs} runs",
            repeated(5, 5, 0.05, 200, runs),
            (87.0, 97.0),
            why="few runs tell little of the variance between them; no attack of the harness has such noise",
        )
        for runs in (4, 8, 16)
    ),
    *(
        Case(
            "bootstrap_mean",
            setting,
            str(n),
            mean(values, truth, n),
            (90.5, 97.0) if "log-normal" in setting and n == 100 else (93.0, 97.0),
            why=HEAVY if "log-normal" in setting and n == 100 else "",
        )
        for setting, values, truth in MEANS
        for n in SIZES
    ),
    *(
        Case("percentile bootstrap, not used", setting, "100", percentile(values, truth, 100), None)
        for setting, values, truth in MEANS
    ),
    *(
        Case("median_interval", "log-normal norms", str(n), median(lambda g, k: np.exp(g.normal(size=k)), 1.0, n))
        for n in SIZES
    ),
    *(
        Case("median_interval", "norms, 40 % of the items never broken", str(n), median(with_failures, 1.0, n))
        for n in SIZES
    ),
    *(
        Case(
            "median_interval",
            "norms in steps of .5",
            str(n),
            median(lambda g, k: np.round(2 * np.exp(g.normal(size=k))) / 2, 1.0, n),
            (94.0, 100.0),
            why="ties",
        )
        for n in SIZES
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_interval_covers_as_stated(case: Case) -> None:
    assert_limits(case, measured(case))
