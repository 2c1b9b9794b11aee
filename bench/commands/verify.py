"""Checks stored adversarial images again: each must be within its threat model and must fool the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from bench.errors import DamagedFileError, NothingSelectedError, RequestError
from bench.rng import seeded
from bench.store import ITEMS, WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.api import Bench
    from bench.data.spec import Split
    from bench.family import Classifier
    from bench.plan.jobs import Job, Plan
    from bench.store import JobFolder, Record

__all__ = ["Verified", "verify"]

BATCH = 128
ROUNDING = 1e-4
"""An image that misses fooling the model by less than this share of its largest logit misses it by rounding."""


@dataclass(frozen=True)
class Verified:
    """The check of one number.

    Attributes:
        job: Id of the job.
        metric: Metric of the number.
        argument: Argument of the number.
        claimed: Items that the record counts as broken.
        confirmed: Of the claimed items, images that are within the threat model and fool the model in this check.
        rounding: Of the others, images that miss by no more than rounding: other kernels change the last bits.
        largest: Largest norm of the confirmed perturbations, in units of the pixel range; None without any.
        eps: The budget, or None.
        recorded: The number in the record.
        measured: The same number from the confirmed images alone.
        problem: A problem of the files or the record that does not depend on the images.
    """

    job: str
    metric: str
    argument: str
    claimed: int = 0
    confirmed: int = 0
    rounding: int = 0
    largest: float | None = None
    eps: str | None = None
    recorded: float | None = None
    measured: float | None = None
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """Whether every claim is confirmed, up to rounding."""
        return self.problem is None and self.confirmed + self.rounding == self.claimed

    def as_json(self) -> dict[str, Any]:
        """All fields and properties for JSON."""
        return {**asdict(self), "holds": self.holds}


def verify(bench: Bench, plan: Plan, device: str) -> list[Verified]:
    """Check all adversarial images that the jobs of a plan have stored.

    Args:
        bench: Settings and store.
        plan: The plan of the suite, or a selection of it.
        device: Torch device for the models.

    Raises:
        NothingSelectedError: No job of the plan has stored adversarial images.
        RequestError: There is no such device.
    """
    _check_device(device)
    models = _Models(bench, device)
    found = []
    for job in plan.jobs:
        folder = bench.store.folder(job.key)
        record = folder.record()
        if record is None and _settings(job).get("adversarials") and folder.damage():
            # The record is not valid, so its numbers are unknown.
            found.append(Verified(job.id, job.evaluation, job.argument, problem=str(folder.damage())))
        facts = record.measured.details.get("adversarials") if record is not None else None
        if record is not None and facts is not None:
            found += _checked(job, folder, record, facts, models)
    if not found:
        raise NothingSelectedError(
            "no job has kept adversarial images; set adversarials = true in an [[evaluation]] of an attack and run it"
        )
    return found


def _settings(job: Job) -> Mapping[str, Any]:
    """Parameters of the evaluation of an evaluate job."""
    return job.task.config if job.task.kind == "evaluate" else {}


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises these without CUDA
        raise RequestError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None


@dataclass
class _Models:
    """The models and the test items of a plan, each loaded once."""

    bench: Bench
    device: str
    _models: dict[str, Classifier] = field(default_factory=dict)
    _digests: dict[str, str | None] = field(default_factory=dict)
    _test: Split | None = None

    def digest(self, job: Job) -> str | None:
        """Digest of the weights of the job's model, or None if they are gone."""
        from bench.keys import file_digest

        key = job.task.train.key
        if key not in self._digests:
            path = self.bench.store.folder(key).file(WEIGHTS)
            self._digests[key] = file_digest(path) if path.is_file() else None
        return self._digests[key]

    def model(self, job: Job) -> Classifier:
        """The model that the job measured."""
        from bench.data.job import job_dataset
        from bench.weights.load import load

        train = job.task.train
        if train.key not in self._models:
            classes, shape = job_dataset(train.data).num_classes, self.test(job).image_shape
            assert classes is not None
            folder = self.bench.store.folder(train.key)
            model, _ = load(folder, train.model, classes, shape, self.device)
            self._models[train.key] = cast("Classifier", model)  # what is verified are attacks
        return self._models[train.key]

    def test(self, job: Job) -> Split:
        """The test items of the suite, which are the same for all of its jobs."""
        from bench.data.job import job_splits

        if self._test is None:
            self._test = job_splits(job.task.train.data, self.bench.settings.data).test
        return self._test


def _checked(job: Job, folder: JobFolder, record: Record, facts: Mapping[str, Any], models: _Models) -> list[Verified]:
    """Check the numbers of one job."""
    name = facts["file"]
    kept, items = _arrays(folder, name, facts["sha256"]), _arrays(folder, ITEMS)
    if kept is None:
        problem = f"{name} is {'damaged' if folder.file(name).is_file() else 'missing'}"
    elif items is None:
        problem = f"{ITEMS} is damaged or missing"
    elif models.digest(job) != record.weights:
        problem = "it was measured on weights that the store no longer holds"
    else:
        with seeded(job.task.random_seed):
            return [_entry(job, record, entry, items, kept, models) for entry in facts["entries"]]
    return [_refused(job, entry, problem) for entry in facts["entries"]]


