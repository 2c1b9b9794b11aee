"""Checking kept adversarial images again: is each within its threat model, and does it fool the model?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import NothingSelectedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.api import Bench
    from bench.family import Classifier
    from bench.planner import Job, Plan
    from bench.store import JobFolder

__all__ = ["Verified", "verify"]

BATCH = 128
ROUNDING = 1e-4
"""An image that no longer fools the model by less than this share of its largest logit has met other kernels."""


@dataclass(frozen=True)
class Verified:
    """What became of one number.

    Attributes:
        job: Id of the job.
        metric: Of the number.
        argument: Of the number.
        claimed: Items that the record counts as broken.
        confirmed: Of these, images that are within the threat model and fool the model here and now.
        rounding: Of the others, images that miss by no more than rounding: other kernels see other last bits.
        largest: Largest norm of the confirmed perturbations, in units of the pixel range; None without any.
        eps: The budget, or None.
        recorded: The number in the record.
        measured: The same number from the confirmed images alone.
        problem: What is wrong with the files, if they could not be checked.
    """

    job: str
    metric: str
    argument: str
    claimed: int
    confirmed: int
    rounding: int
    largest: float | None
    eps: str | None
    recorded: float | None
    measured: float | None
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """Whether every claim is confirmed, up to rounding."""
        return self.problem is None and self.confirmed + self.rounding == self.claimed

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "holds": self.holds}


def verify(bench: Bench, plan: Plan, device: str) -> list[Verified]:
    """Check all adversarial images that the jobs of a plan have kept.

    Args:
        bench: Settings and store.
        plan: Of the suite, or a selection of it.
        device: Torch device for the models.

    Raises:
        NothingSelectedError: No job of the plan has kept any.
    """
    found = []
    loaded: dict[str, tuple[Classifier, str]] = {}
    for job in plan.jobs:
        folder = bench.store.folder(job.key)
        record = folder.record()
        facts = (record or {}).get("details", {}).get("adversarials")
        if record is None or facts is None:
            continue
        found += _checked(bench, job, folder, record, facts, loaded, device)
    if not found:
        raise NothingSelectedError(
            "no job has kept adversarial images; set adversarials = true in an [[evaluation]] of an attack and run it"
        )
    return found


def _checked(
    bench: Bench,
    job: Job,
    folder: JobFolder,
    record: Mapping[str, Any],
    facts: Mapping[str, Any],
    loaded: dict[str, tuple[Classifier, str]],
    device: str,
) -> list[Verified]:
    """The numbers of one job."""
    import numpy as np

    from bench.data.job import job_splits
    from bench.keys import file_digest
    from bench.trained import load

    path = folder.file(facts["file"])
    if not path.is_file() or file_digest(path) != facts["sha256"]:
        problem = f"{facts['file']} is {'damaged' if path.is_file() else 'missing'}"
        return [_unchecked(job, entry, problem) for entry in facts["entries"]]
    splits = job_splits(job.spec, bench.settings.data)
    train = job.spec["train"]
    if train not in loaded:
        shape = splits.train.image_shape
        loaded[train] = load(bench.store.folder(train), job.spec, _classes(job), shape, device)
    model, digest = loaded[train]
    if digest != record["weights"]:
        problem = "it was measured on weights that the store no longer holds"
        return [_unchecked(job, entry, problem) for entry in facts["entries"]]
    with np.load(path, allow_pickle=False) as arrays, np.load(folder.file("items.npz"), allow_pickle=False) as items:
        return [
            _entry(job, record, entry, dict(items), arrays[f"{entry['metric']}.ids"],
                   arrays[f"{entry['metric']}.images"], model, splits.test, device)
            for entry in facts["entries"]
        ]  # fmt: skip


def _classes(job: Job) -> int:
    from bench.data.job import job_dataset

    classes = job_dataset(job.spec).num_classes
    assert classes is not None
    return classes


def _entry(
    job: Job,
    record: Mapping[str, Any],
    entry: Mapping[str, Any],
    items: Mapping[str, NDArray[Any]],
    ids: NDArray[np.int64],
    images: NDArray[np.float32],
    model: Classifier,
    test: Any,
    device: str,
) -> Verified:
    """One number, from its images."""
    import numpy as np
    import torch

    from bench.attacks.check import check

    metric = entry["metric"]
    rows = {int(identity): row for row, identity in enumerate(test.ids)}
    listed = np.array([rows[int(identity)] for identity in items["ids"]])
    claimed = items["success"] if "success" in items else items["clean"] & ~items[metric]
    if not np.array_equal(items["ids"][claimed], ids):
        return _unchecked(job, entry, "the images are of other items than those that the record counts as broken")
    targets = torch.from_numpy(items["targets"][claimed]) if "targets" in items else None
    chosen = listed[claimed]
    checked = check(
        model, torch.from_numpy(test.unit_images()[chosen]), torch.from_numpy(test.labels[chosen]),
        torch.from_numpy(images), norm=entry["norm"], eps=entry["eps"], targets=targets, device=device,
        batch_size=BATCH, rounding=ROUNDING,
    )  # fmt: skip
    number = next(n for n in record["numbers"] if (n["metric"], n["argument"]) == (metric, entry["argument"]))
    norms = checked.norms[checked.confirmed]
    if entry["eps"] is None:
        measured = float(norms.mean()) if len(norms) else None
    else:
        measured = (int(items["clean"].sum()) - int(checked.confirmed.sum())) / len(items["ids"])
    return Verified(
        job=job.id,
        metric=metric,
        argument=entry["argument"],
        claimed=len(ids),
        confirmed=int(checked.confirmed.sum()),
        rounding=int(checked.rounding.sum()),
        largest=float(norms.max()) if len(norms) else None,
        eps=entry["eps"],
        recorded=number["value"],
        measured=measured,
    )


def _unchecked(job: Job, entry: Mapping[str, Any], problem: str) -> Verified:
    return Verified(
        job.id, entry["metric"], entry["argument"], entry["broken"], 0, 0, None, entry["eps"], None, None, problem
    )
