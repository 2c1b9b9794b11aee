"""Coverage of the intervals of differences between two models, and size of their tests, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.metrics.difference import (
    Difference,
    accuracy_difference,
    auroc_difference,
    mean_difference,
    seed_difference,
    share_difference,
    unpaired_seed_difference,
)
from bench.metrics.paired import permutation_mean
from tests.metrics.simulation import Case, Draw, assert_limits, measured
from tests.metrics.test_coverage_auroc import Scores
from tests.metrics.test_coverage_intervals import nll

SIZES = (100, 400, 2000)
SIZE = (3.5, 6.0)
FEW_SHARES = "added pairs and few permutations are conservative where few items differ"
CONSERVATIVE = (0.0, 6.0)
Values = Callable[[np.random.Generator, int], Any]


def accuracies(only_a: float, only_b: float, n: int) -> Draw:
    """n items, of which A alone and B alone are right on given shares."""

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        cell = generator.choice(3, size=n, p=[only_a, only_b, 1 - only_a - only_b])
        return accuracy_difference(cell == 0, cell == 1), only_a - only_b

    return draw


def means(differences: Values, truth: float, n: int) -> Draw:
    """Values of n items whose differences have a given law; 399 resamples instead of 9,999 save time."""

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        other = generator.exponential(1, n)
        seed = int(generator.integers(2**31))
        return mean_difference(other + differences(generator, n), other, seed, resamples=399), truth

    return draw


def shares(varying: float, right_a: float, right_b: float, n: int) -> Draw:
    """n items and three seeds; on a share of the items each seed is right by chance, and on the others all are."""

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        hard = generator.random((n, 1)) < varying
        a, b = (~hard | (generator.random((n, 3)) < right) for right in (right_a, right_b))
        seed = int(generator.integers(2**31))
        found = share_difference(a.mean(axis=1), b.mean(axis=1), seed, resamples=399)
        return found, varying * (right_a - right_b)

    return draw


def permuted(differences: Values, n: int) -> Draw:
    """The permutation test, which bold marks use; it has no interval."""

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        d = differences(generator, n)
        p = permutation_mean(d, np.zeros(n), int(generator.integers(2**31)), resamples=999)
        return Difference(float(d.mean()), None, p, "permutation"), 0.0

    return draw


def areas(a: Scores, b: Scores, common: float, m: int, n: int) -> Draw:
    """Two scores of the same m and n items, whose normal parts have a given correlation."""

    def pair(generator: np.random.Generator, size: int) -> tuple[Any, Any]:
        shared, own = generator.normal(size=size), generator.normal(size=(2, size))
        return tuple(np.sqrt(common) * shared + np.sqrt(1 - common) * own[which] for which in (0, 1))  # type: ignore[return-value]

    def draw(generator: np.random.Generator) -> tuple[Any, float]:
        inside, outside = pair(generator, m), pair(generator, n)
        found = []
        for scores, i, o in zip((a, b), inside, outside, strict=True):
            i = scores.distance + scores.inside * i
            found += [np.where(generator.random(m) < scores.missing, -np.inf, i), o]
        return auroc_difference(*found), a.truth - b.truth

    return draw


def shared_seeds(differences: Values, k: int) -> Draw:
    return lambda generator: (seed_difference(differences(generator, k)), 0.0)


def separate_seeds(k: int, other: int, spread: float) -> Draw:
    return lambda generator: (
        unpaired_seed_difference(generator.normal(size=k), spread * generator.normal(size=other)),
        0.0,
    )


def sparse(generator: np.random.Generator, n: int) -> Any:
    """Differences that are 0 for 19 of 20 items."""
    return np.where(generator.random(n) < 0.05, generator.normal(size=n), 0.0)


def nll_differences(generator: np.random.Generator, n: int) -> Any:
    return nll(generator, n) - nll(generator, n)


MEANS: tuple[tuple[str, Values, float], ...] = (
    ("normal differences", lambda g, n: g.normal(size=n), 0.0),
    ("shifted exponential differences", lambda g, n: g.exponential(1, n) - 1, 0.0),
    ("differences of two NLLs", nll_differences, 0.0),
    ("Student's t, 3 degrees of freedom", lambda g, n: g.standard_t(3, n), 0.0),
    ("0 for 19 of 20 items", sparse, 0.0),
)
EXACT = "the exact test is conservative"
BOUNDARY = "near 1 the added items are conservative"
CORRELATED = "the added items are conservative for similar scores of few items"
AREAS = {
    "both .7, correlation .5": (Scores(0.7), Scores(0.7), 0.5),
    "both .9, correlation .8": (Scores(0.9), Scores(0.9), 0.8),
    ".9 and .8, correlation .5": (Scores(0.9), Scores(0.8), 0.5),
    "both .99, correlation .5": (Scores(0.99), Scores(0.99), 0.5),
    "both .99, one of a third of the spread": (Scores(0.99), Scores(0.99, inside=1 / 3), 0.5),
    ".999 and .99, correlation .5": (Scores(0.999), Scores(0.99), 0.5),
    "both .9995, correlation .8": (Scores(0.9995), Scores(0.9995), 0.8),
    "2 % of in-items lost against none": (Scores(0.999, missing=0.02), Scores(0.999), 0.5),
}


FEW = "a few items hold the difference"
OF_MEANS = {
    ("shifted exponential differences", 100): ((93.0, 97.0), (3.0, 7.0), "skewed differences"),
    ("differences of two NLLs", 100): ((93.0, 99.9), CONSERVATIVE, FEW),
    ("0 for 19 of 20 items", 100): ((93.0, 99.9), CONSERVATIVE, FEW),
    ("0 for 19 of 20 items", 400): ((93.0, 98.0), (2.0, 6.0), FEW),
}
PERMUTATION = {
    "shifted exponential differences": ((3.0, 7.0), "the test assumes symmetric differences"),
    "0 for 19 of 20 items": ((1.0, 6.0), "about five items differ, so that p takes few values"),
}


def of_means(name: str, values: Values, truth: float, n: int) -> Case:
    coverage, size, why = OF_MEANS.get((name, n), ((93.0, 97.0), SIZE, ""))
    return Case("mean_difference", name, str(n), means(values, truth, n), coverage, size, why)


def of_areas(name: str, m: int, n: int) -> Case:
    a, b, common = AREAS[name]
    near, few = max(a.truth, b.truth) > 0.95, min(m, n) < 2000
    coverage, size, why = (93.0, 97.0), SIZE, ""
    if near:
        coverage, size, why = (93.0, 100.0), CONSERVATIVE, BOUNDARY
    elif few:
        coverage, size, why = (93.0, 99.5), CONSERVATIVE, CORRELATED
    draw = areas(a, b, common, m, n)
    return Case("auroc_difference", name, f"{m} and {n}", draw, coverage, size if a.truth == b.truth else None, why)


CASES = [
    *(
        Case(
            "accuracy_difference",
            f"{a:.0%} only A, {b:.0%} only B",
            str(n),
            accuracies(a, b, n),
            (93.0, 98.0) if n * (a + b) > 8 else (93.0, 100.0),
            CONSERVATIVE if a == b else None,
            EXACT,
        )
        for a, b in ((0.05, 0.05), (0.1, 0.05), (0.01, 0.01), (0.3, 0.2))
        for n in SIZES
    ),
    *(
        Case(
            "share_difference",
            f"three seeds, {varying:.0%} of the items vary, {a:g} and {b:g} of these right",
            str(n),
            shares(varying, a, b, n),
            (93.0, 97.5) if n * varying > 20 else (93.0, 100.0),
            (CONSERVATIVE if n * varying <= 20 else (3.0, 6.0)) if a == b else None,
            FEW_SHARES,
        )
        for varying, a, b in ((0.2, 0.7, 0.7), (0.02, 0.7, 0.7), (0.2, 0.8, 0.5))
        for n in (30, *SIZES)
    ),
    *(of_means(name, values, truth, n) for name, values, truth in MEANS for n in SIZES),
    *(
        Case(
            "permutation_mean",
            name,
            "100",
            permuted(values, 100),
            coverage=None,
            size=PERMUTATION.get(name, (SIZE, ""))[0],
            why=PERMUTATION.get(name, (SIZE, ""))[1],
        )
        for name, values, _ in MEANS
    ),
    *(of_areas(name, m, n) for name in AREAS for m, n in ((100, 100), (400, 400), (2000, 2000), (400, 100))),
    *(
        Case(
            "seed_difference",
            "normal differences",
            f"{k} seeds",
            shared_seeds(lambda g, size: g.normal(size=size), k),
            size=(0.0, 0.0) if k < 6 else (2.0, 6.0),
            why="p is at least 2^(1-k), and takes few values",
        )
        for k in (3, 5, 6, 8, 10)
    ),
    *(
        Case(
            "unpaired_seed_difference",
            f"normal values, spreads 1 and {spread:g}",
            f"{k} and {other} seeds",
            separate_seeds(k, other, spread),
            (93.0, 98.5),
            (1.5, 7.0),
            "Satterthwaite's degrees of freedom are those of a guess of both variances",
        )
        for k, other in ((3, 3), (5, 5), (3, 8))
        for spread in (1, 3)
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_interval_covers_and_the_test_holds_its_size(case: Case) -> None:
    assert_limits(case, measured(case))
