from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.data.catalogue import DATASETS
from bench.data.spec import RESAMPLING, DamagedData, MissingData, Split, identity

BY_NAME = {spec.name: spec for spec in DATASETS}


def split(images: npt.NDArray[Any]) -> Split:
    count = len(images)
    return Split(images, np.zeros(count, dtype=np.int64), np.arange(count, dtype=np.int64))


def test_identity_is_json_and_says_how_images_are_brought_to_the_shape() -> None:
    native = identity(BY_NAME["cifar10"], None, 3)
    assert json.loads(json.dumps(native)) == native
    assert native["transform"] == "native 3x32x32"
    assert identity(BY_NAME["cifar10"], (3, 32, 32), 3) == native
    assert identity(BY_NAME["cifar10"], (1, 8, 8), 3)["transform"] == f"3x32x32 to 1x8x8, {RESAMPLING}"
    assert identity(BY_NAME["patches"], (1, 8, 8), 3)["transform"] == "made at 1x8x8"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": 2},
        {"fingerprint": "sha256:0"},
        {"validation": 1},
        {"test": 5},
        {"augmentation": "none"},
    ],
)
def test_identity_changes_with_whatever_changes_the_numbers(change: dict[str, Any]) -> None:
    spec = BY_NAME["cifar10"]
    assert identity(dataclasses.replace(spec, **change), None, 0) != identity(spec, None, 0)


def test_identity_changes_with_shape_and_seed_but_not_with_prose() -> None:
    spec = BY_NAME["cifar10"]
    base = identity(spec, None, 0)
    assert identity(spec, None, 1) != base
    assert identity(spec, (3, 16, 16), 0) != base
    assert identity(dataclasses.replace(spec, summary="x", license="y", source="z"), None, 0) == base


def test_identity_of_a_made_set_needs_a_shape() -> None:
    with pytest.raises(ValueError, match="image_shape is needed"):
        identity(BY_NAME["uniform"], None, 0)


def test_spec_refuses_names_that_cannot_be_part_of_a_column_or_path() -> None:
    for name in ("", "a b", "a/b", "a@b", "-a"):
        with pytest.raises(ValueError, match="data set name"):
            dataclasses.replace(BY_NAME["digits"], name=name)
    with pytest.raises(ValueError, match="validation is -1"):
        dataclasses.replace(BY_NAME["digits"], validation=-1)
    with pytest.raises(ValueError, match="test is 0"):
        dataclasses.replace(BY_NAME["digits"], test=0)


def test_specs_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    for spec in DATASETS:
        sent = pickle.loads(pickle.dumps(spec))
        # Methods are equal only if they belong to the same object, so their results are compared.
        assert sent.find(tmp_path) == spec.find(tmp_path)
        assert sent.checksums(tmp_path) == spec.checksums(tmp_path)
        assert dataclasses.replace(sent, find=spec.find, checksums=spec.checksums) == spec


def test_missing_data_survives_pickling_and_says_what_and_where() -> None:
    error = pickle.loads(pickle.dumps(MissingData("svhn", "put x into y")))
    assert (error.what, error.where) == ("svhn", "put x into y")
    assert str(error) == "data set 'svhn' is missing: put x into y"
    assert not issubclass(DamagedData, MissingData)


def test_unit_images_of_bytes_are_multiples_of_1_over_255() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    images = split(levels).unit_images()
    assert images.dtype == np.float32
    np.testing.assert_allclose(images.ravel(), np.arange(256) / 255, rtol=1e-6)
    assert images.min() == 0.0
    assert images.max() == 1.0
    floats = np.random.default_rng(0).random((2, 1, 3, 3), dtype=np.float32)
    np.testing.assert_array_equal(split(floats).unit_images(), floats)


def test_take_copies_images_labels_and_ids_together() -> None:
    whole = Split(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.array([5, 6, 7, 8]), np.array([10, 11, 12, 13]))
    part = whole.take(np.array([3, 1]))
    assert part.images.ravel().tolist() == [3, 1]
    assert part.labels.tolist() == [8, 6]
    assert part.ids.tolist() == [13, 11]
    part.images[:] = 99
    assert whole.images.ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("images", "labels", "ids", "message"),
    [
        (np.zeros((2, 3, 3), np.float32), np.zeros(2, np.int64), np.zeros(2, np.int64), "images: shape"),
        (np.zeros((2, 1, 3, 3)), np.zeros(2, np.int64), np.zeros(2, np.int64), "float64"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.zeros(3, np.int64), np.zeros(2, np.int64), "labels: shape"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.zeros(2, np.int64), np.zeros(2, np.int32), "ids: .*int32"),
    ],
)
def test_split_refuses_other_shapes_and_dtypes(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], ids: npt.NDArray[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Split(images, labels, ids)


def test_catalogue_loads_without_torch_sklearn_torchvision_or_pillow() -> None:
    code = (
        "import sys, pathlib\n"
        "from bench.data.catalogue import DATASETS\n"
        "from bench.data.spec import identity\n"
        "import bench.data.user, bench.data.loading, bench.data.splits\n"
        "for spec in DATASETS:\n"
        "    spec.find(pathlib.Path('/nonexistent')); identity(spec, (1, 8, 8), 0)\n"
        "heavy = {'torch', 'sklearn', 'torchvision', 'PIL', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
