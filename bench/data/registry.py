"""Data sets by name or by path."""

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
    """Where a user's own data lie, or None if ``name`` is the name of a registered set, or of nothing.

    What has a slash or ends in ``.npz`` is a path; another name is one where no set is registered under it and the
    folder of the suite holds something that is called so.

    Args:
        name: As suites write it.
        relative_to: Folder that a relative path starts from: the suite's.

    Raises:
        ValueError: It begins with the home of a user that does not exist.
        OSError: Nothing can have this name.
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
    """A registered data set, or the user's own where ``name`` is a path (`own_path`).

    Args:
        name: A registered name, or the path of an ``.npz`` file or a folder of images.
        relative_to: Folder that a relative path starts from: the suite's.

    Raises:
        UnknownNameError: No data set has that name.
        ValueError: The path is not a data set.
        OSError: Nothing can have this name.
    """
    path = own_path(name, relative_to)
    if path is None:
        return DATASETS.get(name)
    from bench.data.user import spec_for_path

    return spec_for_path(path)
