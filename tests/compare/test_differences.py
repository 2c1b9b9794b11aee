from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.compare.differences import Compared, of_families, of_weights
from bench.compare.sides import sides_of
from bench.metrics.difference import (
    accuracy_difference,
    independent_difference,
    seed_difference,
    share_difference,
    unpaired_seed_difference,
)
from bench.metrics.intervals import wilson
from tests.compare.conftest import SUITE, N, Run, right, with_seeds
from tests.conftest import Project


def weights(run: Run, name: str = "accuracy", **options: Any) -> Compared:
    sides = sides_of(run.results, run.plan.suite)
    return of_weights(sides["jem"], sides["softmax"], run.column(name), **options)


def families(run: Run, name: str = "accuracy") -> Compared:
    sides = sides_of(run.results, run.plan.suite)
    return of_families(sides["jem"], sides["softmax"], run.column(name))


def test_accuracies_of_one_seed_are_paired_by_item(run: Run) -> None:
    run.accuracy("jem", right(30))
    run.accuracy("softmax", right(10))
    found = weights(run)
    assert found.difference == accuracy_difference(right(30), right(10))
    assert found.difference.value == pytest.approx(-0.1)
    assert (found.n, found.seeds, found.reason) == (N, (1,), None)
    assert len(found.records) == 2


def test_items_are_paired_by_their_ids(run: Run) -> None:
    run.accuracy("jem", right(30)[:150])  # the first 150 items
    run.accuracy("softmax", right(10, first=140))
    found = weights(run)
    assert found.difference == accuracy_difference(right(30)[:150], right(10, first=140)[:150])
    assert found.n == 150


def test_without_the_same_items_nothing_is_paired(run: Run) -> None:
    run.accuracy("jem", right(30))
    run.accuracy("softmax", right(10))
    found = weights(run, same_items=False)
    assert found.difference == independent_difference(0.85, None, 0.95, None)
    assert found.difference.p is None


def test_a_number_without_items_has_the_interval_of_both_intervals() -> None:
    a, b = wilson(170, 200), wilson(190, 200)
    found = independent_difference(0.85, a, 0.95, b)
    assert found.interval is not None
    # Zou and Donner (2008), equation 2.
    assert found.interval.low == pytest.approx(-0.1 - ((0.85 - a.low) ** 2 + (b.high - 0.95) ** 2) ** 0.5)
    assert found.interval.high == pytest.approx(-0.1 + ((a.high - 0.85) ** 2 + (0.95 - b.low) ** 2) ** 0.5)
    with pytest.raises(ValueError, match="different levels"):
        independent_difference(0.85, a, 0.95, replace(b, level=0.9))


def test_symmetric_intervals_add_in_squares() -> None:
    """For symmetric intervals MOVER is the usual sum of variances."""
    a, b = wilson(100, 200), wilson(100, 200)
    found = independent_difference(0.5, a, 0.5, b)
    assert found.interval is not None
    assert found.interval.high == pytest.approx((a.high - 0.5) * 2**0.5)
    assert independent_difference(0.5, a, 0.5, None).interval is None


def test_three_seeds_are_answered_twice(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 3), project.root / "results")
    jem = [right(30 + seed) for seed in range(3)]
    softmax = [right(10, first=seed) for seed in range(3)]
    for seed in range(3):
        run.accuracy("jem", jem[seed], seed + 1)
        run.accuracy("softmax", softmax[seed], seed + 1)
    found = weights(run)
    assert found.difference == share_difference(np.mean(jem, axis=0), np.mean(softmax, axis=0), 0)
    assert found.difference.p is not None
    assert found.difference.p < 0.05
    over_seeds = families(run)
    assert over_seeds.difference is not None
    expected = seed_difference([-0.1, -0.105, -0.11])
    assert over_seeds.difference.value == pytest.approx(expected.value)
    assert (over_seeds.difference.p, over_seeds.difference.smallest_p) == (0.25, 0.25)
    assert over_seeds.seeds == (1, 2, 3)


