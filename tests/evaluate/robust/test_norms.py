"""Numbers of norms from made-up results: no attack is run here."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.attacks import AttackResult
from bench.evaluate.base import Number
from bench.evaluate.robust.norms import NormConfig, norm_columns, norm_items, norm_numbers

CURVE = ("0.25", "0.5", "1")


class Result:
    """What ``norm_numbers`` reads of a result."""

    def __init__(self, norms: list[float], clean: list[bool] | None = None) -> None:
        self.clean_correct = np.ones(len(norms), bool) if clean is None else np.array(clean)
        self.l2_with_failures = np.where(self.clean_correct, np.array(norms, dtype=np.float64), np.inf)
        self.success = np.isfinite(self.l2_with_failures)
        self.ids = np.arange(len(norms))


def measured(norms: list[float], clean: list[bool] | None = None, curve: tuple[str, ...] = CURVE) -> dict[str, Number]:
    result = cast(AttackResult, Result(norms, clean))
    numbers = norm_numbers(result, norm_columns("C&W", "attack", curve), seed=0)
    return {number.metric + (f"@{number.argument}" if number.argument else ""): number for number in numbers}


def test_accuracy_at_a_radius_by_hand() -> None:
    """Of five items one is wrong and one is never broken; a norm of exactly r breaks within r."""
    numbers = measured([0.25, 0.3, 0.9, np.inf, 0.1], [True, True, True, True, False])
    assert [numbers[f"robust@{radius}"].value for radius in CURVE] == [3 / 5, 2 / 5, 1 / 5]
    for radius in CURVE:
        number = numbers[f"robust@{radius}"]
        assert (number.n, number.verdict) == (5, "inconclusive")
        assert number.flags == {"MINNORM": "1 of 4 attacked items were not broken"}
        assert number.interval is not None
        assert number.interval.kind == "wilson"
    assert "common" not in numbers  # no row knows the others


NORMS = st.one_of(st.floats(0, 3), st.just(np.inf))


@settings(deadline=None, max_examples=25)  # a bootstrap interval is made each time
@forall(st.lists(st.tuples(NORMS, st.booleans()), min_size=1, max_size=30))
def test_the_curve_falls_from_clean_accuracy_to_what_was_not_broken(items: list[tuple[float, bool]]) -> None:
    norms, clean = [norm for norm, _ in items], [right for _, right in items]
    numbers = measured(norms, clean, curve=("1e-9", "0.5", "1", "1.5", "3"))
    values = [number.value for name, number in numbers.items() if name.startswith("robust@")]
    assert values == sorted(cast(list[float], values), reverse=True)
    assert values[0] == np.mean([right and norm > 1e-9 for norm, right in items])
    assert values[-1] == np.mean([right and np.isinf(norm) for norm, right in items])


@settings(deadline=None, max_examples=25)  # a bootstrap interval is made each time
@forall(st.lists(st.tuples(NORMS, st.booleans()), min_size=1, max_size=30))
def test_half_of_the_attacked_are_robust_at_the_median(items: list[tuple[float, bool]]) -> None:
    """The curve and the median are one distribution, seen from two sides."""
    norms, clean = [norm for norm, _ in items], [right for _, right in items]
    median = measured(norms, clean)["median"].value
    if median:
        radius = repr(float(median))
        attacked = sum(clean)
        left = measured(norms, clean, curve=(radius,))[f"robust@{radius}"].value
        assert left is not None
        assert left * len(norms) <= attacked / 2 + 1e-9


def test_arrays_by_which_a_report_goes_on() -> None:
    columns = norm_columns("C&W", "attack", CURVE)
    result = cast(AttackResult, Result([0.25, 0.3, 0.9, np.inf], [True, True, False, True]))
    items = norm_items(result, columns)
    np.testing.assert_array_equal(items["robust@0.25"], [False, True, False, True])
    np.testing.assert_array_equal(items["l2"], [0.25, 0.3, np.inf, np.inf])
    named = [number.items for number in norm_numbers(result, columns, seed=0)]
    assert [name for name in named if name is not None] == ["l2", *(f"robust@{radius}" for radius in CURVE)]
    assert [column.across for column in columns if column.metric == "common"] == ["l2"]
    assert {column.curve for column in columns if column.argument} == {"l2"}


def test_definitions_say_what_they_are() -> None:
    by_name = {column.metric + column.argument: column for column in norm_columns("C&W", "attack[7]", CURVE)}
    assert "upper bound from one minimal-norm attack: attack[7]" in by_name["robust0.5"].definition
    assert "every model of the table classifies correctly" in by_name["common"].definition
    assert (by_name["common"].test, by_name["robust0.5"].test, by_name["l2"].test) == ("permutation", "mcnemar", None)


@pytest.mark.parametrize("curve", [("0.5", "0.25"), ("0.5", "0.50"), ("0", "1"), ("-1",), ("x",)])
def test_radii_must_be_positive_and_increase(curve: Any) -> None:
    with pytest.raises(ValidationError, match=r"radii must be positive and increase|finite number >= 0"):
        NormConfig(curve=curve)


def test_radii_keep_their_look() -> None:
    """0.2 is 51/255, but nobody writes an L2 radius so."""
    assert NormConfig(curve=("0.20", "128 / 255", "1.0", "1.5")).curve == ("0.2", "128/255", "1", "1.5")
    assert NormConfig(curve=()).curve == ()


def test_the_median_has_an_interval_between_two_norms() -> None:
    """Of eight norms the first and the last enclose the median with a probability of 1 - 2 / 2^8."""
    norms = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    median = measured(norms)["median"]
    assert median.interval is not None
    assert (median.interval.low, median.interval.high, median.note) == (0.1, 0.8, None)


def test_a_median_whose_interval_has_no_upper_end_says_so() -> None:
    """Records hold finite numbers alone."""
    median = measured([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, np.inf, np.inf])["median"]
    assert (median.interval, median.note) == (None, "95 % interval from 0.100 to infinity")
    assert measured([0.1, np.inf, np.inf])["median"].note is None
