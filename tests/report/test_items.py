from __future__ import annotations

import numpy as np

from bench.report.items import common_items


def test_rows_on_other_items_are_compared_on_those_they_share() -> None:
    a = np.array([5, 2, 9, 7]), np.array([True, False, True, True])
    b = np.array([9, 1, 2, 5]), np.array([False, True, True, True])
    found = common_items({"a": a, "b": b})
    assert [ids.tolist() for ids, _ in found.values()] == [[2, 5, 9]] * 2
    assert found["a"][1].tolist() == [False, True, True]
    assert found["b"][1].tolist() == [True, True, False]
    assert common_items({"a": a, "c": (np.array([4]), np.array([True]))})["a"][1].size == 0
