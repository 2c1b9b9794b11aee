"""Finds data sets by name or by path, and checks the descriptions in plug-ins."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from bench.data.spec import Augmentation, DatasetSpec
from bench.errors import RequestError
from bench.plugins.declared import Checks, keyed
from bench.registry import Registry, UnknownNameError, when_asked

__all__ = ["DATASETS", "absence", "dataset_problems", "find_dataset", "own_path"]


def dataset_problems(spec: DatasetSpec) -> list[str]:
    """The violations of the contract of ``DatasetSpec``, as sentences."""
    checks = Checks(spec)
    for field in ("summary", "source", "license", "fingerprint"):
        checks.text(field)
    checks.reference("implementation")
    checks.version()
    checks.function("find")
    classes = spec.num_classes
    checks.expect("num_classes", classes is None or (_whole(classes) and classes > 0), "1 or more, or None")
    shape = spec.image_shape
    sizes_of: object = shape
    sized = isinstance(sizes_of, tuple) and len(sizes_of) == 3 and all(_whole(n) and n > 0 for n in sizes_of)
    checks.expect("image_shape", shape is None or sized, "(channels, height, width), or None")
    checks.one_of("augmentation", get_args(Augmentation))
    checks.expect("validation", _whole(spec.validation), "a whole number")
    checks.expect("test", spec.test is None or _whole(spec.test), "a whole number, or None")
    sizes = keyed(spec.sizes) and all(_whole(size) and size >= 0 for size in spec.sizes.values())
    if checks.expect("sizes", sizes, "items by part, 'train' and 'test'"):
        for part in sorted(set(spec.sizes) - {"train", "test"}):
            checks.say(f"sizes: there is no part {part!r}, expected 'train' and 'test'")
    checks.expect("location", spec.location is None or isinstance(spec.location, Path), "a pathlib.Path, or None")
    return checks.problems


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


DATASETS: Registry[DatasetSpec] = Registry(
    "data set",
    "datasets",
    DatasetSpec,
    "bench.datasets",
    builtin=when_asked("bench.data.catalogue:DATASETS"),
    problems=dataset_problems,
)


def own_path(name: str, relative_to: Path) -> Path | None:
    """The path of a user's own data, or None if ``name`` is a registered or unknown name.

    A name with a slash or the ending ``.npz`` is a path. Any other name is a path if no set is registered under it and
    the folder of the suite contains a file or folder of that name.

    Args:
        name: The name in the suite.
        relative_to: The suite's folder, from which relative paths start.

    Raises:
        ValueError: It begins with the home of a user that does not exist.
        OSError: No file can have this name.
    """
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise ValueError(f"{name}: there is no such user as {name.partition('/')[0]}") from None
    path = path if path.is_absolute() else relative_to / path
    if "/" in name or name.endswith(".npz"):
        return path
    return path if name and not _registered(name) and path.exists() else None


def _registered(name: str) -> bool:
    try:
        DATASETS.get(name)
    except UnknownNameError:
        return False
    return True


def find_dataset(name: str, relative_to: Path) -> DatasetSpec:
    """A registered data set, one that ``"module:SPEC"`` names, or the user's own if ``name`` is a path (`own_path`).

    Args:
        name: A registered name, ``"module:SPEC"``, or the path of an ``.npz`` file or a folder of images.
        relative_to: The suite's folder, from which relative paths start.

    Raises:
        UnknownNameError: No data set has that name.
        ValueError: The path is not a data set, or an unregistered set has the name of a registered one.
        OSError: No file can have this name.
    """
    path = own_path(name, relative_to)
    if path is None:
        spec = DATASETS.get(name)
        # Splits, records and comparisons with the paper know a data set by its name.
        if ":" in name and spec.name in DATASETS.names() and DATASETS.get(spec.name) is not spec:
            raise ValueError(f"{name} calls itself {spec.name!r}, which is another data set; give it another name")
        return spec
    from bench.data.user import spec_for_path

    return spec_for_path(path)


def absence(spec: DatasetSpec, root: Path) -> str | None:
    """A sentence about the files that are missing below the data root, where to put them and how to download them; None
    if none is.

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
    if said is None:
        return None
    from bench.data.downloads import DOWNLOADS

    return said if spec.name not in DOWNLOADS else f"{said}; or: bench data get {spec.name}"
