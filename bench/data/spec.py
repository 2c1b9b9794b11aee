"""The description of a data set; planning, listing and checking use it without loading the data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.errors import PrerequisiteError
from bench.files.checksums import Checksum
from bench.plugins.sources import source_facts

__all__ = [
    "LARGEST_SIDE",
    "RESAMPLING",
    "UNLABELLED",
    "Augmentation",
    "DamagedData",
    "DatasetSpec",
    "ImageShape",
    "MissingData",
    "Split",
    "always_found",
    "identity",
    "resized_to",
]

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

Augmentation = Literal["none", "crop", "crop-flip"]

LARGEST_SIDE = 2**12
"""Largest height and width to which images are brought, in pixels."""

RESAMPLING = "PIL bilinear, antialiased"
"""The resampling of `bench.data.resize`. The text is part of cache keys: change it when the pixels change."""

UNLABELLED = -1
"""The label of every item of a set without classes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class MissingData(PrerequisiteError):  # noqa: N818 - named for what it reports
    """A data set is not on this machine.

    Args:
        what: Name of the data set.
        where: One sentence that says which files are missing and where to put them.
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what, where)
        self.what, self.where = what, where

    def __str__(self) -> str:
        return f"data set {self.what!r} is missing: {self.where}"


class DamagedData(PrerequisiteError):  # noqa: N818 - as MissingData
    """Files of a data set do not have the content that its identity states."""


def _no_checksums(root: Path) -> tuple[Checksum, ...]:
    """The ``checksums`` of sets without files, or with a fingerprint of their content only."""
    del root
    return ()


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set as planning uses it.

    Attributes:
        name: Registered name, such as ``"cifar10"``.
        summary: One sentence.
        source: Paper or site that defines it.
        license: Licence, or the authors' statement about use.
        num_classes: Number of classes; None for an unlabelled set, usable only as out-of-distribution data.
        image_shape: Channels, height, width as loaded; None if the images are generated in the shape of the
            in-distribution set, or resized to it by the loader because they have no common shape.
        loaded_shape: Shape as loaded, if the images are then brought to ``image_shape`` (`resized_to`); else None.
        version: Raised by hand when code changes what is loaded; None: the source of the implementation and of all
            that it imports is in the keys (`bench.plugins.sources`).
        implementation: ``"module:function"`` with the signature
            ``load(root, *, like, image_shape, seed) -> dict[str, Split]``. The keys of the result are
            ``train`` and ``test`` (official splits), or ``all`` (no official split), or ``test`` alone.
            ``like`` is None, or the test split of the in-distribution set if this set is loaded as
            out-of-distribution data; then a loader may return the test part alone.
            ``image_shape`` is for sets without a shape of their own, ``seed`` (the data seed) for generated ones.
        find: Light check of the files below the data root: None if all are there, else one sentence that says
            what is missing and where to put it.
        fingerprint: Published checksums, or sha256 of the content; the loader verifies them.
        augmentation: Augmentations that training may apply: reflect-pad 4 and random crop, and horizontal flip.
        validation: Default number of items held out of the training set.
        test: Number of items held out as test set if there is no official one, else None.
        sizes: Numbers of items known before loading: ``train`` (validation items included) and
            ``test``; without an official test set ``test`` items are held out and ``train`` is the rest.
        location: Path of a user's own data; None for sets below the data root.
        checksums: Function from the data root to the files with published checksums, to verify them before
            anything runs; the loader verifies them again, in the bytes that it parses.
        warnings: Warnings about the content to show before training, one sentence each.
        decoded: Whether the loader decodes thousands of pictures once, into the user's cache (`bench.data.decoded`).
    """

    name: str
    summary: str
    source: str
    license: str
    num_classes: int | None
    image_shape: ImageShape | None
    implementation: str
    find: Callable[[Path], str | None]
    fingerprint: str
    version: int | None = None
    augmentation: Augmentation = "none"
    validation: int = 0
    test: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    location: Path | None = None
    checksums: Callable[[Path], tuple[Checksum, ...]] = _no_checksums
    warnings: tuple[str, ...] = ()
    loaded_shape: ImageShape | None = None
    decoded: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"data set name {self.name!r}: expected letters, digits, '.', '_' and '-', first a letter or digit"
            )
        if self.validation < 0:
            raise ValueError(f"data set {self.name!r}: validation is {self.validation}, expected 0 or more")
        if self.test is not None and self.test < 1:
            raise ValueError(f"data set {self.name!r}: test is {self.test}, expected 1 or more, or None")


