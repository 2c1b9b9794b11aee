"""The data of a job: named in full when it is planned, and loaded by its worker, if they still are what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.loading import load_ood, load_splits
from bench.data.registry import find_dataset
from bench.data.spec import DamagedData, DatasetSpec, MissingData, Split
from bench.data.splits import Caps, Splits

__all__ = ["JobData", "OodData", "job_dataset", "job_ood", "job_splits"]

_DESCRIBED: dict[tuple[str, str], DatasetSpec] = {}
"""Descriptions by reference and fingerprint: of equal content, so that own data are not read again to be described."""


@dataclass(frozen=True, kw_only=True)
class JobData:
    """The in-distribution data of a job.

    Attributes:
        dataset: Name of the data set, or absolute path of a user's own data.
        fingerprint: Of its content, which what a worker reads is held against.
        identity: What keys say of it; see ``bench.data.spec.identity``.
        seed: The data seed.
        validation: Items set aside; None for the data set's own number.
        train_cap: Bound on training items; None where it does not bind, as for the other parts.
        validation_cap: Bound on validation items.
        test_cap: Bound on test items.
    """

    dataset: str
    fingerprint: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    validation: int | None = None
    train_cap: int | None = None
    validation_cap: int | None = None
    test_cap: int | None = None

    def as_json(self) -> dict[str, Any]:
        """What records and ``job.json`` hold of it."""
        return {
            "seed": self.seed,
            "validation": self.validation,
            "train_cap": self.train_cap,
            "validation_cap": self.validation_cap,
            "dataset": self.dataset,
            "test_cap": self.test_cap,
        }

    def of_training(self) -> dict[str, Any]:
        """What the key of training holds: no bound on test items, which training never sees."""
        return {
            "identity": self.identity,
            "seed": self.seed,
            "validation": self.validation,
            "train_cap": self.train_cap,
            "validation_cap": self.validation_cap,
        }


@dataclass(frozen=True, kw_only=True)
class OodData:
    """Out-of-distribution data of a job.

    Attributes:
        dataset: As in `JobData`.
        fingerprint: As in `JobData`.
        identity: As in `JobData`.
        cap: Bound on the items, or None.
    """

    dataset: str
    fingerprint: str
    identity: Mapping[str, Any]
    cap: int | None = None


def job_dataset(data: JobData) -> DatasetSpec:
    """The in-distribution data set of a job.

    Raises:
        DamagedData: The data set is not the one that the job was planned with.
        MissingData: It is gone.
    """
    return _planned(data.dataset, data.fingerprint)


def job_splits(data: JobData, root: Path) -> Splits:
    """Its training, validation and test items.

    Args:
        data: Of the job.
        root: The data root.

    Raises:
        DamagedData: The data set is not the one that the job was planned with; the message says which file.
        MissingData: It is gone.
    """
    caps = Caps(train=data.train_cap, validation=data.validation_cap, test=data.test_cap)
    return load_splits(job_dataset(data), root, seed=data.seed, validation=data.validation, caps=caps)


def job_ood(data: JobData, ood: OodData, root: Path) -> Split:
    """The out-of-distribution items that a predict job reads, in the image shape of the in-distribution set.

    Sets that are made take the whole test set as their model, so that a cap gives a prefix and changes no image.

    Args:
        data: Of the job.
        ood: The other data set.
        root: The data root.

    Raises:
        DamagedData: One of the two data sets is not the one that the job was planned with.
        MissingData: One is gone.
    """
    whole = load_splits(job_dataset(data), root, seed=data.seed, validation=data.validation)
    outside = _planned(ood.dataset, ood.fingerprint)
    return load_ood(outside, root, like=whole.test, seed=data.seed, cap=ood.cap)


def _planned(reference: str, expected: str) -> DatasetSpec:
    """The data set behind a reference, if it still is what the key of the job speaks of."""
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
