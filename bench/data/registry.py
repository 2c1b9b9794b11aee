"""Data sets by name or by path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.data.spec import DatasetSpec
from bench.registry import Registry

__all__ = ["DATASETS", "find_dataset"]


def _builtin() -> Iterable[DatasetSpec]:
    from bench.data import catalogue

    return catalogue.DATASETS


def _problems(spec: DatasetSpec) -> list[str]:
    from bench.data.declared import dataset_problems

    return dataset_problems(spec)


DATASETS: Registry[DatasetSpec] = Registry(
    "data set", "datasets", DatasetSpec, "bench.datasets", builtin=_builtin, problems=_problems
)


def find_dataset(name: str, relative_to: Path) -> DatasetSpec:
    """A registered data set, or the user's own where ``name`` is a path.

    Args:
        name: A registered name, or the path of an ``.npz`` file or a folder of images.
        relative_to: Folder that a relative path starts from: the suite's.

    Raises:
        UnknownNameError: No data set has that name.
        ValueError: The path is not a data set.
    """
    if "/" in name or name.endswith(".npz"):
        from bench.data.user import spec_for_path

        try:
            path = Path(name).expanduser()
        except RuntimeError:
            raise ValueError(f"{name}: there is no such user as {name.partition('/')[0]}") from None
        return spec_for_path(path if path.is_absolute() else relative_to / path)
    return DATASETS.get(name)
