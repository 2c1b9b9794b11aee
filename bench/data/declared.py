"""Checks of the description of a data set, beyond those in its constructor."""

from __future__ import annotations

from pathlib import Path

from bench.data.spec import DatasetSpec
from bench.errors import RequestError
from bench.plugins.declared import Checks, keyed

__all__ = ["absence", "dataset_problems"]

AUGMENTATIONS = ("none", "crop", "crop-flip")


def dataset_problems(spec: DatasetSpec) -> list[str]:
    """The violations of the contract of ``DatasetSpec``, as sentences."""
    checks = Checks(spec)
    for field in ("summary", "source", "license", "fingerprint"):
        checks.text(field)
    checks.reference("implementation")
    checks.version()
    checks.expect("version", spec.version is not None, "a whole number")
    checks.function("find")
    classes = spec.num_classes
    checks.expect("num_classes", classes is None or (_whole(classes) and classes > 0), "1 or more, or None")
    shape = spec.image_shape
    sizes_of: object = shape
    sized = isinstance(sizes_of, tuple) and len(sizes_of) == 3 and all(_whole(n) and n > 0 for n in sizes_of)
    checks.expect("image_shape", shape is None or sized, "(channels, height, width), or None")
    checks.one_of("augmentation", AUGMENTATIONS)
    checks.expect("validation", _whole(spec.validation), "a whole number")
    checks.expect("test", spec.test is None or _whole(spec.test), "a whole number, or None")
    sizes = keyed(spec.sizes) and all(_whole(size) and size >= 0 for size in spec.sizes.values())
    if checks.expect("sizes", sizes, "items by part, 'train' and 'test'"):
        for part in sorted(set(spec.sizes) - {"train", "test"}):
            checks.say(f"sizes: there is no part {part!r}, expected 'train' and 'test'")
    checks.expect("location", spec.location is None or isinstance(spec.location, Path), "a pathlib.Path, or None")
    return checks.problems


def absence(spec: DatasetSpec, root: Path) -> str | None:
    """A sentence about the files that are missing below the data root and where to put them; None if none is.

    Raises:
        RequestError: The set's ``find`` breaks its contract.
    """
    try:
        said = spec.find(root)
    except Exception as error:  # a plug-in may raise anything
        raise RequestError(f"data set {spec.name!r}: find(root) raises {type(error).__name__}: {error}") from error
    if said is not None and not isinstance(said, str):
        raise RequestError(
            f"data set {spec.name!r}: find(root) is {said!r}, expected None or a text that says what is missing"
        )
    return said


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
