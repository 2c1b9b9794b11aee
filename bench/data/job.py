"""Data sets as jobs name them: plain JSON in, splits out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data.loading import load_ood, load_splits
from bench.data.registry import find_dataset
from bench.data.spec import DatasetSpec, Split
from bench.data.splits import Caps, Splits

__all__ = ["job_dataset", "job_ood", "job_splits"]


def job_dataset(spec: Mapping[str, Any]) -> DatasetSpec:
    """The in-distribution data set of a job."""
    return find_dataset(spec["data"]["dataset"], Path("/"))


def job_splits(spec: Mapping[str, Any], root: Path) -> Splits:
    """Its training, validation and test items.

    Args:
        spec: ``Job.spec``.
        root: The data root.
    """
    data = spec["data"]
    caps = Caps(train=data["train_cap"], validation=data["validation_cap"], test=data["test_cap"])
    return load_splits(job_dataset(spec), root, seed=data["seed"], validation=data["validation"], caps=caps)


def job_ood(spec: Mapping[str, Any], root: Path) -> Split:
    """The out-of-distribution items that a predict job reads, in the image shape of the in-distribution set.

    Sets that are made take the whole test set as their model, so that a cap gives a prefix and changes no image.
    """
    data = spec["data"]
    whole = load_splits(job_dataset(spec), root, seed=data["seed"], validation=data["validation"])
    dataset = find_dataset(spec["ood"], Path("/"))
    return load_ood(dataset, root, like=whole.test, seed=data["seed"], cap=spec["cap"])
