from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.report.items import common_ids, common_items


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
