from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench.data.loading import load_ood, load_splits
from bench.data.spec import DamagedData, MissingData
from bench.data.user import fingerprint, spec_for_path

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> npt.NDArray[Any]:
    return RNG.integers(256, size=shape).astype(np.uint8)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def labels(count: int, classes: int = 2) -> npt.NDArray[Any]:
    return np.arange(count) % classes


def test_archive_with_official_split(tmp_path: Path) -> None:
    x_train, x_test = pixels(40, 3, 5, 6), pixels(10, 3, 5, 6)
    path = save(tmp_path / "my set.npz", x_train=x_train, y_train=labels(40), x_test=x_test, y_test=labels(10))
    spec = spec_for_path(path)
    assert (spec.name, spec.num_classes, spec.image_shape) == ("my-set", 2, (3, 5, 6))
    assert (spec.validation, spec.test, spec.sizes) == (4, None, {"train": 40, "test": 10})
    assert spec.fingerprint == fingerprint(path)
    assert spec.find(Path("/elsewhere")) is None
    splits = load_splits(spec, Path("/elsewhere"), seed=1)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (36, 4, 10)
    np.testing.assert_array_equal(splits.train.images, x_train[splits.train.ids])
    np.testing.assert_array_equal(splits.test.images, x_test[splits.test.ids])
    np.testing.assert_array_equal(splits.test.labels, splits.test.ids % 2)


def test_archive_without_official_split_holds_out_a_fifth(tmp_path: Path) -> None:
    spec = spec_for_path(save(tmp_path / "a.npz", x=pixels(50, 4, 4), y=labels(50, 5)), name="mine")
    assert (spec.name, spec.num_classes, spec.image_shape) == ("mine", 5, (1, 4, 4))
    assert (spec.validation, spec.test, spec.sizes) == (4, 10, {"train": 40, "test": 10})
    splits = load_splits(spec, tmp_path, seed=1)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (36, 4, 10)


def test_archive_with_test_only_serves_as_ood_set(tmp_path: Path) -> None:
    spec = spec_for_path(save(tmp_path / "a.npz", x_test=pixels(7, 4, 4), y_test=labels(7)))
    like = load_splits(
        spec_for_path(save(tmp_path / "b.npz", x=pixels(50, 3, 8, 8), y=labels(50))), tmp_path, seed=0
    ).test
    assert load_ood(spec, tmp_path, like=like, seed=0).images.shape == (7, 3, 8, 8)
    with pytest.raises(ValueError, match="no training part"):
        load_splits(spec, tmp_path, seed=0)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 3, 5, 6), (0, 1, 2, 3)),
        ((9, 5, 6, 3), (0, 3, 1, 2)),
        ((9, 5, 6, 1), (0, 3, 1, 2)),
        ((9, 1, 5, 6), (0, 1, 2, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_axes_and_dtypes(
    tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...], dtype: type[np.generic]
) -> None:
    x = pixels(*shape)
    x = x if dtype is np.uint8 else (x / 255).astype(dtype)
    spec = spec_for_path(save(tmp_path / "a.npz", x=x, y=labels(9)))
    test = load_splits(spec, tmp_path, seed=0).test
    assert test.images.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    np.testing.assert_array_equal(test.images, x.transpose(axes)[test.ids].astype(test.images.dtype))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": pixels(9, 3, 5, 3), "y": labels(9)}, "both could be the channels"),
        ({"x": pixels(9, 2, 5, 2), "y": labels(9)}, "neither can be the channels"),
        ({"x": pixels(9, 5), "y": labels(9)}, r"shape \(9, 5\); expected \(n, H, W\)"),
        ({"x": pixels(0, 5, 5), "y": labels(0)}, "holds nothing"),
        ({"x": pixels(9, 5, 5).astype(np.int64), "y": labels(9)}, "int64; expected uint8"),
        ({"x": pixels(9, 5, 5).astype(np.float32), "y": labels(9)}, r"must lie in \[0, 1\]"),
        ({"x": np.full((9, 5, 5), np.nan), "y": labels(9)}, r"nan.*must lie in \[0, 1\]"),
        ({"x": pixels(9, 5, 5), "y": labels(8)}, r"expected integers of shape \(9,\)"),
        ({"x": pixels(9, 5, 5), "y": labels(9) / 1.0}, "float64 of shape"),
        ({"x": pixels(9, 5, 5), "y": labels(9) - 1}, "smallest label is -1"),
        ({"x": pixels(9, 5, 5), "y": labels(9) + 1}, "class 0 has no training item"),
        ({"x": pixels(9, 5, 5), "labels": labels(9)}, "has the arrays labels, x; expected x_train"),
        ({"x": np.array([{}]), "y": labels(1)}, "plain arrays"),
        (
            {
                "x_train": pixels(9, 5, 5),
                "y_train": labels(9),
                "x_test": pixels(9, 6, 6),
                "y_test": labels(9),
            },
            "expected one shape",
        ),
        (
            {
                "x_train": pixels(9, 5, 5),
                "y_train": labels(9),
                "x_test": pixels(9, 5, 5),
                "y_test": labels(9, 3),
            },
            "class 2 has no training item",
        ),
    ],
)
def test_mistakes_in_an_archive_are_named(tmp_path: Path, arrays: dict[str, npt.NDArray[Any]], message: str) -> None:
    path = save(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        spec_for_path(path)
    assert str(path) in str(caught.value)


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="there is nothing at"):
        spec_for_path(tmp_path / "absent.npz")
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(ValueError, match=r"expected an \.npz archive or a folder"):
        spec_for_path(tmp_path / "text.txt")
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(ValueError, match=r"not a readable \.npz"):
        spec_for_path(tmp_path / "text.npz")