def resized_to(spec: DatasetSpec, size: tuple[int, int] | None) -> DatasetSpec:
    """A data set whose images are brought to another height and width after loading (`bench.data.resize.conform`).

    Args:
        spec: The data set.
        size: Height and width; None, or those of the set, for the set itself.

    Raises:
        ValueError: The set has no shape of its own.
    """
    if size is None:
        return spec
    if spec.image_shape is None:
        raise ValueError(f"data set {spec.name!r} has no shape of its own")
    shape = (spec.image_shape[0], *size)
    return spec if shape == spec.image_shape else replace(spec, image_shape=shape, loaded_shape=spec.image_shape)


def always_found(root: Path) -> None:
    """The `DatasetSpec.find` of sets that are generated or come with an installed dependency."""
    del root


def identity(spec: DatasetSpec, image_shape: ImageShape | None, seed: int | None) -> dict[str, Any]:
    """The part of a cache key that identifies a data set; JSON values only.

    It does not contain caps, a validation size other than the spec's (use ``dataclasses.replace``) or, for sets derived
    from the in-distribution one, the identity of that set, because the data set does not know them.

    Args:
        spec: The data set.
        image_shape: The shape in which it is used; None for the shape in which it is loaded.
        seed: The data seed (splits, subsets, generated images); None if nothing depends on it.

    Raises:
        ValueError: The set has no shape of its own and none is given.
    """
    native = spec.loaded_shape or spec.image_shape
    target = spec.image_shape if image_shape is None else image_shape
    if target is None:
        raise ValueError(f"data set {spec.name!r} takes the shape of the in-distribution set: image_shape is needed")
    if native is None:
        transform = f"made at {_text(target)}"
    elif native == target:
        transform = f"native {_text(target)}"
    else:
        transform = f"{_text(native)} to {_text(target)}, {RESAMPLING}"
    facts: dict[str, Any] = {
        "name": spec.name,
        "version": spec.version,
        "fingerprint": spec.fingerprint,
        "transform": transform,
        "augmentation": spec.augmentation,
        "validation": spec.validation,
        "test": spec.test,
        "seed": seed,
    }
    if spec.version is None:
        facts["code"] = dict(source_facts(spec.implementation))
    return facts


def _text(shape: ImageShape) -> str:
    return "x".join(str(size) for size in shape)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels and ids.

    Attributes:
        images: Shape (n, C, H, W); float32 in [0, 1], or uint8 in 0..255.
        labels: int64, shape (n,); 0..K-1, or `UNLABELLED` throughout.
        ids: int64, shape (n,); positions in the official split, or in the whole set if there is none.

    Raises:
        ValueError: A shape or dtype is wrong. `bench.data.loading` checks the values.
    """

    images: npt.NDArray[np.float32] | npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype not in (np.float32, np.uint8):
            raise ValueError(
                f"images: shape {self.images.shape}, {self.images.dtype}; expected (n, C, H, W), float32 or uint8"
            )
        for name, values in (("labels", self.labels), ("ids", self.ids)):
            if values.shape != self.images.shape[:1] or values.dtype != np.int64:
                raise ValueError(
                    f"{name}: shape {values.shape}, {values.dtype}; expected {self.images.shape[:1]}, int64"
                )

    @classmethod
    def numbered(
        cls, images: npt.NDArray[np.float32] | npt.NDArray[np.uint8], labels: npt.ArrayLike | None = None
    ) -> Split:
        """The items of a whole part: their ids are 0 to n - 1, and without ``labels`` they are `UNLABELLED`."""
        given = np.full(len(images), UNLABELLED) if labels is None else labels
        return cls(images, np.asarray(given, dtype=np.int64), np.arange(len(images), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height, width."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def unit_images(self) -> npt.NDArray[np.float32]:
        """The images as float32 in [0, 1]; the array itself, not a copy, if it is float32 already."""
        if self.images.dtype == np.float32:
            return self.images.astype(np.float32, copy=False)
        return self.images.astype(np.float32) / np.float32(255)

    def take(self, indices: npt.NDArray[np.integer[Any]]) -> Split:
        """A copy of the items at ``indices`` (positions in this object, not ids), in that order."""
        positions = np.asarray(indices, dtype=np.intp)
        return Split(self.images[positions], self.labels[positions], self.ids[positions])
