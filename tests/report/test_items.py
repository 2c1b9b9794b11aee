from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.ood_inference import placement_difference
from bench.report.bold import indistinguishable_by_area
from bench.report.items import common_ids, common_items, placements_on_same_items, scored_difference
from bench.report.stored import Scored


def test_rows_on_other_items_are_compared_on_those_they_share() -> None:
    a = np.array([5, 2, 9, 7]), np.array([True, False, True, True])
    b = np.array([9, 1, 2, 5]), np.array([False, True, True, True])
    found = common_items({"a": a, "b": b})
    assert [ids.tolist() for ids, _ in found.values()] == [[2, 5, 9]] * 2
    assert found["a"][1].tolist() == [False, True, True]
    assert found["b"][1].tolist() == [True, True, False]
    assert common_items({"a": a, "c": (np.array([4]), np.array([True]))})["a"][1].size == 0


@given(st.lists(st.lists(st.integers(0, 6), unique=True), min_size=1, max_size=4), st.booleans())
def test_common_ids_are_those_of_all_sets(ids: list[list[int]], alike: bool) -> None:
    rows = [ids[0]] * len(ids) if alike else ids
    found = common_ids(np.array(row, dtype=np.int64) for row in rows)
    assert found.tolist() == sorted(set(rows[0]).intersection(*rows))


def runs(draw: np.random.Generator, seeds: int, shift: float, ids: list[int]) -> dict[int, Scored]:
    """Scores with ties and missing ones of 30 items and of 20 others."""

    def scores(n: int, centre: float) -> np.ndarray:
        found = np.round(draw.normal(centre, 1, n), 1)
        found[draw.random(n) < 0.05] = np.nan
        return found

    return {seed: Scored(np.array(ids), scores(30, shift), np.arange(20), scores(20, 0)) for seed in range(seeds)}


@given(st.integers(0, 99), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_rows_on_the_same_items_are_ranked_once_with_the_result_of_pairs(seed: int, seeds: int) -> None:
    draw = np.random.default_rng(seed)
    rows = {str(number): runs(draw, seeds, number / 2, list(range(30))) for number in range(4)}
    placements = placements_on_same_items(rows.values())
    assert placements is not None
    for a, b in itertools.combinations(range(4), 2):
        found = placement_difference(*(mine - other for mine, other in zip(placements[a], placements[b], strict=True)))
        pair = scored_difference(rows[str(a)], rows[str(b)])
        assert pair is not None
        assert found[1] == pytest.approx(pair[0].p, rel=1e-9)
        assert found[0].low == pytest.approx(pair[0].interval.low, abs=1e-12)  # type: ignore[union-attr]
    # One row with its items in another order is compared in pairs, with the same rows in bold.
    order = draw.permutation(30)
    shuffled = {which: one._replace(ids=one.ids[order], inside=one.inside[order]) for which, one in rows["2"].items()}
    other = {**rows, "2": shuffled}
    assert placements_on_same_items(other.values()) is None
    assert indistinguishable_by_area(other) == indistinguishable_by_area(rows)


def test_areas_over_one_item_are_not_compared() -> None:
    one = {0: Scored(np.array([1]), np.array([2.0]), np.arange(3), np.array([0.0, 1.0, 3.0]))}
    assert indistinguishable_by_area({"a": one, "b": one}) is None