def test_seeds_that_one_side_lacks_do_not_count(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 3), project.root / "results")
    for seed, wrong in ((1, 30), (2, 20), (3, 10)):
        run.accuracy("jem", right(wrong), seed)
    run.accuracy("softmax", right(8), 1)
    run.accuracy("softmax", right(9), 3)
    assert weights(run).seeds == (1, 3)
    difference = families(run).difference
    assert difference is not None
    assert (difference.value, difference.p) == (pytest.approx(-0.0575), 0.5)


def test_families_need_several_seeds(run: Run) -> None:
    run.accuracy("jem", right(30))
    run.accuracy("softmax", right(10))
    assert families(run) == Compared(None, "one seed: it does not show how runs vary")


def test_other_seeds_are_compared_without_pairs(project: Project) -> None:
    text = SUITE.replace('family = "jem"\n', 'family = "jem"\nseeds = [4, 5]\n')
    run = Run(project, text.replace('family = "softmax"\n', 'family = "softmax"\nseeds = [1, 2]\n'), project.root / "r")
    for seed, wrong in ((4, 30), (5, 20)):
        run.accuracy("jem", right(wrong), seed)
    for seed, wrong in ((1, 10), (2, 12)):
        run.accuracy("softmax", right(wrong), seed)
    assert families(run).difference == unpaired_seed_difference([0.85, 0.9], [0.95, 0.94])
    assert weights(run).reason == "no training seed in common"


def test_a_side_without_a_number_says_why(run: Run) -> None:
    assert weights(run).reason == "JEM: not run yet"
    run.accuracy("jem", right(3))
    assert weights(run).reason == "Softmax: not run yet"
    assert weights(run, "calibration.ece@paper").reason == "JEM: no read-out 'paper'"


def test_the_worse_verdict_counts(run: Run) -> None:
    items = {"ce": right(150), "clean": right(0)}
    run.measure("jem", "pgd@8/255", {"ce": 0.25}, correct=items, verdict="no warning")
    run.measure("softmax", "pgd@8/255", {"ce": 0.25}, correct=items, verdict="masked")
    assert weights(run, "pgd@8/255").verdict == "masked"


def test_the_order_of_seeds_has_no_effect(project: Project) -> None:
    """Means in another order differ by rounding, which is no difference."""
    run = Run(project, with_seeds(SUITE, 3), project.root / "results")
    for model, order in (("jem", (1, 2, 3)), ("softmax", (3, 1, 2))):
        for seed, place in enumerate(order, start=1):
            run.accuracy(model, right(10 * place), seed)
    found = weights(run)
    assert found.difference is not None
    assert (found.difference.value, found.difference.p) == (0.0, 1.0)


def test_intervals_stay_in_the_range_of_differences(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 2), project.root / "results")
    for seed, wrong in ((1, 0), (2, 180)):
        run.accuracy("jem", right(wrong), seed)
        run.accuracy("softmax", right(100), seed)
    difference = families(run).difference
    assert difference is not None
    assert difference.interval is not None
    assert (difference.interval.low, difference.interval.high) == (-1.0, 1.0)
    assert difference.interval.kind.endswith("cut to [-1, 1]")


def test_seeds_that_are_left_out_are_said(project: Project) -> None:
    run = Run(project, with_seeds(SUITE, 2), project.root / "results")
    for seed in (1, 2):
        run.accuracy("jem", right(10), seed)
    run.accuracy("softmax", right(10), 2)
    assert weights(run).reason == "over seed 2 alone, which both sides have"


def test_families_say_over_which_seeds_they_are(project: Project) -> None:
    """The remark stood below the table of these weights alone."""
    run = Run(project, with_seeds(SUITE, 3), project.root / "results")
    for seed in (1, 2, 3):
        run.accuracy("jem", right(10 * seed), seed)
    for seed in (1, 2):
        run.accuracy("softmax", right(10), seed)
    assert families(run).reason == "over seeds 1, 2 alone, which both sides have"
    run.accuracy("softmax", right(10), 3)
    assert families(run).reason is None
