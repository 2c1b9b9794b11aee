"""A user's own data: an .npz archive or a folder of images, described by its content."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from bench.data.archive import archive_digest, read_archive
from bench.data.content import held_out, shown, warnings_about
from bench.data.folder import folder_digest, read_folder
from bench.data.own_options import OwnOptions
from bench.data.spec import DamagedData, DatasetSpec, ImageShape, MissingData, Split

__all__ = ["fingerprint", "is_own", "load", "read", "spec_for_path"]

_IMPLEMENTATION = "bench.data.user:load"


def spec_for_path(path: Path, *, name: str | None = None) -> DatasetSpec:
    """Describe the data at ``path``. It is read completely, so that mistakes are found before anything is trained.

    **An .npz archive** holds the arrays x_train, y_train, x_test and y_test; or x and y, of which a fifth
    (chosen by the data seed) becomes the test set; or x_test and y_test alone, usable as
    out-of-distribution data. Images are uint8 in 0..255 or floating point in [0, 1], of shape (n, H, W),
    (n, C, H, W) or (n, H, W, C) with C of 1 or 3. C is the second or the last axis, whichever has the size 1 or 3; if
    both have, the array is refused. Labels are integers 0..K-1, shape (n,), K at most
    `bench.data.content.CLASSES`. A training part has at least two classes, and items of every class.

    **A folder** holds train/CLASS/IMAGE and test/CLASS/IMAGE (or test alone), as PNG or JPEG in files .png, .jpg or
    .jpeg, all of one size. Classes are numbered in sorted order of the names below train (or test, if alone). The set
    is grey if all images are grey, else colour. Names that begin with a dot are ignored; any other file is an error.

    **Options** (`bench.data.own_options`): ``augmentation`` names what training may apply to the images ("none", the
    default, "crop" or "crop-flip"); ``resize`` is the height and width to which every image is brought, by
    `bench.data.resize.resized`, so that a folder may hold pictures of any size. An archive has them as arrays of these
    names, a folder as keys of the file ``bench-data.toml`` in it. Pixels are not normalised: images stay in [0, 1], and
    scaling them is the model's part.

    A tenth of the training items, at most 5,000, is held out for validation. Change this with ``dataclasses.replace``.

    The fingerprint is the SHA-256 of the bytes that were parsed. Sizes are checked against the limits of
    `bench.data.content` before anything is unpacked.

    Args:
        path: The archive or folder.
        name: Its name in suites and tables; by default the file name without its suffix, with characters
            other than letters, digits, '.', '_' and '-' replaced by '-'.

    Raises:
        MissingData: The path does not exist.
        ValueError: It is neither archive nor folder, cannot be read, or breaks a rule above; the message says where.
    """
    label = name if name is not None else re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "data"
    problem = _absent(path, path)
    if problem is not None:
        raise MissingData(label, problem)
    raw, digest, options = _read(path)
    sizes = {part: len(split) for part, split in raw.items()}
    test = None
    if "all" in sizes:
        whole = sizes.pop("all")
        test = held_out(whole)
        sizes = {"train": whole - test, "test": test}
    return DatasetSpec(
        name=label,
        summary=f"Data of the user: {path.name}",
        source=path.name,
        license="not stated",
        num_classes=1 + max(int(split.labels.max()) for split in raw.values()),
        image_shape=next(iter(raw.values())).image_shape,
        version=1,
        implementation=_IMPLEMENTATION,
        find=functools.partial(_absent, path),
        fingerprint=digest,
        augmentation=options.augmentation,
        validation=min(5_000, sizes.get("train", 0) // 10),
        test=test,
        sizes=sizes,
        location=path,
        warnings=warnings_about(raw, shown(path)),
    )


def fingerprint(path: Path) -> str:
    """``"sha256:…"`` of an archive's bytes, or of the relative names and bytes of a folder's images and its options.

    Raises:
        ValueError: The path cannot be read.
    """
    try:
        return f"sha256:{folder_digest(path) if path.is_dir() else archive_digest(path)}"
    except OSError as error:
        raise ValueError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def is_own(spec: DatasetSpec) -> bool:
    """Whether a data set was described by `spec_for_path`."""
    return spec.location is not None and spec.implementation == _IMPLEMENTATION


def read(spec: DatasetSpec) -> dict[str, Split]:
    """The parts of a data set that `spec_for_path` described; the parsed bytes have its fingerprint.

    Raises:
        DamagedData: The files have changed since the data set was described.
    """
    assert spec.location is not None
    advice = f"{shown(spec.location)} has changed since the suite was read; start again with the new content"
    try:
        raw, found, _ = _read(spec.location)
    except ValueError as error:
        raise DamagedData(f"{advice} ({error})") from error
    if found != spec.fingerprint:
        raise DamagedData(f"{advice} (it was {spec.fingerprint}, it is {found})")
    return raw


def load(
    root: Path, *, like: Split | None = None, image_shape: ImageShape | None = None, seed: int = 0
) -> dict[str, Split]:
    """The parts of the archive or folder ``root`` by the rules of `spec_for_path`; other arguments have no effect.

    Raises:
        ValueError: It breaks a rule, or cannot be read.
    """
    del like, image_shape, seed
    return _read(root)[0]


def _read(path: Path) -> tuple[dict[str, Split], str, OwnOptions]:
    """The checked parts, the fingerprint of the bytes that were parsed, and the options.

    Raises:
        ValueError: It is neither archive nor folder, cannot be read, or breaks a rule.
    """
    try:
        if path.is_dir():
            raw, digest, options = read_folder(path)
        elif path.suffix.lower() == ".npz":
            digest = archive_digest(path)
            raw, options = read_archive(path, digest)
        else:
            raise ValueError(f"{shown(path)}: expected an .npz archive or a folder of images")
    except OSError as error:
        raise ValueError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
    return raw, f"sha256:{digest}", options


def _absent(location: Path, root: Path) -> str | None:
    del root
    try:
        if location.exists():
            return None
    except OSError as error:
        return f"{shown(location)} cannot be looked at: {error.strerror or error}"
    return f"there is nothing at {shown(location)}; put an .npz or a folder of images there"