def test_a_changed_archive_is_refused_and_a_deleted_one_is_missing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=pixels(20, 4, 4), y=labels(20))
    spec = spec_for_path(path)
    save(path, x=pixels(20, 4, 4), y=labels(20))
    with pytest.raises(DamagedData, match="has changed since"):
        load_splits(spec, tmp_path, seed=0)
    path.unlink()
    with pytest.raises(MissingData, match="there is nothing at"):
        load_splits(spec, tmp_path, seed=0)


def make_folder(root: Path, parts: dict[str, dict[str, list[npt.NDArray[Any]]]], suffix: str = ".png") -> Path:
    for part, classes in parts.items():
        for name, images in classes.items():
            (root / part / name).mkdir(parents=True)
            for index, image in enumerate(images):
                Image.fromarray(image).save(root / part / name / f"{index}{suffix}")
    return root


def test_folder_of_images(tmp_path: Path) -> None:
    cats, dogs, test = list(pixels(6, 5, 7, 3)), list(pixels(4, 5, 7, 3)), list(pixels(2, 5, 7, 3))
    root = make_folder(
        tmp_path / "pets", {"train": {"dog": dogs, "cat": cats}, "test": {"dog": test[:1], "cat": test[1:]}}
    )
    (root / ".DS_Store").write_text("ignored")
    (root / "train" / "cat" / ".hidden").write_text("ignored")
    spec = spec_for_path(root)
    assert (spec.name, spec.num_classes, spec.image_shape) == ("pets", 2, (3, 5, 7))
    assert (spec.validation, spec.sizes) == (1, {"train": 10, "test": 2})
    splits = load_splits(spec, tmp_path, seed=0, validation=0)
    order = np.argsort(splits.train.ids)
    expected = np.stack(cats + dogs).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(splits.train.images[order], expected)
    assert splits.train.labels[order].tolist() == [0] * 6 + [1] * 4
    order = np.argsort(splits.test.ids)
    np.testing.assert_array_equal(splits.test.images[order], np.stack([test[1], test[0]]).transpose(0, 3, 1, 2))
    assert splits.test.labels[order].tolist() == [0, 1]


def test_grey_folder_is_grey_and_mixed_folder_is_colour(tmp_path: Path) -> None:
    grey, colour = list(pixels(3, 4, 4)), list(pixels(3, 4, 4, 3))
    assert spec_for_path(make_folder(tmp_path / "g", {"test": {"a": grey}})).image_shape == (1, 4, 4)
    mixed = spec_for_path(make_folder(tmp_path / "m", {"test": {"a": grey, "b": colour}}))
    assert mixed.image_shape == (3, 4, 4)


def test_fingerprint_of_a_folder_is_its_content_wherever_it_lies(tmp_path: Path) -> None:
    images = list(pixels(3, 4, 4))
    first = make_folder(tmp_path / "a", {"test": {"x": images}})
    same = make_folder(tmp_path / "b", {"test": {"x": images}})
    other_class = make_folder(tmp_path / "c", {"test": {"y": images}})
    other_pixels = make_folder(tmp_path / "d", {"test": {"x": [*images[:2], 255 - images[2]]}})
    assert fingerprint(first) == fingerprint(same)
    assert len({fingerprint(folder) for folder in (first, other_class, other_pixels)}) == 3


def test_mistakes_in_a_folder_are_named(tmp_path: Path) -> None:
    good = list(pixels(2, 4, 4))

    def refuse(root: Path, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            spec_for_path(root)

    refuse(make_folder(tmp_path / "1", {"train": {"a": good}}), "holds train; expected train/CLASS/IMAGE")
    refuse(make_folder(tmp_path / "2", {"test": {"a": []}}), "holds no image")
    other_size = make_folder(tmp_path / "3", {"test": {"a": [*good, pixels(5, 4)]}})
    refuse(other_size, r"2\.png: has 5x4 pixels .*expected 4x4 as .*0\.png has")
    strange = make_folder(tmp_path / "4", {"train": {"a": good}, "test": {"b": good}})
    refuse(strange, "class 'b' has no folder below")
    text = make_folder(tmp_path / "5", {"test": {"a": good}})
    (text / "test" / "a" / "notes.txt").write_text("x")
    refuse(text, r"notes\.txt: is not an image")
    broken = make_folder(tmp_path / "6", {"test": {"a": good}})
    (broken / "test" / "a" / "0.png").write_text("x")
    refuse(broken, r"0\.png: cannot be read as an image")
    refuse(make_folder(tmp_path / "7", {"test": {"a": list(pixels(2, 4, 4, 4))}}), "mode RGBA")
    loose = make_folder(tmp_path / "8", {"test": {"a": good}})
    (loose / "test" / "1.png").write_text("x")
    refuse(loose, r"1\.png: is not the folder of a class")
    (tmp_path / "9" / "test").mkdir(parents=True)
    refuse(tmp_path / "9", "holds no class")
