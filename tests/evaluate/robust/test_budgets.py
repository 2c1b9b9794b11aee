from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.attacks.threat import parse_eps
from bench.evaluate.robust.budgets import written_budgets


@given(st.lists(st.floats(0, 1), max_size=4, unique=True), st.sampled_from(["linf", "l2", None]))
def test_up_to_the_whole_pixel_range_every_budget_keeps_its_value(values: list[float], norm: str | None) -> None:
    written = written_budgets([repr(value) for value in values], norm)
    assert [parse_eps(text) for text in written] == values


@given(st.floats(1, 1e9, exclude_min=True))
def test_above_it_only_linf_is_bounded(value: float) -> None:
    for norm in ("l2", None):
        assert [parse_eps(text) for text in written_budgets([repr(value)], norm)] == [value]
    with pytest.raises(ValueError, match="at most 1"):
        written_budgets(["8/255", repr(value)], "linf")


@pytest.mark.parametrize(("given_", "meant"), [("8", "8/255"), ("16.0", "16/255"), ("254", "254/255")])
def test_grey_levels_are_what_was_meant(given_: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f'got "{given_}"; did you mean "{meant}"'):
        written_budgets([given_], "linf")


def test_what_is_no_number_of_grey_levels_gets_an_example() -> None:
    for value in ("1.5", "1000"):
        with pytest.raises(ValueError, match='did you mean "8/255"'):
            written_budgets([value], "linf")


@given(st.floats(0, 1), st.lists(st.floats(0, 1), max_size=3), st.sampled_from(["linf", "l2", None]))
def test_no_budget_is_there_twice_however_it_is_written(value: float, others: list[float], norm: str | None) -> None:
    texts = [repr(value), *map(repr, others), f" {value!r}"]
    with pytest.raises(ValueError, match="a budget is listed twice"):
        written_budgets(texts, norm)


def test_a_fraction_and_its_decimal_are_one_budget() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        written_budgets(["51/255", "0.2"], "linf")
