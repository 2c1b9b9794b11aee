from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.suite.contrast import Anchor, bounded, differ, shrunk


def test_the_steps_of_table_10() -> None:
    assert shrunk([20, 50, 100], 5) == [2, 5, 10]


@pytest.mark.parametrize(
    ("own", "value", "expected"),
    [
        ([40, 40, 40.0], 5, [5, 5, 5]),  # no contrast: replaced
        ([100, 1000], 20, [2, 20]),  # of two the larger one becomes the profile's
        ([20, 21, 22], 2, [2, 3, 4]),  # rounding would make them equal
        ([1, 2], 4, [1, 2]),  # small enough as it is
        ([0, 1000], 0, [0, 1]),
        ([1e-4, 1e-3], 2e-3, [2e-4, 2e-3]),
        ([True, False], True, [True, False]),
        (["ce", "margin"], "ce", ["ce", "margin"]),
        ([None, 50], 5, [None, 50]),
        (["eps/30", "eps/10"], "eps/3", ["eps/9", "eps/3"]),
        (["eps/10", "2/255"], "eps/3", ["eps/10", "2/255"]),
        ([(30, 50, 80), (120, 140)], [8, 10], [[2, 4, 6], [9, 10]]),
        ([(), (30,)], [8], [[], [8]]),
        ([("ce",), ("margin",)], ["ce"], [("ce",), ("margin",)]),
    ],
)
def test_values_by_hand(own: list[Any], value: Any, expected: list[Any]) -> None:
    assert shrunk(own, value) == expected


def test_the_smallest_may_become_the_profiles() -> None:
    assert shrunk([50, 100], 6) == [3, 6]
    assert shrunk([50, 100], 6, "smallest") == [6, 12]


whole = st.lists(st.integers(0, 10_000), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(own=whole, value=st.integers(1, 500), anchor=st.sampled_from(["middle", "smallest"]))
def test_whole_numbers_keep_their_order_and_stay_different(own: list[int], value: int, anchor: Anchor) -> None:
    new = shrunk(own, value, anchor)
    if not differ(own):
        assert new == [value] * len(own)
        return
    for a, b in zip(own, new, strict=True):
        for c, d in zip(own, new, strict=True):
            assert (a < c) == (b < d)
    assert all(b > 0 for a, b in zip(own, new, strict=True) if a > 0)


@settings(max_examples=200, deadline=None)
@given(own=st.lists(st.integers(50, 10_000), min_size=2, max_size=4, unique=True), value=st.integers(20, 49))
@example(own=[150, 400], value=28)  # 10.5, which in floating point is a little more
def test_ratios_are_kept_up_to_rounding(own: list[int], value: int) -> None:
    new = shrunk(own, value)
    middle = sorted(own)[len(own) // 2]
    gaps = {round(Fraction(a * value, middle)) for a in own}
    if len(gaps) == len(own) and 0 not in gaps:
        assert new == [round(Fraction(a * value, middle)) for a in own]


@settings(max_examples=200, deadline=None)
@given(own=st.lists(st.integers(1, 10_000), min_size=1, max_size=6), most=st.integers(1, 500))
def test_bounds_bound_and_keep_apart_what_there_is_room_for(own: list[int], most: int) -> None:
    new = bounded(own, most)
    assert all(1 <= value <= most for value in new) or max(own) <= most
    if max(own) <= most:
        assert new == own
        return
    assert max(new) == most
    if len(set(own)) <= most:
        assert len(set(new)) == len(set(own))
