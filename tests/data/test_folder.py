"""Folders of images: odd names, links, what cannot be read, and sizes; each mistake names its file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data import content, folder
from bench.data.folder import folder_digest, read_folder
from bench.data.registry import find_dataset
from bench.data.spec import MissingData
from bench.data.user import fingerprint, spec_for_path
from bench.registry import UnknownNameError

RNG = np.random.default_rng(0)


def picture(*shape: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(256, size=shape or (4, 5)).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, four training and two test images each."""
    for part, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            place = tmp_path / "pets" / part / name
            place.mkdir(parents=True)
            for index in range(count):
                (place / f"{index}.png").write_bytes(picture())
    return tmp_path / "pets"


def refused(root: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        spec_for_path(root)
    str(caught.value).encode()  # whatever the names are made of, the message can be printed


def test_the_digest_is_that_of_the_bytes_that_were_parsed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, digest, _ = read_folder(root)
    assert fingerprint(root) == f"sha256:{digest}" == f"sha256:{folder_digest(root)}"
    changed = root / "test" / "dog" / "1.png"
    before, after = changed.read_bytes(), picture()
    read = folder.read_measured

    def swapped(path: Path, limit: int) -> bytes:
        content = read(path, limit)
        changed.write_bytes(after)  # after the first file was read, before the last is
        return content

    monkeypatch.setattr(folder, "read_measured", swapped)
    late, other, _ = read_folder(root)
    assert other != digest
    assert not np.array_equal(late["test"].images[3], raw["test"].images[3])
    monkeypatch.undo()
    changed.write_bytes(before)
    assert folder_digest(root) == digest


def test_names_that_are_not_utf8_are_read_and_shown(root: Path) -> None:
    odd = os.fsencode(root) + b"/train/cat/\xff\xfe.png"
    Path(os.fsdecode(odd)).write_bytes(picture())
    spec = spec_for_path(root)
    assert spec.sizes["train"] == 9
    Path(os.fsdecode(odd)).write_bytes(b"no picture")
    refused(root, r"cat/\\xff\\xfe\.png: cannot be read as an image")
    Path(os.fsdecode(odd)).unlink()
    strange = Path(os.fsdecode(os.fsencode(root) + b"/test/d\xf6g"))
    strange.mkdir()
    (strange / "0.png").write_bytes(picture())
    refused(root, r"class 'd\\xf6g' has no folder below|class 'd\\\\xf6g' has no folder below")


def test_links_in_circles_end(root: Path) -> None:
    (root / "train" / "loop").symlink_to("..")
    refused(root, r"loop/test: is not an image|loop/train: is not an image")
    (root / "train" / "loop").unlink()
    (root / "train" / "self").symlink_to("self")
    refused(root, r"train/self: is not the folder of a class")
    (root / "train" / "self").unlink()
    (root / "train" / "cat" / "0.png").unlink()
    (root / "train" / "cat" / "0.png").symlink_to("0.png")
    refused(root, r"cat/0\.png: is not an image")
    (root.parent / "loop").symlink_to("loop")
    with pytest.raises(MissingData, match=r"loop (cannot be looked at: Too many levels|does not exist)|nothing at"):
        spec_for_path(root.parent / "loop")


def test_links_to_images_are_images(root: Path) -> None:
    (root / "train" / "dog" / "link.png").symlink_to(root / "train" / "dog" / "0.png")
    assert spec_for_path(root).sizes["train"] == 9


def test_what_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = root / "train" / "cat"
    listed, opened = Path.iterdir, Path.open

    def iterdir(path: Path) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    def open_(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        refused(root, f"{locked}: cannot be read: Permission denied")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        refused(root, rf"{locked / '2.png'}: cannot be read: Permission denied")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        refused(root, f"{root}: cannot be read: Permission denied")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        with pytest.raises(MissingData, match="cannot be looked at: Permission denied"):
            spec_for_path(root)


def test_a_pipe_among_the_images_is_no_image(root: Path) -> None:
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    refused(root, r"pipe\.png: is not an image")


def test_classes_and_sizes(root: Path) -> None:
    for file in (root / "test" / "dog").iterdir():
        file.unlink()
    refused(root, f"{root / 'test' / 'dog'}: holds no image")
    (root / "test" / "dog").rmdir()
    assert spec_for_path(root).warnings == (f"{root}: 1 classes have no test item (the first: class 1)",)
    (root / "test" / "cow").mkdir()
    (root / "test" / "cow" / "0.png").write_bytes(picture())
    refused(root, "class 'cow' has no folder below")
    (root / "test" / "cow" / "0.png").unlink()
    (root / "test" / "cow").rmdir()
    (root / "train" / "dog" / "3.png").write_bytes(picture(5, 4))
    refused(root, rf"dog/3\.png: has 5x4 pixels .*, expected 4x5 as {root / 'test' / 'cat' / '0.png'} has")


def test_one_class_is_none(root: Path) -> None:
    for part in ("train", "test"):
        for file in (root / part / "dog").iterdir():
            file.unlink()
        (root / part / "dog").rmdir()
    refused(root, "all training items are of one class")


def test_memory_is_counted_before_pictures_are_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LIMIT", 100)
    refused(root, rf"{root}: 12 images of 4x5 pixels asks for .* memory; the limit is")
    monkeypatch.undo()
    monkeypatch.setattr(folder, "FILE_BYTES", 20)
    refused(root, r"0\.png: has \d+ bytes; the limit is 20")


def test_paths_that_are_none(tmp_path: Path) -> None:
    for name in ("~nobody-of-that-name/own.npz", "./" + "x" * 300 + ".npz", "a/\0.npz"):
        with pytest.raises((ValueError, MissingData)) as caught:
            find_dataset(name, tmp_path)
        assert type(caught.value) in (ValueError, MissingData)
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz", r"pipe\.npz: is not a regular file")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    refused(tmp_path / "zero.npz", r"zero\.npz: is not a regular file")


def test_a_folder_is_found_by_its_bare_name_unless_a_set_is_registered_under_it(root: Path) -> None:
    assert find_dataset(root.name, root.parent).fingerprint == find_dataset(f"./{root.name}", root.parent).fingerprint
    (root.parent / "digits").mkdir()
    assert find_dataset("digits", root.parent).location is None
    (root.parent / "images.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"images\.npy: expected an \.npz archive or a folder of images"):
        find_dataset("images.npy", root.parent)
    with pytest.raises(UnknownNameError):
        find_dataset("nothing", root.parent)
