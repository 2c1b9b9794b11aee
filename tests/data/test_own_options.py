"""Augmentation and size of a user's own archives and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from bench.data.loading import clear_cache, load_splits
from bench.data.own_options import FILE
from bench.data.resize import resized
from bench.data.spec import DamagedData, identity
from bench.data.user import fingerprint, spec_for_path
from tests.data.test_user import labels, make_folder, pixels, save


@pytest.fixture(autouse=True)
def _fresh() -> None:
    clear_cache()


def folder(root: Path, stated: str | None = None, size: tuple[int, int] = (9, 7)) -> Path:
    make_folder(
        root,
        {part: {name: list(pixels(3, *size, 3)) for name in ("cat", "dog")} for part in ("train", "test")},
    )
    if stated is not None:
        (root / FILE).write_text(stated)
    return root


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop-flip"])
def test_both_state_their_augmentation(augmentation: str, tmp_path: Path) -> None:
    archive = save(tmp_path / "a.npz", x=pixels(20, 8, 8), y=labels(20), augmentation=augmentation)
    own = folder(tmp_path / "pets", f'augmentation = "{augmentation}"\n')
    for path in (archive, own):
        spec = spec_for_path(path)
        assert spec.augmentation == augmentation
        assert identity(spec, None, None)["augmentation"] == augmentation
        assert len(load_splits(spec, tmp_path, seed=0, validation=1).test) > 0


def test_without_options_nothing_changes(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    before = spec_for_path(root)
    assert (before.augmentation, before.image_shape) == ("none", (3, 9, 7))
    assert fingerprint(root) == before.fingerprint
    (root / FILE).write_text("")
    assert fingerprint(root) == spec_for_path(root).fingerprint != before.fingerprint


def test_the_options_are_part_of_the_content(tmp_path: Path) -> None:
    """A worker compares the fingerprint, so options that change while a suite runs are noticed."""
    root = folder(tmp_path / "pets", 'augmentation = "crop"\n')
    spec = spec_for_path(root)
    (root / FILE).write_text('augmentation = "crop-flip"\n')
    with pytest.raises(DamagedData, match="has changed since the suite was read"):
        load_splits(spec, tmp_path, seed=0)


@pytest.mark.parametrize("size", [(6, 6), (5, 8), (20, 10)])
def test_pictures_of_any_size_are_brought_to_one(size: tuple[int, int], tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", f"resize = [{size[0]}, {size[1]}]\n")
    odd = pixels(40, 30, 3)
    Image.fromarray(odd).save(root / "test" / "cat" / "odd.png")
    spec = spec_for_path(root)
    assert spec.image_shape == (3, *size)
    test = load_splits(spec, tmp_path, seed=0, validation=1).test
    files = sorted((root / "test").rglob("*.png"))
    place = files.index(root / "test" / "cat" / "odd.png")
    found = test.images[list(test.ids).index(place)]
    height, width = size
    scale = min(40 / height, 30 / width)
    crop = transforms.CenterCrop((round(height * scale), round(width * scale)))
    expected = transforms.Resize(size)(crop(Image.fromarray(odd)))
    np.testing.assert_array_equal(found, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_are_resized_too(dtype: Any, tmp_path: Path) -> None:
    x = pixels(20, 3, 12, 16)
    x = x if dtype is np.uint8 else (x / np.float32(255)).astype(np.float32)
    spec = spec_for_path(save(tmp_path / "a.npz", x=x, y=labels(20), resize=np.array([6, 6])))
    assert spec.image_shape == (3, 6, 6)
    test = load_splits(spec, tmp_path, seed=0).test
    assert test.images.dtype == dtype
    np.testing.assert_array_equal(test.images, resized(x, 6, 6)[test.ids])
    np.testing.assert_array_equal(resized(x, 6, 6), resized(x[..., 2:14], 6, 6))  # the centred square


MISTAKES = [
    ({"augmentation": "flip"}, "augmentation: 'flip' is unknown; did you mean 'crop-flip'"),
    ({"augmentation": 3}, "augmentation: 3 is unknown; valid: none, crop, crop-flip"),
    ({"resize": 32}, r"resize: 32; expected height and width as two whole numbers of 1 to 4,096, as in \[32, 32\]"),
    ({"resize": [32]}, r"resize: \[32\]; expected height and width"),
    ({"resize": [0, 32]}, r"resize: \[0, 32\]; expected"),
    ({"resize": [32, 5000]}, r"resize: \[32, 5000\]; expected"),
    ({"resize": [8.0, 8.0]}, r"resize: \[8\.0, 8\.0\]; expected"),
    ({"augmentation": "crop", "resize": [4, 9]}, "augmentation 'crop' moves images by up to 4 pixels, .* have 4x9"),
]


@pytest.mark.parametrize(("values", "message"), MISTAKES)
def test_mistakes_are_named(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=pixels(20, 8, 8), y=labels(20), **values)
    with pytest.raises(ValueError, match=message) as caught:
        spec_for_path(path)
    assert str(caught.value).startswith(str(path))
    stated = "".join(f"{key} = {value!r}\n" for key, value in values.items())
    root = folder(tmp_path / "pets", stated)
    with pytest.raises(ValueError, match=message) as caught:
        spec_for_path(root)
    assert str(caught.value).startswith(str(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"augmentaton = 'crop'", "unknown key 'augmentaton'; did you mean 'augmentation'?"),
        (b"augmentation = x", "is not valid TOML: .*line 1"),
        (b"\xff\xfe", "is not valid TOML"),
        (b"x" * 2**17, "has 131,072 bytes; the limit is 65,536"),
    ],
)
def test_a_damaged_file_of_options_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    (root / FILE).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        spec_for_path(root)
    assert str(caught.value).startswith(str(root / FILE))


def test_a_misspelt_array_is_told_the_nearest_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=pixels(20, 8, 8), y=labels(20), augmentaton="crop")
    with pytest.raises(ValueError, match="augmentaton"):
        spec_for_path(path)
