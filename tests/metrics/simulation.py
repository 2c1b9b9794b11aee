"""Simulated coverage of intervals and size of tests: a case is one method on one kind of data.

``tests/metrics/test_coverage_*.py`` hold the cases and assert their limits; ``python -m tests.metrics.write_intervals``
writes what they measure to ``docs/intervals.md``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.metrics.difference import Difference
from bench.metrics.intervals import Interval

REPETITIONS = 2000
"""Samples of a case; the standard error of a coverage of 95 % is then .5 points."""

Draw = Callable[[np.random.Generator], tuple[Interval | Difference | None, float]]
"""Draws one sample and returns what the method makes of it, and the true value."""


@dataclass(frozen=True)
class Case:
    """A method on one kind of data.

    Attributes:
        method: The function and, if there are several, its method.
        setting: The data in words.
        n: The number of items, runs or seeds in words.
        draw: Draws one sample.
        coverage: Limits of the coverage in percent that are asserted; None: the row is there for comparison.
        size: Limits of the share of p <= .05 in percent if the true difference is 0; None: not a test.
        why: The reason for limits that are not the usual ones.
    """

    method: str
    setting: str
    n: str
    draw: Draw
    coverage: tuple[float, float] | None = (93.0, 97.0)
    size: tuple[float, float] | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """The case in one line."""
        return f"{self.method}, {self.setting}, n = {self.n}"


@dataclass(frozen=True)
class Measured:
    """What a simulation gave.

    Attributes:
        coverage: Share of samples whose interval holds the true value, in percent; a sample without an interval counts
            as one that misses it.
        width: Mean width of the intervals.
        rejected: Share of samples with p <= .05, in percent; None if the method has no p value.
    """

    coverage: float
    width: float
    rejected: float | None


def measured(case: Case, repetitions: int = REPETITIONS) -> Measured:
    """Simulate a case. The samples are a function of its name."""
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    held, widths, rejected = 0, [], []
    for _ in range(repetitions):
        found, truth = case.draw(generator)
        if isinstance(found, Difference):
            rejected.append(found.p is not None and found.p <= 0.05)
        interval = found.interval if isinstance(found, Difference) else found
        if interval is not None:
            # Ends and true values that are equal in exact arithmetic may be rounded apart.
            held += interval.low - 1e-12 <= truth <= interval.high + 1e-12
            widths.append(interval.high - interval.low)
    finite = [width for width in widths if np.isfinite(width)]
    return Measured(
        coverage=100 * held / repetitions,
        width=float(np.mean(finite)) if finite else float("nan"),
        rejected=100 * float(np.mean(rejected)) if rejected else None,
    )


def assert_limits(case: Case, found: Measured) -> None:
    """Fail if the coverage or the size lies outside of the limits of the case."""
    if case.coverage is not None:
        assert case.coverage[0] <= found.coverage <= case.coverage[1], f"{case.name}: covers {found.coverage:.1f} %"
    if case.size is not None:
        assert found.rejected is not None
        assert case.size[0] <= found.rejected <= case.size[1], f"{case.name}: rejects {found.rejected:.1f} %"
