"""Every mistake in a user's own images and labels is found when they are described, with what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import content
from bench.data.content import held_out, warnings_about
from bench.data.loading import load_splits
from bench.data.spec import DatasetSpec, Split
from bench.data.user import spec_for_path

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> Any:
    return RNG.integers(256, size=shape).astype(np.uint8)


def whole(y: Any, x: Any = None) -> dict[str, Any]:
    return {"x": pixels(len(y), 5, 5) if x is None else x, "y": y}


def split(y_train: Any, y_test: Any) -> dict[str, Any]:
    return {
        "x_train": pixels(len(y_train), 5, 5),
        "y_train": y_train,
        "x_test": pixels(len(y_test), 5, 5),
        "y_test": y_test,
    }


def described(path: Path, arrays: dict[str, Any]) -> DatasetSpec:
    np.savez(path / "own.npz", **arrays)
    return spec_for_path(path / "own.npz")


LABELS = np.arange(12) % 3
MINUS_ONE = np.array([0, 1, 2, -1] * 3)
IMAGES = pixels(12, 5, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        # Labels of -1, signed and not.
        (whole(MINUS_ONE), "y: smallest label is -1; expected 0..K-1; leave out items without a label"),
        (whole(MINUS_ONE.astype(np.uint8)), "class 3 has no .*found 0, 1, 2, 255; if 255 is a -1 stored unsigned"),
        (whole(MINUS_ONE.astype(np.uint16)), r"largest label is 65535 \(-1 stored as uint16\).*32,768 classes; leave"),
        (whole(MINUS_ONE.astype(np.uint32)), r"largest label is 4294967295 \(-1 stored as uint32\)"),
        (whole(MINUS_ONE.astype(np.uint64)), r"largest label is 18446744073709551615 \(-1 stored as uint64\)"),
        (split(LABELS, MINUS_ONE.astype(np.uint64)), r"y_test: largest label is 18446744073709551615"),
        ({"x_test": IMAGES, "y_test": MINUS_ONE.astype(np.uint32)}, "y_test: largest label is 4294967295"),
        # Labels that ask for memory.
        (whole(np.array([0, 1, 2**40] * 4)), "largest label is 1099511627776; expected .* at most 32,768 classes"),
        (whole(np.array([0, 1, 2**15] * 4)), "largest label is 32768; expected"),
        (whole(np.array([0, 1, 2**15 - 1] * 4)), "class 2 has no training item; .*found 0, 1, 32767"),
        ({"x_test": IMAGES, "y_test": LABELS + 2**40}, "largest label is 1099511627778"),
        # Gaps, and classes that only the test part has.
        (whole(LABELS + 1), "class 0 has no training item; .*found 1, 2, 3; store labels - 1"),
        (whole(np.array([0, 2, 4, 6, 8, 10, 12, 14] * 2)), "class 1 has no .*found 0, 2, 4, 6, 8, …, 14$"),
        (split(LABELS, np.array([0, 7])), "class 3 has no training item"),
        (whole(np.zeros(12, int)), "all training items are of one class"),
        (whole(np.arange(5)), "5 items of 5 classes leave 4 to train on once 1 are held out"),
        (whole(np.zeros(1, int)), "one class"),
        # Other forms.
        (whole(np.eye(3)[LABELS]), r"float64 of shape \(12, 3\); expected .*one-hot: store labels.argmax\(axis=1\)"),
        (whole(np.eye(3, dtype=int)[LABELS]), "one-hot"),
        (whole(np.eye(3, dtype=bool)[LABELS]), "one-hot"),
        (whole(LABELS[:, None]), r"shape \(12, 1\); .*store labels\[:, 0\]$"),
        (whole(LABELS[:, None] / 1.0), r"store labels\[:, 0\] as integers"),
        (whole(LABELS[None]), r"shape \(1, 12\); expected integers of shape \(1?2?"),
        (whole(LABELS / 2), r"float64 of shape \(12,\).*store labels.astype\('int64'\) if they are whole numbers"),
        (whole(LABELS.astype(np.float16)), "float16 of shape"),
        (whole(LABELS == 1), r"bool of shape \(12,\)"),
        (whole(LABELS.astype(complex)), "complex128 of shape"),
        (whole(LABELS.astype("U3")), "number the class names: numpy.unique"),
        (whole(LABELS.astype("S3")), "number the class names"),
        (whole(LABELS.astype("datetime64[D]")), r"datetime64\[D\] of shape"),
        (whole(np.float64(1), IMAGES), r"float64 of shape \(\); expected integers of shape \(12,\)"),
        (whole(LABELS[:7], IMAGES), r"int64 of shape \(7,\); .*: 7 labels for 12 images"),
        # Images.
        (whole(LABELS, IMAGES.astype(np.float32)), r"values from 0 to 25\d; .*divide by 255 or store uint8"),
        (whole(LABELS, IMAGES / 127.5 - 1), r"values from -.*in \[-1, 1\], store \(x \+ 1\) / 2"),
        (whole(LABELS, (IMAGES.astype(float) - 120) / 60), "standardised"),
        (
            whole(LABELS, np.where(IMAGES > 250, np.nan, 0.5)),
            r"values from nan to nan.*; \d+ of 300 values are not finite",
        ),
        (whole(LABELS, np.where(IMAGES > 250, np.inf, 0.5)), r"values from 0\.5 to inf.* are not finite"),
        (whole(LABELS, np.where(IMAGES > 250, -np.inf, 0.5)), "values from -inf to 0.5"),
        (whole(LABELS, IMAGES.astype(np.int64)), r"int64; .*become uint8 by .astype\('uint8'\)"),
        (whole(LABELS, IMAGES.astype(np.uint16) * 256), "uint16; expected uint8"),
        (whole(LABELS, IMAGES > 9), "bool; expected uint8"),
        (whole(LABELS, IMAGES.astype(complex)), "complex128; expected uint8"),
        (whole(LABELS, IMAGES.astype("U3")), "<U3; expected uint8"),
        (whole(LABELS, np.uint8(3)), "x: a single value; expected images"),
        (whole(LABELS, IMAGES.reshape(12, 25)), r"shape \(12, 25\); expected \(n, H, W\)"),
        (whole(LABELS, pixels(12, 1, 3, 5, 5)), r"shape \(12, 1, 3, 5, 5\); expected"),
        (whole(LABELS, pixels(12, 0, 5)), r"shape \(12, 0, 5\) holds nothing"),
        (whole(LABELS[:0], pixels(0, 5, 5)), "holds nothing"),
        (whole(LABELS, pixels(32, 32, 3, 12)), r"shape \(32, 32, 3, 12\): .*neither can be the channels"),
        (whole(LABELS, pixels(12, 4, 5, 5)), "neither can be the channels"),
        (whole(LABELS, pixels(12, 3, 5, 1)), "both could be the channels"),
        ({**split(LABELS, LABELS), "x_test": pixels(12, 6, 6)}, r"\(1, 5, 5\) and \(1, 6, 6\); expected one shape"),
        ({**split(LABELS, LABELS), "x_test": pixels(12, 5, 5, 3)}, r"\(1, 5, 5\) and \(3, 5, 5\); expected one shape"),
        # Names of arrays.
        ({"X_train": IMAGES, "y_train": LABELS}, "has the arrays X_train, y_train; .*'X_train' did you mean 'x_train'"),
        ({"x": IMAGES, "labels": LABELS}, r"has the arrays labels, x; expected .*\(or x_test, y_test; or x, y\)$"),
        ({"x_train": IMAGES, "Y-train": LABELS}, "for 'Y-train' did you mean 'y_train'"),
        ({**split(LABELS, LABELS), "x_val": IMAGES}, "has the arrays x_test, x_train, x_val, .*; take out x_val$"),
        ({"x_train": IMAGES, "y_train": LABELS}, "has the arrays x_train, y_train; expected x_train, y_train, x_test"),
        ({}, "has the arrays none; expected"),
        ({"x": IMAGES, "y": np.array([{}] * 12)}, r"plain arrays .*Python objects"),
    ],
)
def test_mistakes_are_named_with_what_would_be_right(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        described(tmp_path, arrays)
    assert str(caught.value).startswith(str(tmp_path / "own.npz"))


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "<u4", ">i8", "u8"])
def test_whole_labels_of_every_type_are_read(tmp_path: Path, dtype: str) -> None:
    spec = described(tmp_path, split(LABELS.astype(dtype), LABELS.astype(dtype)))
    assert spec.num_classes == 3
    test = load_splits(spec, tmp_path, seed=0).test
    assert test.labels.dtype == np.int64
    np.testing.assert_array_equal(test.labels, LABELS[test.ids])


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "g"])
def test_images_of_every_floating_type_are_read(tmp_path: Path, dtype: str) -> None:
    x = (np.arange(300).reshape(12, 5, 5) / 299).astype(dtype)
    test = load_splits(described(tmp_path, whole(LABELS, x)), tmp_path, seed=0).test
    np.testing.assert_array_equal(test.images[:, 0], x.astype(np.float32)[test.ids])


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9, 10, 11])
@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_described_can_be_split(tmp_path: Path, count: int, classes: int) -> None:
    """Down to the smallest set: either the description says what is wrong, or there is something to train on."""
    arrays = whole(np.arange(count) % classes)
    if count - held_out(count) < classes:
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
            described(tmp_path, arrays)
        return
    spec = described(tmp_path, arrays)
    splits = load_splits(spec, tmp_path, seed=3)
    assert len(splits.train) == spec.sizes["train"] - spec.validation >= 1
    assert len(splits.test) == held_out(count) >= 1


# --- memory -----------------------------------------------------------------------------------------------------


def test_no_description_asks_for_more_memory_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"x": np.zeros((600, 64, 64), np.uint8), "y": np.arange(600) % 2}
    np.savez_compressed(tmp_path / "own.npz", **arrays)
    size = (tmp_path / "own.npz").stat().st_size
    monkeypatch.setattr(content, "LIMIT", 2**21)
    with pytest.raises(ValueError, match=r"own\.npz: .*asks for 0\.0 GiB of memory; the limit is 0\.0 GiB"):
        spec_for_path(tmp_path / "own.npz")
    monkeypatch.setattr(content, "LIMIT", size - 1)
    with pytest.raises(ValueError, match=r"own\.npz: has 0\.0 GiB; the limit is 0\.0 GiB"):
        spec_for_path(tmp_path / "own.npz")
    monkeypatch.undo()
    assert spec_for_path(tmp_path / "own.npz").num_classes == 2


def test_the_limit_is_never_above_half_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(content.os, "sysconf", answers.__getitem__)
    assert content.memory_limit() == 2_048_000
    answers["SC_PHYS_PAGES"] = 2**40
    assert content.memory_limit() == content.LIMIT
    answers["SC_PHYS_PAGES"] = -1
    assert content.memory_limit() == content.LIMIT
    content.check_memory(content.LIMIT, "it")
    with pytest.raises(ValueError, match=r"^it asks for 64\.0 GiB of memory; the limit is 32\.0 GiB$"):
        content.check_memory(2 * content.LIMIT, "it")


# --- warnings ---------------------------------------------------------------------------------------------------


def part(images: Any, labels: Any = None) -> Split:
    y = np.arange(len(images)) % 2 if labels is None else np.asarray(labels)
    return Split(images[:, None], y.astype(np.int64), np.arange(len(images), dtype=np.int64))


def test_copies_of_training_images_in_the_test_part_are_counted() -> None:
    train, test = pixels(20, 4, 4), pixels(10, 4, 4)
    assert warnings_about({"train": part(train), "test": part(test)}, "own") == ()
    test[3], test[7] = train[5], train[5]
    (text,) = warnings_about({"train": part(train), "test": part(test)}, "own")
    assert text.startswith("own: 2 of 10 test images are training images too (the first: test item 3)")
    train[1] = train[0]
    train[2] = train[0]
    (text,) = warnings_about({"all": part(train)}, "own")
    assert text.startswith("own: 2 of 20 images are copies of others")


def test_dark_and_uniform_images_are_told() -> None:
    bright = part(pixels(4, 3, 3))
    for dark in (pixels(4, 3, 3) // 128, (pixels(4, 3, 3) / 255 / 255).astype(np.float32)):
        (text,) = warnings_about({"train": bright, "test": part(dark)}, "own")
        assert text.startswith("own, test: no pixel is above 0.00")
    (first, _) = warnings_about({"all": part(np.zeros((4, 3, 3), np.uint8))}, "own")
    assert first == "own, all: every pixel of every image has the same value"


def test_classes_without_test_items_are_told() -> None:
    raw = {"train": part(pixels(6, 3, 3), [0, 1, 2, 0, 1, 2]), "test": part(pixels(2, 3, 3), [0, 2])}
    assert warnings_about(raw, "own") == ("own: 1 classes have no test item (the first: class 1)",)
    lonely = {"all": part(pixels(6, 3, 3), [0, 1, 0, 1, 0, 2])}
    assert warnings_about(lonely, "own") == ("own: class 2 has one item only, which may be held out of training",)


def test_warnings_and_mistakes_reach_whoever_checks_a_suite(project: Any, tiny: str) -> None:
    from click.testing import CliRunner

    from bench.cli.main import cli

    arrays = split(np.arange(40) % 2, np.arange(10) % 2)
    arrays["x_test"][0] = arrays["x_train"][9]
    text = tiny.replace('"digits"', '"own.npz"').replace("epochs   = 2", "epochs   = 2\nbatch_size = 8")
    # The judge of generated images has batches of 64.
    suite = project.suite(text.replace('[[evaluation]]\nkind  = "generation"\nitems = 64\n', ""))
    np.savez(suite.parent / "own.npz", **arrays)
    result = CliRunner().invoke(cli, ["check", str(suite)])
    assert result.exit_code == 0, result.output
    assert "warning: " in result.output
    assert "1 of 10 test images are training images too" in result.output
    arrays["y_test"] = np.full(10, 2**40)
    np.savez(suite.parent / "own.npz", **arrays)
    result = CliRunner().invoke(cli, ["check", str(suite)])
    assert result.exit_code == 2, result.output
    assert f"{suite}:6:" in result.stderr
    assert "y_test: largest label is 1099511627776" in result.stderr
