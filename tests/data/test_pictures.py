"""Textures, Places365 and Tiny ImageNet from tiny archives in the true formats, packed and unpacked."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import pictures
from bench.data.loading import clear_cache, load_ood
from bench.data.registry import DATASETS
from bench.data.spec import DamagedData, MissingData, Split

RNG = np.random.default_rng(0)
NAMES = ("textures", "places365", "tiny-imagenet")
MEMBERS = {
    "textures": [f"dtd/images/{kind}/{kind}_{n:04d}.jpg" for kind in ("woven", "banded") for n in (7, 2)],
    "places365": [f"val_256/Places365_val_{n:08d}.jpg" for n in (3, 1, 2)],
    "tiny-imagenet": [f"tiny-imagenet-200/val/images/val_{n}.JPEG" for n in (0, 1, 10, 2)],
}
BESIDE = {
    "textures": ["dtd/labels/test1.txt", "dtd/images/woven/._woven_0007.jpg", "dtd/images/woven/.directory"],
    "places365": [],
    "tiny-imagenet": ["tiny-imagenet-200/val/val_annotations.txt", "tiny-imagenet-200/train/n1/images/n1_0.JPEG"],
}


def like(*shape: int) -> Split:
    return Split.numbered(np.zeros((1, *shape), np.uint8))


def jpeg(height: int, width: int, *, grey: bool = False) -> bytes:
    stream = io.BytesIO()
    pixels = RNG.integers(256, size=(height, width) if grey else (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


def contents(name: str) -> dict[str, bytes]:
    sizes = {"textures": (50, 70), "places365": (256, 256), "tiny-imagenet": (64, 64)}
    files = {member: jpeg(*sizes[name], grey=index == 1) for index, member in enumerate(MEMBERS[name])}
    return files | dict.fromkeys(BESIDE[name], b"text")


def pack(path: Path, files: dict[str, bytes]) -> str:
    """Write an archive and return its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def constant(name: str) -> str:
    return name.upper().replace("-", "_")


def prepare(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Take a tiny archive for the published one; returns its pictures by base name."""
    files = contents(name)
    published = getattr(pictures, constant(name))
    md5 = pack(root / published.archive, files)
    spec = replace(published, md5=md5, count=len(MEMBERS[name]))
    monkeypatch.setattr(pictures, constant(name), spec)
    described = replace(
        DATASETS.get(name),
        find=spec.find,
        checksums=spec.checksums,
        fingerprint=spec.fingerprint,
        sizes={"test": spec.count},
    )
    monkeypatch.setattr("bench.data.catalogue.DATASETS", (described,))
    DATASETS.reset()
    return {member.rpartition("/")[2]: files[member] for member in MEMBERS[name]}


def unpack(name: str, root: Path) -> Path:
    """Unpack the archive as torchvision does, and delete it."""
    archive = root / getattr(pictures, constant(name)).archive
    shutil.unpack_archive(archive, archive.parent)
    archive.unlink()
    return root / str(getattr(pictures, constant(name)).folder)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    clear_cache()
    yield
    DATASETS.reset()
    clear_cache()


def by_hand(content: bytes, side: int, *, grey: bool) -> np.ndarray:
    """Centre square and antialiased bilinear filter by Pillow and torchvision."""
    from torchvision import transforms

    with Image.open(io.BytesIO(content)) as image:
        colour = image.convert("RGB")
    transform = transforms.Compose([transforms.CenterCrop(min(colour.size)), transforms.Resize(side)])
    found = transform(colour.convert("L") if grey else colour)
    pixels = np.asarray(found)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_resized_as_torchvision_does_in_the_order_of_their_names(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = prepare(name, tmp_path, monkeypatch)
    if not packed:
        unpack(name, tmp_path)
    for channels, side in ((3, 32), (1, 28), (3, 8)):
        found = load_ood(DATASETS.get(name), tmp_path, like=like(channels, side, side), seed=0)
        assert found.images.shape == (len(files), channels, side, side)
        assert set(found.labels) == {-1}
        ordered = [files[member] for member in sorted(files)]
        for image, place in zip(found.images, found.ids, strict=True):
            np.testing.assert_array_equal(image, by_hand(ordered[place], side, grey=channels == 1))


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_decoded_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(name, tmp_path, monkeypatch)
    first = load_ood(DATASETS.get(name), tmp_path, like=like(3, 32, 32), seed=0)
    monkeypatch.setattr(pictures, "picture", lambda *_: pytest.fail("decoded again"))
    again = load_ood(DATASETS.get(name), tmp_path, like=like(3, 32, 32), seed=0)
    np.testing.assert_array_equal(first.images, again.images)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_archive_is_not_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(name, tmp_path, monkeypatch)
    load_ood(DATASETS.get(name), tmp_path, like=like(3, 32, 32), seed=0)
    archive = tmp_path / getattr(pictures, constant(name)).archive
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(bytes(content))
    monkeypatch.setattr(pictures, "picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DamagedData, match=rf"{archive.name} has MD5 \w+, expected"):
        load_ood(DATASETS.get(name), tmp_path, like=like(3, 32, 32), seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_absent_incomplete_and_unreadable_pictures_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(name, tmp_path / "data", monkeypatch)
    spec = DATASETS.get(name)
    with pytest.raises(MissingData, match=getattr(pictures, constant(name)).archive):
        load_ood(spec, tmp_path / "elsewhere", like=like(3, 32, 32), seed=0)
    folder = unpack(name, tmp_path / "data")
    assert spec.checksums(tmp_path / "data") == ()
    one = next(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg") and path.name[0] != ".")
    whole = one.read_bytes()
    for damaged in (b"", b"text", whole[:100]):
        one.write_bytes(damaged)
        with pytest.raises(DamagedData, match=rf"{one.name} cannot be read"):
            load_ood(spec, tmp_path / "data", like=like(3, 32, 32), seed=0)
    one.unlink()
    count = len(MEMBERS[name])
    with pytest.raises(DamagedData, match=rf"holds {count - 1} pictures, expected {count}; get .* again"):
        load_ood(spec, tmp_path / "data", like=like(3, 32, 32), seed=0)


def test_an_archive_with_too_few_pictures_or_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("places365", tmp_path, monkeypatch)
    monkeypatch.setattr(pictures, "PLACES365", replace(pictures.PLACES365, count=9))
    with pytest.raises(DamagedData, match=r"val_256\.tar holds 3 pictures, expected 9"):
        pictures.load_places365(tmp_path, like=None, image_shape=(3, 8, 8), seed=0)
    (tmp_path / "val_256.tar").write_bytes(b"no archive")
    monkeypatch.setattr(pictures, "PLACES365", replace(pictures.PLACES365, md5=hashlib.md5(b"no archive").hexdigest()))
    with pytest.raises(DamagedData, match=r"val_256\.tar cannot be unpacked"):
        pictures.load_places365(tmp_path, like=None, image_shape=(3, 8, 8), seed=0)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.new("L", (5_000, 5_000)).save(stream, "PNG")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DamagedData, match="has 5000x5000 pixels, expected at most 16,777,216"):
        pictures.picture(stream.getvalue(), tmp_path / "a.png", "get it again")


def test_a_shape_is_needed() -> None:
    with pytest.raises(ValueError, match="'textures' is resized to the shape of an in-distribution set"):
        pictures.load_textures(Path("/"), like=None, image_shape=None, seed=0)
