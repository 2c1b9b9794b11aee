"""A user's own data: an .npz archive or a folder of images, described by its content."""

from __future__ import annotations

import functools
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.spec import DatasetSpec, ImageShape, MissingData, Split

__all__ = ["fingerprint", "load_archive", "load_folder", "spec_for_path"]

_SUFFIXES = (".png", ".jpg", ".jpeg")
_ARRAYS = "x_train, y_train, x_test, y_test (or x_test, y_test; or x, y)"


def spec_for_path(path: Path, *, name: str | None = None) -> DatasetSpec:
    """Describe the data at ``path``; reads it whole, so that mistakes show before anything is trained.

    **An .npz archive** holds the arrays x_train, y_train, x_test and y_test; or x and y, of which a fifth
    (chosen by the data seed) becomes the test set; or x_test and y_test alone, of use as
    out-of-distribution data. Images are uint8 in 0..255 or floating point in [0, 1], of shape (n, H, W),
    (n, C, H, W) or (n, H, W, C) with C of 1 or 3. The one of the second and the last axis that is 1 or 3 is
    C; if both are, the array is refused. Labels are integers 0..K-1, shape (n,).

    **A folder** holds train/CLASS/IMAGE and test/CLASS/IMAGE (or test alone), as .png, .jpg or .jpeg, all
    of one size. Classes are numbered in sorted order of the names below train (or test, if alone). Images
    are grey if all of them are, else colour. Names that begin with a dot are ignored; any other file is an
    error.

    A tenth of the training items, at most 5,000, is held out for validation; no augmentation. Change either
    with ``dataclasses.replace``.

    Args:
        path: The archive or folder.
        name: How suites and tables call it; by default the file name without its suffix, with characters
            other than letters, digits, '.', '_' and '-' replaced by '-'.

    Raises:
        MissingData: Nothing is there.
        ValueError: It is neither, or its content breaks a rule above; the message says where.
    """
    label = name if name is not None else re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "data"
    problem = _absent(path, path)
    if problem is not None:
        raise MissingData(label, problem)
    if path.is_dir():
        raw, implementation = load_folder(path), "bench.data.user:load_folder"
    elif path.suffix == ".npz":
        raw, implementation = load_archive(path), "bench.data.user:load_archive"
    else:
        raise ValueError(f"{path}: expected an .npz archive or a folder of images")
    sizes = {part: len(split) for part, split in raw.items()}
    held_out = None
    if "all" in sizes:
        whole = sizes.pop("all")
        held_out = max(1, whole // 5)
        sizes = {"train": whole - held_out, "test": held_out}
    return DatasetSpec(
        name=label,
        summary=f"Data of the user: {path.name}",
        source=path.name,
        license="not stated",
        num_classes=1 + max(int(split.labels.max()) for split in raw.values()),
        image_shape=next(iter(raw.values())).image_shape,
        version=1,
        implementation=implementation,
        find=functools.partial(_absent, path),
        fingerprint=fingerprint(path),
        validation=min(5_000, sizes.get("train", 0) // 10),
        test=held_out,
        sizes=sizes,
        location=path,
    )


def fingerprint(path: Path) -> str:
    """``"sha256:…"`` of an archive's bytes, or of the relative names and bytes of a folder's images."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in _image_files(path):
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    else:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def load_archive(
    root: Path, *, like: Split | None = None, image_shape: ImageShape | None = None, seed: int = 0
) -> dict[str, Split]:
    """The parts of the .npz archive ``root`` by the rules of `spec_for_path`; other arguments have no effect.

    Raises:
        ValueError: The archive breaks a rule.
    """
    del like, image_shape, seed
    try:
        with np.load(root, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{root}: not a readable .npz archive of plain arrays ({error})") from error
    keys = set(arrays)
    for parts in (("train", "test"), ("test",), ("all",)):
        suffixes = {part: "" if part == "all" else f"_{part}" for part in parts}
        if keys == {f"{letter}{suffix}" for suffix in suffixes.values() for letter in "xy"}:
            break
    else:
        raise ValueError(f"{root}: has the arrays {', '.join(sorted(keys)) or 'none'}; expected {_ARRAYS}")
    raw = {
        part: _numbered(
            _archive_images(arrays[f"x{suffix}"], f"{root}, x{suffix}"),
            _archive_labels(arrays[f"y{suffix}"], len(arrays[f"x{suffix}"]), f"{root}, y{suffix}"),
        )
        for part, suffix in suffixes.items()
    }
    return _checked(raw, root)


def load_folder(
    root: Path, *, like: Split | None = None, image_shape: ImageShape | None = None, seed: int = 0
) -> dict[str, Split]:
    """The parts of the folder ``root`` by the rules of `spec_for_path`; other arguments have no effect.

    Returns:
        uint8 images.

    Raises:
        ValueError: The folder breaks a rule.
    """
    del like, image_shape, seed
    files = _image_files(root)
    by_part: dict[str, list[Path]] = {}
    for file in files:
        by_part.setdefault(file.relative_to(root).parts[0], []).append(file)
    classes = sorted({file.parent.name for file in by_part.get("train", files)})
    strange = sorted({file.parent.name for file in files} - set(classes))
    if strange:
        raise ValueError(f"{root / 'test'}: class {strange[0]!r} has no folder below {root / 'train'}")
    pixels = _same_shape({file: _read_image(file) for file in files})
    raw = {}
    for part, members in by_part.items():
        labels = np.array([classes.index(file.parent.name) for file in members], dtype=np.int64)
        raw[part] = _numbered(np.stack([pixels[file] for file in members]), labels)
    return _checked(raw, root)


def _absent(location: Path, root: Path) -> str | None:
    del root
    return None if location.exists() else f"there is nothing at {location}; put an .npz or a folder of images there"


def _numbered(images: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> Split:
    return Split(images, labels, np.arange(len(labels), dtype=np.int64))


def _checked(raw: dict[str, Split], root: Path) -> dict[str, Split]:
    """Rules that need all parts: one image shape, and every class present where a model may be trained."""
    shapes = {split.image_shape for split in raw.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"{root}: images of {' and '.join(str(shape) for shape in sorted(shapes))}; expected one shape"
        )
    trained = raw.get("train", raw.get("all"))
    if trained is not None:
        classes = np.unique(trained.labels)
        absent = np.setdiff1d(np.arange(1 + max(int(split.labels.max()) for split in raw.values())), classes)
        if absent.size:
            raise ValueError(
                f"{root}: class {absent[0]} has no training item; expected labels 0..K-1, each of them in training"
            )
    return raw


def _archive_images(array: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """As (n, C, H, W), uint8 or float32."""
    if array.ndim == 3:
        images = array[:, None]
    elif array.ndim == 4:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first == last:
            reason = "both could be" if first else "neither can be"
            raise ValueError(
                f"{where}: shape {array.shape}: of the second and the last axis {reason} the channels"
                " (1 or 3); expected (n, C, H, W) or (n, H, W, C)"
            )
        images = array if first else array.transpose(0, 3, 1, 2)
    else:
        raise ValueError(f"{where}: shape {array.shape}; expected (n, H, W), (n, C, H, W) or (n, H, W, C)")
    if 0 in images.shape:
        raise ValueError(f"{where}: shape {array.shape} holds nothing")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if array.dtype.kind != "f":
        raise ValueError(f"{where}: {array.dtype}; expected uint8 in 0..255 or floating point in [0, 1]")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN is refused too
        raise ValueError(f"{where}: values from {low:g} to {high:g}; floating-point images must lie in [0, 1]")
    return np.ascontiguousarray(images, dtype=np.float32)


def _archive_labels(array: npt.NDArray[Any], count: int, where: str) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise ValueError(f"{where}: {array.dtype} of shape {array.shape}; expected integers of shape ({count},)")
    if int(array.min()) < 0:
        raise ValueError(f"{where}: smallest label is {array.min()}; expected 0..K-1")
    return array.astype(np.int64)


def _image_files(root: Path) -> list[Path]:
    """Every image below root/train/CLASS and root/test/CLASS, in sorted order."""
    layout = "expected train/CLASS/IMAGE and test/CLASS/IMAGE, or test alone"
    parts = [entry for entry in sorted(root.iterdir()) if not entry.name.startswith(".")]
    if {entry.name for entry in parts} not in ({"train", "test"}, {"test"}):
        raise ValueError(f"{root}: holds {', '.join(entry.name for entry in parts) or 'nothing'}; {layout}")
    files: list[Path] = []
    for part in parts:
        before = len(files)
        for folder in _visible(part, "folder", layout):
            inside = _visible(folder, "file", layout)
            if not inside:
                raise ValueError(f"{folder}: holds no image; {layout}")
            files.extend(inside)
        if len(files) == before:
            raise ValueError(f"{part}: holds no class; {layout}")
    return files


def _visible(folder: Path, kind: str, layout: str) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: is a file; {layout}")
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    for entry in entries:
        if kind == "folder" and not entry.is_dir():
            raise ValueError(f"{entry}: is not the folder of a class; {layout}")
        if kind == "file" and not (entry.is_file() and entry.suffix.lower() in _SUFFIXES):
            raise ValueError(f"{entry}: is not an image ({', '.join(_SUFFIXES)}); {layout}")
    return entries


def _read_image(file: Path) -> npt.NDArray[np.uint8]:
    """As uint8 of shape (C, H, W), C of 1 or 3."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"), dtype=np.uint8)[None]
            if image.mode in ("RGB", "P") and "transparency" not in image.info:
                return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1))
            mode = image.mode
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{file}: cannot be read as an image ({error})") from error
    raise ValueError(f"{file}: pixels of mode {mode}; expected 8-bit grey or colour without transparency")


def _same_shape(pixels: Mapping[Path, npt.NDArray[np.uint8]]) -> dict[Path, npt.NDArray[np.uint8]]:
    channels = max(image.shape[0] for image in pixels.values())
    first = next(iter(pixels))
    for file, image in pixels.items():
        if image.shape[1:] != pixels[first].shape[1:]:
            raise ValueError(
                f"{file}: {image.shape[1:]} pixels (height, width), but {first} has {pixels[first].shape[1:]}"
            )
    return {file: np.repeat(image, channels // image.shape[0], axis=0) for file, image in pixels.items()}
