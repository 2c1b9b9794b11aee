"""What evaluations return: what is declared passes, everything else is refused with its name."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome
from bench.evaluate.outcome import BrokenContractError, check_outcome, is_plain_name
from bench.metrics.intervals import Interval

COLUMNS = (
    Column(metric="rate", label="rate", unit="fraction", direction="up", definition="rate[1]", primary=True),
    Column(metric="size", argument="a", label="size", unit="l2", direction="down", definition="size[1]"),
    Column(metric="soft", label="soft", unit="1", direction=None, definition="soft[1]", readout="linear"),
    Column(metric="shared", label="shared", unit="l2", direction="up", definition="shared[1]", across="norms"),
)


class Stranger(Evaluation):
    """An evaluation of somebody."""

    name = "stranger"
    version = 1
    summary, source = "measures", "nowhere"
    Config = EvaluationConfig

    def columns(self, config: Any) -> tuple[Column, ...]:
        return COLUMNS

    def evaluate(self, config: Any, inputs: Any) -> Outcome:
        raise AssertionError("not called")


RATE = Number(
    metric="rate", value=0.5, n=4, definition="rate[1]", interval=Interval(0.1, 0.9, 0.95, "wilson"), items="ok"
)
SIZE = Number(metric="size", argument="a", value=None, n=0, definition="size[1]", reason="nothing was broken")
ITEMS: Mapping[str, Any] = {"ids": np.arange(4), "ok": np.array([True, False, True, False])}


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "png")
    return content.getvalue()


GOOD = Outcome([RATE, SIZE], items=ITEMS, files={"a.png": picture(), "notes.txt": b""}, details={"x": [1, None]})


def check(outcome: object, readouts: tuple[str, ...] = ()) -> Outcome:
    return check_outcome(Stranger(), EvaluationConfig(), outcome, readouts)


def problems(outcome: object, readouts: tuple[str, ...] = ()) -> str:
    with pytest.raises(BrokenContractError) as caught:
        check(outcome, readouts)
    assert str(caught.value).startswith("evaluation 'stranger' breaks its contract: ")
    return str(caught.value)


def test_what_is_declared_passes() -> None:
    assert check(GOOD) is GOOD
    assert check(replace(GOOD, numbers=(replace(RATE, value=np.float32(0.25), n=np.int64(3)), SIZE)))
    assert check(replace(GOOD, numbers=[replace(RATE, value=1), SIZE]))


def test_a_number_for_every_column_that_the_family_can_have() -> None:
    assert "there is no number for its column 'size' @a" in problems(replace(GOOD, numbers=[RATE]))
    assert "there is no number for its column 'soft'" in problems(GOOD, ("linear",))
    assert "'rate' is there twice" in problems(replace(GOOD, numbers=[RATE, RATE, SIZE]))
    other = Number(metric="speed", value=1.0, n=1, definition="speed[1]")
    said = problems(replace(GOOD, numbers=[RATE, SIZE, other]))
    assert "the number 'speed' is not among its columns (rate, shared, size, soft)" in said


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("value", "0.5", "value is '0.5', expected a number"),
        ("value", True, "value is True, expected a number"),
        ("value", 37.0, "value is 37, outside of [0, 1], the range of its column"),
        ("value", -0.1, "outside of [0, 1]"),
        ("value", math.nan, "value is nan: a number that is not finite needs a reason in its place"),
        ("value", math.inf, "value is inf"),
        ("value", None, "has neither a value nor a reason"),
        ("n", -1, "n is -1, expected a count of items"),
        ("n", 2.5, "n is 2.5"),
        ("n", None, "n is None"),
        ("definition", "rate[2]", "definition 'rate[2]' is not that of its column, 'rate[1]'"),
        ("interval", (0.0, 1.0), "interval is (0.0, 1.0), expected an Interval"),
        ("interval", Interval(math.nan, 1.0, 0.95, "t"), "is not finite"),
        ("interval", Interval(0.9, 0.1, 0.95, "t"), "ends before it begins"),
        ("verdict", "fine", "verdict is 'fine', expected one of masked"),
        ("flags", {"GRAD0": None}, "flags are not texts or finite numbers by name"),
        ("flags", {"GRAD0": math.nan}, "flags are not texts or finite numbers by name"),
        ("flags", ["GRAD0"], "flags are not texts or finite numbers by name"),
        ("items", "right", "items names the array 'right', which the outcome does not have"),
    ],
)
def test_a_number_that_is_none_is_named(field: str, value: Any, said: str) -> None:
    found = problems(replace(GOOD, numbers=[replace(RATE, **{field: value}), SIZE]))
    assert "contract: rate: " in found
    assert said in found


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ({"ok": ITEMS["ok"]}, "items has no array 'ids'"),
        ({**ITEMS, "long": np.arange(5)}, "items: long is not as long as 'ids'"),
        ({**ITEMS, "one": np.float64(3)}, "items: one is not an array of plain values"),
        ({**ITEMS, "any": np.array([{}] * 4)}, "items: any is not an array of plain values"),
        ({**ITEMS, "../x": np.arange(4)}, "items: '../x' is no plain name"),
        ({**ITEMS, "list": [1, 2, 3, 4]}, "items: list is not an array"),
        ([1], "items is not a mapping"),
    ],
)
def test_items_are_plain_arrays_of_one_length(items: Any, said: str) -> None:
    assert said in problems(replace(GOOD, items=items))


SET: Mapping[str, Any] = {"ids": np.arange(7), "score": np.arange(7.0)}


def test_sets_have_a_length_of_their_own_and_are_stored_beside_the_items() -> None:
    outcome = check(replace(GOOD, sets={"svhn": SET, "my data/ö.npz": {"ids": np.arange(2)}}))
    assert {name: len(array) for name, array in outcome.arrays.items()} == {
        "ids": 4, "ok": 4, "ids@svhn": 7, "score@svhn": 7, "ids@my data/ö.npz": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"svhn": {"score": SET["score"]}}, "sets['svhn'] has no array 'ids'"),
        ({"svhn": {**SET, "long": np.arange(4)}}, "sets['svhn']: long is not as long as 'ids'"),
        ({"svhn": {**SET, "../x": np.arange(7)}}, "sets['svhn']: '../x' is no plain name"),
        ({"svhn": {**SET, "any": np.array([{}] * 7)}}, "sets['svhn']: any is not an array of plain values"),
        ({"svhn": [1]}, "sets['svhn'] is not a mapping"),
        ({"a\nb": SET}, "is no name of a data set"),
        ({"": SET}, "is no name of a data set"),
        ({3: SET}, "sets: 3 is no name of a data set"),
        ({"b": {**SET, "score@a": np.arange(7)}, "a@b": SET}, "two arrays would be stored as 'score@a@b'"),
        ([SET], "sets is not a mapping"),
    ],
)
def test_the_arrays_of_sets_are_plain_and_apart(sets: Any, said: str) -> None:
    assert said in problems(replace(GOOD, sets=sets))


@pytest.mark.parametrize(
    "name",
    ["../x", "../../../../x", "/etc/x", "a/b", "", ".", "..", ".hidden", "record.json", "lock", "weights.safetensors",
     "checkpoint-1.safetensors", "a\nb", "a\0", "x" * 200, "items.npz", 3],
)  # fmt: skip
def test_files_stay_in_the_folder_of_the_job(name: Any) -> None:
    assert not is_plain_name(name)
    assert "is not the plain name of a file of its own" in problems(replace(GOOD, files={name: b""}))


@pytest.mark.parametrize("content", [b"", b"no picture", picture()[:-20], b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_pictures_are_pictures(content: bytes) -> None:
    assert "files: a.png is no PNG" in problems(replace(GOOD, files={"a.png": content}))


def test_files_are_bytes_and_details_are_json() -> None:
    assert "files: a.txt is str, expected bytes" in problems(replace(GOOD, files={"a.txt": "text"}))  # type: ignore[dict-item]
    for details in ({"x": math.nan}, {"x": {1, 2}}, {"x": np.float32(1)}, [1]):
        assert "details" in problems(replace(GOOD, details=details))  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", [None, 0.97, {"accuracy": 0.97}, [RATE], Outcome(0.97), Outcome([0.97])])  # type: ignore[arg-type, list-item]
def test_something_else(outcome: object) -> None:
    assert problems(outcome)


anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(
    numbers=st.lists(
        st.builds(
            Number,
            metric=st.sampled_from(["rate", "size", "soft", "x", 3]),
            argument=st.sampled_from(["", "a"]),
            value=st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=3)),
            n=st.one_of(st.integers(), anything),
            definition=st.sampled_from(["rate[1]", "size[1]", "soft[1]"]),
            interval=st.one_of(st.none(), anything),
            items=st.one_of(st.none(), st.sampled_from(["ok", "no"])),
            reason=st.one_of(st.none(), st.text(max_size=3)),
            verdict=st.one_of(st.none(), anything),
            flags=st.one_of(st.just({}), anything),
        ),
        max_size=4,
    )
    | anything,
    items=st.just(ITEMS) | anything,
    files=st.just({}) | anything,
    details=st.just({}) | anything,
)
def test_whatever_is_returned_is_accepted_or_refused_with_words(
    numbers: Any, items: Any, files: Any, details: Any
) -> None:
    try:
        outcome = check(Outcome(numbers, items=items, files=files, details=details))
    except BrokenContractError:
        return  # nothing else may be raised
    for number in outcome.numbers:
        assert number.value is None or math.isfinite(number.value)
        assert number.metric != "rate" or number.value is None or -1e-8 < number.value < 1 + 1e-8
    assert {"rate", "size"} <= {number.metric for number in outcome.numbers}
