"""Finds data sets by name or by path."""

from __future__ import annotations

from pathlib import Path

from bench.data.spec import DatasetSpec
from bench.registry import Registry, UnknownNameError, when_asked

__all__ = ["DATASETS", "find_dataset", "own_path"]


DATASETS: Registry[DatasetSpec] = Registry(
    "data set",
    "datasets",
    DatasetSpec,
    "bench.datasets",
    builtin=when_asked("bench.data.catalogue:DATASETS"),
    problems=when_asked("bench.data.declared:dataset_problems"),
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
    """A registered data set, or the user's own if ``name`` is a path (`own_path`).

    Args:
        name: A registered name, or the path of an ``.npz`` file or a folder of images.
        relative_to: The suite's folder, from which relative paths start.

    Raises:
        UnknownNameError: No data set has that name.
        ValueError: The path is not a data set.
        OSError: No file can have this name.
    """
    path = own_path(name, relative_to)
    if path is None:
        return DATASETS.get(name)
    from bench.data.user import spec_for_path

    return spec_for_path(path)
