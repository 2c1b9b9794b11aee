"""Data sets as jobs name them: plain JSON in, splits out, held to the fingerprints that the job was planned with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data.loading import load_ood, load_splits
from bench.data.registry import find_dataset
from bench.data.spec import DamagedData, DatasetSpec, MissingData, Split
from bench.data.splits import Caps, Splits

__all__ = ["job_dataset", "job_ood", "job_splits"]

_DESCRIBED: dict[tuple[str, str], DatasetSpec] = {}
"""Descriptions by reference and fingerprint: of equal content, so that own data are not read again to be described."""


def job_dataset(spec: Mapping[str, Any]) -> DatasetSpec:
    """The in-distribution data set of a job.

    Args:
        spec: ``Job.spec``; ``fingerprints.data``, if it is there, holds the fingerprint of every data set by reference.

    Raises:
        DamagedData: The data set is not the one that the job was planned with.
        MissingData: It is gone.
    """
    return _planned(spec, spec["data"]["dataset"])


def job_splits(spec: Mapping[str, Any], root: Path) -> Splits:
    """Its training, validation and test items.

    Args:
        spec: ``Job.spec``.
        root: The data root.

    Raises:
        DamagedData: The data set is not the one that the job was planned with; the message says which file.
        MissingData: It is gone.
    """
    data = spec["data"]
    caps = Caps(train=data["train_cap"], validation=data["validation_cap"], test=data["test_cap"])
    return load_splits(job_dataset(spec), root, seed=data["seed"], validation=data["validation"], caps=caps)


def job_ood(spec: Mapping[str, Any], root: Path) -> Split:
    """The out-of-distribution items that a predict job reads, in the image shape of the in-distribution set.

    Sets that are made take the whole test set as their model, so that a cap gives a prefix and changes no image.

    Raises:
        DamagedData: One of the two data sets is not the one that the job was planned with.
        MissingData: One is gone.
    """
    data = spec["data"]
    whole = load_splits(job_dataset(spec), root, seed=data["seed"], validation=data["validation"])
    return load_ood(_planned(spec, spec["ood"]), root, like=whole.test, seed=data["seed"], cap=spec["cap"])


def _planned(spec: Mapping[str, Any], reference: str) -> DatasetSpec:
    """The data set behind a reference, if it still is what the key of the job speaks of."""
    expected = spec.get("fingerprints", {}).get("data", {}).get(reference)
    if expected is None:  # a job that was planned before fingerprints were kept
        return find_dataset(reference, Path("/"))
    known = _DESCRIBED.get((reference, expected))
    if known is not None:
        return known
    changed = f"data set {reference} has changed since the suite was read; start again with the new content"
    try:
        dataset = find_dataset(reference, Path("/"))
    except MissingData:
        raise
    except ValueError as error:  # own data that break a rule which they kept when the suite was read
        raise DamagedData(f"{changed} ({error})") from error
    if dataset.fingerprint != expected:
        raise DamagedData(f"{changed} (it was {expected}, it is {dataset.fingerprint})")
    _DESCRIBED[reference, expected] = dataset
    return dataset
