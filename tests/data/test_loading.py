from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import loading
from bench.data.catalogue import DATASETS
from bench.data.loading import clear_cache, load_ood, load_splits
from bench.data.spec import DatasetSpec, MissingData, Split, always_found
from bench.data.splits import Caps

BY_NAME = {spec.name: spec for spec in DATASETS}
ROOT = Path("/nonexistent")
ANSWER: dict[str, Split] = {}
CALLS: list[dict[str, Any]] = []


def load_answer(root: Path, **arguments: object) -> dict[str, Split]:
    """The loader of the toy sets: whatever the test has put into ANSWER."""
    CALLS.append({"root": root, **arguments})
    return dict(ANSWER)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    clear_cache()
    ANSWER.clear()
    CALLS.clear()
    yield
    clear_cache()


def part(count: int, shape: tuple[int, int, int] = (1, 4, 4), classes: int | None = 3) -> Split:
    images = np.random.default_rng(count).random((count, *shape), dtype=np.float32)
    labels = np.full(count, -1) if classes is None else np.arange(count) % classes
    return Split(images, labels.astype(np.int64), np.arange(count, dtype=np.int64))


def toy(**changes: object) -> DatasetSpec:
    values: dict[str, Any] = {
        "name": "toy",
        "summary": "toy",
        "source": "toy",
        "license": "none",
        "num_classes": 3,
        "image_shape": (1, 4, 4),
        "version": 1,
        "implementation": f"{__name__}:load_answer",
        "find": always_found,
        "fingerprint": "toy",
    }
    return DatasetSpec(**(values | changes))


def test_the_default_data_set_end_to_end() -> None:
    splits = load_splits(BY_NAME["digits"], ROOT, image_shape=(1, 8, 8), seed=1234)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1200, 200, 397)
    for name in ("patches", "interpolations", "uniform", "constant"):
        ood = load_ood(BY_NAME[name], ROOT, like=splits.test, seed=1234)
        assert ood.images.shape == splits.test.images.shape
        few = load_ood(BY_NAME[name], ROOT, like=splits.test, seed=1234, cap=50)
        np.testing.assert_array_equal(few.images, ood.images[:50])
        np.testing.assert_array_equal(few.ids, ood.ids[:50])


def test_parts_are_resized_to_the_wanted_shape() -> None:
    splits = load_splits(BY_NAME["digits"], ROOT, image_shape=(3, 16, 16), seed=0, caps=Caps(train=5, test=5))
    assert splits.train.images.shape == (5, 3, 16, 16)
    assert splits.validation.image_shape == splits.test.image_shape == (3, 16, 16)


def test_a_labelled_set_serves_as_ood_set_in_the_other_shape() -> None:
    ANSWER.update(train=part(20, (3, 4, 4)), test=part(6, (3, 4, 4)))
    spec = toy(image_shape=(3, 4, 4))
    own = load_splits(spec, ROOT, seed=5).test
    ood = load_ood(spec, ROOT, like=part(3, (1, 8, 8)), seed=5)
    assert ood.images.shape == (6, 1, 8, 8)
    np.testing.assert_array_equal(ood.ids, own.ids)
    np.testing.assert_array_equal(ood.labels, own.labels)


def test_loaders_get_what_the_contract_promises() -> None:
    ANSWER.update(test=part(6))
    like = part(3, (1, 8, 8))
    load_ood(toy(), ROOT, like=like, seed=5)
    load_ood(toy(location=None, fingerprint="other"), Path("/data"), like=like, seed=6)
    assert CALLS[0] == {"root": ROOT, "like": like, "image_shape": (1, 4, 4), "seed": 5}
    assert CALLS[1]["root"] == Path("/data")
    ANSWER.update(test=part(3, (1, 8, 8), classes=None))
    load_ood(toy(image_shape=None, num_classes=None), ROOT, like=like, seed=5)
    assert CALLS[2]["image_shape"] == (1, 8, 8)