def _arrays(folder: JobFolder, name: str, sha256: str | None = None) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, or None if it is missing or does not have the expected digest."""
    try:
        return folder.arrays(name, sha256=sha256)
    except DamagedFileError:
        return None


def _entry(
    job: Job,
    record: Record,
    entry: Mapping[str, Any],
    items: Mapping[str, NDArray[Any]],
    kept: Mapping[str, NDArray[Any]],
    models: _Models,
) -> Verified:
    """Check one number against its images."""
    import numpy as np
    import torch

    from bench.attacks.check import check, clean_disagreements

    metric, eps = entry["metric"], entry["eps"]
    test, model = models.test(job), models.model(job)
    numbers = record.measured.numbers
    number = next((n for n in numbers if (n.metric, n.argument) == (metric, job.argument)), None)
    planned = (job.argument, _settings(job).get("norm", entry["norm"]))
    if number is None or (entry["argument"], entry["norm"]) != planned or eps not in (None, job.argument):
        return _refused(job, entry, "the images are of another number, norm or budget than the job's")
    # A repeated attack breaks an item in some of its runs, so a claim is a pair (item, run), ordered by run.
    runs = int(entry.get("attack_seeds", 1))
    robust = metric if runs == 1 else f"{metric}.seeds"
    needed = {"ids", "clean", *((metric, robust) if eps else ("success",))}
    if not needed <= items.keys() or f"{metric}.ids" not in kept or (runs > 1 and f"{metric}.runs" not in kept):
        return _refused(job, entry, "arrays are missing")
    ids, images = kept[f"{metric}.ids"], kept.get(f"{metric}.images", np.empty(0))
    if runs > 1 and items[robust].shape != (len(items["ids"]), runs):
        return _refused(job, entry, f"the record counts {runs} attack seeds, the items have other ones")
    if runs > 1 and not np.allclose(items[metric], items[robust].mean(axis=1)):
        return _refused(job, entry, "the shares of the attack seeds are not those of their flags")
    pairs = items["clean"] & ~np.atleast_2d(items[robust].T) if eps else np.atleast_2d(items["success"])
    which, claimed = np.nonzero(pairs)
    rows = {int(identity): row for row, identity in enumerate(test.ids)}
    listed = np.array([rows.get(int(identity), -1) for identity in items["ids"]])
    same = np.array_equal(items["ids"][claimed], ids) and (runs == 1 or np.array_equal(kept[f"{metric}.runs"], which))
    if not same or (listed < 0).any() or len(set(listed)) < len(listed):
        return _refused(job, entry, "the images are of other items than those that the record counts as broken")
    clean, labels = torch.from_numpy(test.unit_images()[listed]), torch.from_numpy(test.labels[listed])
    if images.dtype != np.float32 or images.shape[1:] != tuple(clean.shape[1:]) or len(images) != len(ids):
        return _refused(job, entry, f"the images are {images.dtype} of shape {images.shape}")
    common: dict[str, Any] = {"device": models.device, "batch_size": BATCH, "rounding": ROUNDING}
    other = clean_disagreements(model, clean, labels, items["clean"], **common)
    broken = torch.from_numpy(claimed)
    targets = torch.from_numpy(items["targets"])[broken] if "targets" in items else None
    checked = check(
        model, clean[broken], labels[broken], torch.from_numpy(images),
        norm=entry["norm"], eps=eps, targets=targets, **common,
    )  # fmt: skip

    def value(which: NDArray[np.bool_]) -> float | None:
        if eps is None:
            return float(checked.norms[which].mean()) if which.any() else None
        return (runs * int(items["clean"].sum()) - int(which.sum())) / (runs * len(items["ids"]))

    accepted = checked.confirmed | checked.rounding
    follows, recorded = value(accepted), number.value
    problem = None
    if other:
        problem = f"clean items that are not classified as the record says: {other}"
    elif accepted.all() and not _equal(follows, recorded):
        problem = f"the record says {_shown(recorded)}, but {_shown(follows)} follows from its items"
    norms = checked.norms[checked.confirmed]
    return Verified(
        job=job.id,
        metric=metric,
        argument=entry["argument"],
        claimed=len(ids),
        confirmed=int(checked.confirmed.sum()),
        rounding=int(checked.rounding.sum()),
        largest=float(norms.max()) if len(norms) else None,
        eps=eps,
        recorded=recorded,
        measured=value(checked.confirmed),
        problem=problem,
    )


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def _refused(job: Job, entry: Mapping[str, Any], problem: str) -> Verified:
    return Verified(job.id, entry["metric"], entry["argument"], entry["broken"], eps=entry["eps"], problem=problem)
