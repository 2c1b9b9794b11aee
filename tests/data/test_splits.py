from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.spec import DatasetSpec, Split, always_found
from bench.data.splits import Caps, Splits, make_splits, make_test
from bench.rng import generator


def spec(**changes: object) -> DatasetSpec:
    values: dict[str, Any] = {
        "name": "toy",
        "summary": "toy",
        "source": "toy",
        "license": "none",
        "num_classes": 7,
        "image_shape": (1, 1, 1),
        "version": 1,
        "implementation": "toy:load",
        "find": always_found,
        "fingerprint": "toy",
    }
    return DatasetSpec(**(values | changes))


def part(count: int, offset: int = 0) -> Split:
    """Every item carries its position (plus offset) as pixel, so that images and ids can be matched."""
    ids = np.arange(count, dtype=np.int64)
    images = ((ids + offset) / 1000).astype(np.float32).reshape(-1, 1, 1, 1)
    return Split(images, (ids + offset) % 7, ids)


def ids(splits: Splits) -> tuple[list[int], list[int], list[int]]:
    return splits.train.ids.tolist(), splits.validation.ids.tolist(), splits.test.ids.tolist()


@given(count=st.integers(3, 60), seed=st.integers(0, 2**40), data=st.data())
def test_a_whole_set_is_partitioned(count: int, seed: int, data: st.DataObject) -> None:
    test = data.draw(st.integers(1, count - 2))
    validation = data.draw(st.integers(0, count - test - 1))
    splits = make_splits(spec(test=test), {"all": part(count)}, seed=seed, validation=validation)
    train_ids, validation_ids, test_ids = ids(splits)
    assert (len(validation_ids), len(test_ids)) == (validation, test)
    assert sorted(train_ids + validation_ids + test_ids) == list(range(count))
    for piece in (splits.train, splits.validation, splits.test):
        np.testing.assert_array_equal(piece.images.ravel(), (piece.ids / 1000).astype(np.float32))
        np.testing.assert_array_equal(piece.labels, piece.ids % 7)


@given(seed=st.integers(0, 1000), validation=st.integers(0, 29))
def test_validation_never_comes_from_the_official_test_set(seed: int, validation: int) -> None:
    raw = {"train": part(30), "test": part(10, offset=500)}
    splits = make_splits(spec(), raw, seed=seed, validation=validation)
    assert splits.validation.images.size == 0 or splits.validation.images.max() < 0.5
    assert splits.test.images.min() >= 0.5
    assert sorted(splits.train.ids.tolist() + splits.validation.ids.tolist()) == list(range(30))
    assert sorted(splits.test.ids.tolist()) == list(range(10))


@given(seed=st.integers(0, 1000), small=st.integers(1, 10), large=st.integers(10, 20))
def test_a_smaller_cap_is_a_prefix_of_a_larger_one_and_of_none(seed: int, small: int, large: int) -> None:
    raw = {"train": part(60), "test": part(20)}
    pieces = [
        ids(make_splits(spec(validation=20), raw, seed=seed, caps=Caps(train=cap, validation=cap, test=cap)))
        for cap in (small, large, None)
    ]
    for few, more, everything in zip(*pieces, strict=True):
        assert len(few) == small
        assert few == more[:small]
        assert more == everything[:large]


def test_caps_move_no_item_between_parts() -> None:
    raw = {"all": part(50)}
    toy = spec(test=10, validation=15)
    full = ids(make_splits(toy, raw, seed=1))
    capped = ids(make_splits(toy, raw, seed=1, caps=Caps(validation=5)))
    assert capped == (full[0], full[1][:5], full[2])


def test_the_test_set_does_not_depend_on_validation_and_is_the_same_as_ood_set() -> None:
    for raw in ({"all": part(50)}, {"train": part(40), "test": part(10)}):
        toy = spec(test=10)
        tests = [ids(make_splits(toy, raw, seed=1, validation=count))[2] for count in (0, 5, 20)]
        assert tests[0] == tests[1] == tests[2] == make_test(toy, raw, seed=1).ids.tolist()
        assert make_test(toy, raw, seed=1, cap=4).ids.tolist() == tests[0][:4]


def test_seed_and_name_choose_the_items() -> None:
    raw = {"all": part(50)}
    base = ids(make_splits(spec(test=10), raw, seed=1))
    assert ids(make_splits(spec(test=10), raw, seed=1)) == base
    assert ids(make_splits(spec(test=10), raw, seed=2)) != base
    assert ids(make_splits(spec(test=10, name="other"), raw, seed=1)) != base


def test_generator_is_pinned() -> None:
    # Splits of published results hang on these values: a change here is a change of every data set's version.
    assert generator(1234, "digits/all").permutation(10).tolist() == [8, 2, 6, 3, 4, 0, 1, 9, 7, 5]
    assert generator(0, "a").random() != generator(0, "b").random()
    with pytest.raises(ValueError, match="data seed is -1"):
        generator(-1, "a")


@pytest.mark.parametrize(
    ("raw", "changes", "arguments", "message"),
    [
        ({"train": 10, "test": 5}, {}, {"validation": 10}, "10 validation items leave nothing"),
        ({"train": 10, "test": 5}, {}, {"validation": -1}, "validation is -1"),
        (
            {"train": 10, "test": 5},
            {},
            {"caps": Caps(train=11)},
            "11 training items asked for, expected 1 to 10",
        ),
        ({"train": 10, "test": 5}, {}, {"caps": Caps(test=6)}, "6 test items asked for, expected 1 to 5"),
        (
            {"train": 10, "test": 5},
            {"validation": 3},
            {"caps": Caps(validation=4)},
            "4 validation items asked for, expected 1 to 3",
        ),
        ({"all": 10}, {}, {}, "holds out no test items"),
        ({"all": 10}, {"test": 10}, {}, "10 test items of 10"),
        ({"test": 10}, {}, {}, "no training part .only test.*out-of-distribution"),
        ({"train": 10}, {}, {}, "no training part"),
    ],
)
def test_requests_beyond_the_data_are_errors(
    raw: dict[str, int], changes: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    parts = {name: part(count) for name, count in raw.items()}
    with pytest.raises(ValueError, match=message):
        make_splits(spec(**changes), parts, seed=0, **arguments)


def test_a_set_without_test_part_cannot_be_an_ood_set() -> None:
    with pytest.raises(ValueError, match="no test part"):
        make_test(spec(), {"train": part(3)}, seed=0)


def test_caps_must_be_positive() -> None:
    with pytest.raises(ValueError, match="cap on validation is 0"):
        Caps(validation=0)