def test_sets_are_loaded_once_and_made_sets_each_time() -> None:
    ANSWER.update(train=part(20), test=part(6))
    first = load_splits(toy(), ROOT, seed=0)
    load_splits(toy(), ROOT, seed=0, validation=3)
    assert len(CALLS) == 1
    load_splits(toy(version=2), ROOT, seed=0)
    load_splits(toy(), Path("/elsewhere"), seed=0)
    assert len(CALLS) == 3
    first.train.images[:] = 0.5
    first.train.labels[:] = 0
    again = load_splits(toy(), ROOT, seed=0)
    assert len(CALLS) == 3
    assert not (again.train.images == 0.5).all()
    ANSWER.clear()
    ANSWER.update(test=part(3, (1, 8, 8), classes=None))
    for count in (4, 5):
        made = toy(image_shape=None, num_classes=None, fingerprint="made")
        load_ood(made, ROOT, like=part(3, (1, 8, 8)), seed=0)
        assert len(CALLS) == count


def test_the_cache_is_small_and_forgets_the_least_recently_used() -> None:
    ANSWER.update(train=part(20), test=part(6))
    for version in (1, 2, 3, 4, 1, 5):
        load_splits(toy(version=version), ROOT, seed=0)
    assert len(CALLS) == 5
    load_splits(toy(version=1), ROOT, seed=0)
    assert len(CALLS) == 5
    load_splits(toy(version=2), ROOT, seed=0)
    assert len(CALLS) == 6
    assert len(loading._CACHE) == 4


def test_missing_files_are_reported_before_the_loader_is_called() -> None:
    with pytest.raises(MissingData, match=r"data set 'svhn' is missing: .*train_32x32\.mat"):
        load_splits(BY_NAME["svhn"], ROOT, seed=0)
    with pytest.raises(MissingData, match="data set 'celeba' is missing"):
        load_ood(BY_NAME["celeba"], ROOT, like=part(3), seed=0)
    for name in ("fashion-mnist", "cifar10", "cifar100"):
        if BY_NAME[name].find(ROOT) is not None:
            with pytest.raises(MissingData):
                load_splits(BY_NAME[name], ROOT, seed=0)


def test_an_unlabelled_set_cannot_be_in_distribution() -> None:
    for name in ("celeba", "uniform"):
        with pytest.raises(ValueError, match="only as out-of-distribution data"):
            load_splits(BY_NAME[name], ROOT, seed=0)


GOOD = part(6)


@pytest.mark.parametrize(
    ("answer", "changes", "message"),
    [
        ({"train": GOOD}, {}, "returned the parts train; expected train and test, all, or test"),
        ({}, {}, "returned the parts none"),
        (
            {"train": GOOD, "test": part(6, (1, 5, 5))},
            {},
            r"test: images of shape \(1, 5, 5\), expected \(1, 4, 4\)",
        ),
        ({"train": GOOD, "test": part(6, classes=4)}, {}, "test: labels 0 to 3, expected 0 to 2"),
        ({"train": GOOD, "test": part(6, classes=None)}, {}, "test: labels -1 to -1, expected 0 to 2"),
        ({"train": GOOD, "test": GOOD}, {"sizes": {"train": 7, "test": 6}}, "train: 6 items, expected 7"),
        ({"all": GOOD}, {"sizes": {"train": 6, "test": 2}, "test": 2}, "all: 6 items, expected 8"),
        ({"train": GOOD, "test": part(0)}, {}, "test: 0 items, expected at least one"),
        (
            {"train": GOOD, "test": dataclasses.replace(GOOD, images=GOOD.images + 1)},
            {},
            r"test: pixel values from 1\.\d+ to",
        ),
        (
            {"train": GOOD, "test": dataclasses.replace(GOOD, images=GOOD.images * np.nan)},
            {},
            "pixel values from nan",
        ),
        ({"train": GOOD, "test": dataclasses.replace(GOOD, ids=GOOD.ids * 0)}, {}, "ids are not unique"),
        ({"train": GOOD, "test": GOOD.images}, {}, "test: returned a ndarray, expected a Split"),
    ],
)
def test_a_loader_that_breaks_the_contract_is_named(
    answer: dict[str, Split], changes: dict[str, Any], message: str
) -> None:
    ANSWER.update(answer)
    with pytest.raises(ValueError, match=rf"'toy' \({__name__}:load_answer\).*{message}"):
        load_splits(toy(**changes), ROOT, seed=0)


def test_labels_in_a_set_without_classes_are_refused() -> None:
    ANSWER.update(test=GOOD)
    with pytest.raises(ValueError, match="labels 0 to 2 in a set without classes, expected -1"):
        load_ood(toy(num_classes=None), ROOT, like=GOOD, seed=0)
