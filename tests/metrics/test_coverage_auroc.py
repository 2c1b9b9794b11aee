"""Coverage of the intervals of an AUROC, by simulation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special

from bench.metrics.intervals import Interval
from bench.metrics.ood import auroc
from bench.metrics.ood_inference import auroc_interval, delong
from tests.metrics.simulation import Case, Draw, assert_limits, measured

Method = Callable[[Any, Any], Interval]


@dataclass(frozen=True)
class Scores:
    """Normal scores of two sets.

    Attributes:
        area: Their AUROC before outliers.
        inside: Standard deviation of in-distribution scores; that of the others is 1.
        missing: Share of in-distribution items that rank below all others, as items without a score do.
        step: Scores are rounded to multiples of it; 0: they are not.
    """

    area: float
    inside: float = 1.0
    missing: float = 0.0
    step: float = 0.0

    @property
    def distance(self) -> float:
        """The difference of the means."""
        return float(special.ndtri(self.area)) * math.hypot(1, self.inside)

    def draw(self, generator: np.random.Generator, m: int, n: int) -> tuple[Any, Any]:
        """A sample of m in-distribution scores and n others."""
        inside, outside = self.distance + self.inside * generator.normal(size=m), generator.normal(size=n)
        if self.step:
            inside, outside = np.round(inside / self.step) * self.step, np.round(outside / self.step) * self.step
        return np.where(generator.random(m) < self.missing, -np.inf, inside), outside

    @functools.cached_property
    def truth(self) -> float:
        """The AUROC with outliers and ties."""
        if not self.step:
            return self.area * (1 - self.missing)
        values = np.arange(-20, 40) * self.step
        ends = np.append(values - self.step / 2, np.inf)
        chance_in = np.diff(special.ndtr((ends - self.distance) / self.inside))
        chance_out = np.diff(special.ndtr(ends))
        below = np.cumsum(chance_out) - chance_out / 2
        return float((chance_in * below).sum())


def newcombe(in_scores: Any, out_scores: Any) -> Interval:
    """Method 5 of Newcombe (2006): the variance of exponential scores, with the mean of both sizes in place of each."""
    m, n, area = len(in_scores), len(out_scores), auroc(in_scores, out_scores)
    z, rest = 1.959964, (m + n) / 2 - 1

    def excess(t: float) -> float:
        """(area - t)^2 - z^2 V(t), without the root t = 1 that both have if the area is 1."""
        ratio = (1 + rest * (1 - t) / (2 - t) + rest * t / (1 + t)) / (m * n)
        return 1 - t - z * z * t * ratio if area == 1 else (area - t) ** 2 - z * z * t * (1 - t) * ratio

    low = float(optimize.brentq(excess, 0, area))
    if area == 1:
        return Interval(low, 1.0, 0.95, "newcombe")
    return Interval(low, float(optimize.brentq(excess, area, 1)), 0.95, "newcombe")


def of(method: Method, scores: Scores, m: int, n: int) -> Draw:
    return lambda generator: (method(*scores.draw(generator, m, n)), scores.truth)


BOUNDARY = "near 1 the interval allows for items that the sample lacks"
DISCRETE = "one outlier in 100 items is a binomial event, as in wilson"
EVERYWHERE = ((100, 100), (400, 400), (2000, 2000), (400, 100), (100, 2000))
SETTINGS = {
    "normal scores, area .7": Scores(0.7),
    "normal scores, area .9": Scores(0.9),
    "normal scores, area .99": Scores(0.99),
    "normal scores, area .9995": Scores(0.9995),
    "in-scores of thrice the spread, area .9": Scores(0.9, inside=3),
    "in-scores of a third of the spread, area .99": Scores(0.99, inside=1 / 3),
    "in-scores of thrice the spread, area .99": Scores(0.99, inside=3),
    "five to ten distinct scores, area about .9": Scores(0.9, step=1.0),
    "1 % of in-items below all others, else separated": Scores(0.99999, missing=0.01),
    "1 % of in-items below all others, area .95 without them": Scores(0.95, missing=0.01),
}
FEW_ERRORS = {name for name, scores in SETTINGS.items() if scores.truth > 0.985 and scores.area < 0.9999}


def limits(name: str, m: int, n: int) -> tuple[tuple[float, float], str]:
    if SETTINGS[name].area > 0.9999:
        return ((89.5, 99.9) if m == 100 else (92.5, 99.9)), DISCRETE
    if name in FEW_ERRORS:
        return (93.0, 100.0), BOUNDARY
    if m != n:
        return (93.0, 100.0), "a limit that does not know which set matters is conservative for unequal sets"
    return (93.0, 98.5 if min(m, n) <= 100 else 97.0), BOUNDARY if min(m, n) <= 100 else ""


CASES = [
    Case(
        "auroc_interval",
        name,
        f"{m} and {n}",
        of(auroc_interval, scores, m, n),
        coverage=limits(name, m, n)[0],
        why=limits(name, m, n)[1],
    )
    for name, scores in SETTINGS.items()
    for m, n in EVERYWHERE
]
CASES += [
    Case(label, name, f"{m} and {n}", of(method, SETTINGS[name], m, n), None)
    for label, method in (("delong, not printed", delong), ("Newcombe's method 5, not used", newcombe))
    for name, m, n in (
        ("normal scores, area .9", 400, 400),
        ("normal scores, area .99", 400, 400),
        ("normal scores, area .9995", 400, 400),
        ("in-scores of a third of the spread, area .99", 400, 100),
        ("in-scores of a third of the spread, area .99", 100, 2000),
        ("in-scores of thrice the spread, area .9", 100, 2000),
        ("1 % of in-items below all others, else separated", 400, 400),
        ("1 % of in-items below all others, else separated", 100, 2000),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_interval_covers_as_stated(case: Case) -> None:
    assert_limits(case, measured(case))


def test_the_area_of_rounded_scores_is_that_of_many_samples() -> None:
    scores = SETTINGS["five to ten distinct scores, area about .9"]
    sample = auroc(*scores.draw(np.random.default_rng(0), 200_000, 200_000))
    assert scores.truth == pytest.approx(sample, abs=0.003)


def test_newcombes_method_solves_its_equation() -> None:
    """Two sets of 20 with an area of .75: (A - t)^2 = z^2 V(t) at both ends; and at an area of 1 the end below 1."""
    inside, outside = np.arange(20) + 10.0, np.arange(20) + 0.5
    for shift in (0.0, 30.0):
        area, found = auroc(inside + shift, outside), newcombe(inside + shift, outside)
        for end in {found.low, found.high} - {1.0}:
            variance = end * (1 - end) * (1 + 19 * (1 - end) / (2 - end) + 19 * end / (1 + end)) / 400
            assert (area - end) ** 2 == pytest.approx(1.959964**2 * variance)
