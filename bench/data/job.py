"""The data of a job: specified when it is planned, and loaded by its worker, which checks that they are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.loading import load_ood, load_splits
from bench.data.registry import find_dataset
from bench.data.spec import DamagedData, DatasetSpec, MissingData, Split, resized_to
from bench.data.splits import Caps, Splits
from bench.plugins.sources import source_facts

__all__ = ["JobData", "OodData", "hold_loader", "job_dataset", "job_ood", "job_splits"]

_DESCRIBED: dict[tuple[str, str], DatasetSpec] = {}
"""Descriptions by reference and fingerprint, so that a user's own data are not read again if their content is equal."""


@dataclass(frozen=True, kw_only=True)
class JobData:
    """The in-distribution data of a job.

    Attributes:
        dataset: Name of the data set, ``"module:SPEC"``, or absolute path of a user's own data.
        fingerprint: Fingerprint of its content; the worker compares the data that it reads with it.
        identity: Its identity in keys; see ``bench.data.spec.identity``.
        seed: The data seed.
        validation: Number of validation items; None for the data set's own number.
        resize: Height and width to which the images are brought; None if they stay as they are.
        train_cap: Bound on training items. This and the following bounds are None if they do not bind.
        validation_cap: Bound on validation items.
        test_cap: Bound on test items.
    """

    dataset: str
    fingerprint: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    validation: int | None = None
    resize: tuple[int, int] | None = None
    train_cap: int | None = None
    validation_cap: int | None = None
    test_cap: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The entries of records and of ``job.json``."""
        return {
            "seed": self.seed,
            "validation": self.validation,
            "train_cap": self.train_cap,
            "validation_cap": self.validation_cap,
            "dataset": self.dataset,
            "test_cap": self.test_cap,
            **({"resize": list(self.resize)} if self.resize is not None else {}),
        }

    def of_training(self) -> dict[str, Any]:
        """The entries of the key of training, without the bound on test items, which training never sees."""
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
        DamagedData: The data set has changed since the job was planned.
        MissingData: The data set no longer exists.
    """
    return resized_to(_planned(data.dataset, data.fingerprint), data.resize)


def hold_loader(data: JobData | OodData) -> None:
    """Compare the code of a data set without a version with that for which the job was planned.

    Raises:
        DamagedData: It has changed since then.
    """
    planned = data.identity.get("code")
    if planned is None:
        return
    spec = _planned(data.dataset, data.fingerprint)
    if dict(source_facts(spec.implementation)) != dict(planned):
        raise DamagedData(f"the code of data set {data.dataset} has changed since the suite was read; run again")


def job_splits(data: JobData, root: Path) -> Splits:
    """The training, validation and test items of a job.

    Args:
        data: The data of the job.
        root: The data root.

    Raises:
        DamagedData: The data set has changed since the job was planned; the message names the file.
        MissingData: The data set no longer exists.
    """
    caps = Caps(train=data.train_cap, validation=data.validation_cap, test=data.test_cap)
    return load_splits(job_dataset(data), root, seed=data.seed, validation=data.validation, caps=caps)


def job_ood(data: JobData, ood: OodData, root: Path) -> Split:
    """The out-of-distribution items that a predict job reads, in the image shape of the in-distribution set.

    Generated sets are made from the whole test set, so that a cap gives a prefix and changes no image.

    Args:
        data: The in-distribution data of the job.
        ood: The out-of-distribution data set.
        root: The data root.

    Raises:
        DamagedData: One of the two data sets has changed since the job was planned.
        MissingData: One of the two data sets no longer exists.
    """
    whole = load_splits(job_dataset(data), root, seed=data.seed, validation=data.validation)
    outside = _planned(ood.dataset, ood.fingerprint)
    return load_ood(outside, root, like=whole.test, seed=data.seed, cap=ood.cap)


def _planned(reference: str, expected: str) -> DatasetSpec:
    """The data set of a reference.

    Raises:
        DamagedData: Its fingerprint is not the expected one.
        MissingData: The data set no longer exists.
    """
    known = _DESCRIBED.get((reference, expected))
    if known is not None:
        return known
    changed = f"data set {reference} has changed since the suite was read; start again with the new content"
    try:
        dataset = find_dataset(reference, Path("/"))
    except MissingData:
        raise
    except ValueError as error:  # a user's own data that became invalid after the suite was read
        raise DamagedData(f"{changed} ({error})") from error
    if dataset.fingerprint != expected:
        raise DamagedData(f"{changed} (it was {expected}, it is {dataset.fingerprint})")
    _DESCRIBED[reference, expected] = dataset
    return dataset
