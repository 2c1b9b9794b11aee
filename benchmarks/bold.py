"""Time that a column's bold face takes: all pairs of rows at once, beside one pair after the other.

    python benchmarks/bold.py [--rows 5 12] [--items 10000]

The rows have made-up results of which none is significantly better. McNemar's test is of right or wrong, the
permutation of values such as NLL or means over seeds, DeLong's of two sets with that many items each. CPU time of one
thread: threads of OpenBLAS that wait would count, too.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from itertools import combinations

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from bench.metrics.paired import mcnemar, permutation_mean
from bench.report.bold import indistinguishable_by_area, indistinguishable_from_best
from bench.report.items import Items, scored_difference
from bench.report.stored import Scored

SEED = 0


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", default=[5, 12])
    arguments.add_argument("--items", type=int, default=10_000)
    given = arguments.parse_args()
    print("| test | rows | all pairs at once | one by one | times faster |\n|---|---:|---:|---:|---:|")
    for rows in given.rows:
        for name, (whole, single) in ways(rows, given.items).items():
            at_once, one_by_one = seconds(whole), seconds(single)
            print(
                f"| {name} | {rows} | {at_once:.3f} s | {one_by_one:.2f} s | {one_by_one / at_once:.0f} |", flush=True
            )


def ways(rows: int, items: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """By test, what a table calls, and the tests of the same pairs one after the other."""
    draw, ids = np.random.default_rng(SEED), np.arange(items)
    right: dict[str, Items] = {str(row): (ids, draw.random(items) < 0.9) for row in range(rows)}
    values: dict[str, Items] = {str(row): (ids, draw.random(items)) for row in range(rows)}
    scored = {
        str(row): {SEED: Scored(ids, draw.normal(1, 1, items), ids, draw.normal(0, 1, items))} for row in range(rows)
    }
    resamples = max(9999, 200 * math.comb(rows, 2))  # as the table takes them
    return {
        "McNemar": (
            lambda: indistinguishable_from_best(right),
            lambda: [mcnemar(a[1], b[1]) for a, b in combinations(right.values(), 2)],
        ),
        "permutation": (
            lambda: indistinguishable_from_best(values, test="permutation"),
            lambda: [permutation_mean(a[1], b[1], SEED, resamples) for a, b in combinations(values.values(), 2)],
        ),
        "DeLong": (
            lambda: indistinguishable_by_area(scored),
            lambda: [scored_difference(a, b) for a, b in combinations(scored.values(), 2)],
        ),
    }


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    main()
