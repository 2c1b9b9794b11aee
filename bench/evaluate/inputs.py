"""The inputs of an evaluation in its worker: predictions, models, the data and the judge. None is recomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.data.job import job_dataset, job_splits
from bench.data.splits import Splits
from bench.store import JOURNAL, OUTPUTS, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.attacks.journal import Journal
    from bench.family import Classifier, Model
    from bench.plan.tasks import EvaluateTask, TrainTask

__all__ = ["Inputs"]


@dataclass
class Inputs:
    """Access to everything that an evaluation job declared.

    Attributes:
        task: The task of the job.
        store: Where the inputs are.
        data_root: Where data sets are.
        weights_root: Where foreign weights are.
        device: Torch device of the models.
        progress: Takes progress reports: ``{"done": …, "total": …}``.
        folder: The job's own folder, for files that must survive a kill during the job.
        save_every: Seconds of work that a kill may cost.
        share: The part of the device's memory that the job may fill, in (0, 1].
        digests: SHA-256 of the weights that were loaded, by key of the train job.
    """

    task: EvaluateTask
    store: Store
    data_root: Path
    weights_root: Path
    device: str
    progress: Callable[[Mapping[str, Any]], None]
    folder: Path
    save_every: float = 15.0
    share: float = 1.0
    digests: dict[str, str] = field(default_factory=dict)

    def outputs(self, split: str, output: str = "forward") -> dict[str, NDArray[Any]]:
        """The arrays of a declared ``Need``: ``ids``, ``labels`` and the outputs of ``bench.predict.outputs``.

        Raises:
            KeyError: The evaluation did not declare the need.
            DamagedFileError: The predictions are missing or do not have the recorded digest.
        """
        return self.store.folder(self.task.needs[f"{split}/{output}"].key).arrays(OUTPUTS)

    @property
    def absent_sets(self) -> Mapping[str, str]:
        """Why the declared needs of other data sets cannot be read, by name of the set: its files are missing. Empty
        unless the evaluation declares ``skips_absent_sets``.
        """
        return self.task.absent_sets

    def model(self, *, with_state: bool = False) -> Classifier:
        """The trained classifier in eval mode on ``device``; its digest goes into the record. An evaluation with
        ``classifies = False`` may get a ``bench.family.Model`` that is none.
        """
        return cast("Classifier", self._load(self.task.train, with_state=with_state))

    def judge(self) -> Classifier:
        """The independent classifier that the evaluation declared, in eval mode on ``device``."""
        assert self.task.judge is not None
        return cast("Classifier", self._load(self.task.judge))

    def other(self, name: str) -> Classifier:
        """Another model of the suite, in eval mode on ``device``.

        Raises:
            KeyError: The evaluation did not declare the model, or it is the model that the job measures.
        """
        return cast("Classifier", self._load(self.task.others[name]))

    def given_arrays(self, name: str) -> tuple[dict[str, NDArray[Any]], str]:
        """The arrays of an ``.npz`` file that a parameter names, and the SHA-256 of the file.

        Raises:
            KeyError: The evaluation did not declare the parameter in ``file_fields``, or it names no file.
            DamagedFileError: The file is missing, is not such a file, or has changed since the suite was read.
        """
        from bench.files.arrays import load_arrays

        given = self.task.files[name]
        return load_arrays(given.path, sha256=given.sha256), given.sha256

    def training(self) -> dict[str, Any]:
        """The record of training, as it is stored."""
        record = self.store.folder(self.task.train.key).record_json()
        assert record is not None  # the scheduler runs inputs first
        return record

    @property
    def spec(self) -> dict[str, Any]:
        """The task as ``job.json`` holds it, for evaluations that were written before ``task`` existed."""
        return self.task.as_json()

    @cached_property
    def journal(self) -> Journal:
        """Storage for the interim results of attacks, so that a killed job can continue."""
        from bench.attacks.journal import Journal

        return Journal(self.folder / JOURNAL, every=self.save_every)

    @cached_property
    def splits(self) -> Splits:
        """Training, validation and test items."""
        return job_splits(self.task.train.data, self.data_root)

    @property
    def num_classes(self) -> int:
        """K."""
        classes = job_dataset(self.task.train.data).num_classes
        assert classes is not None
        return classes

    def _load(self, train: TrainTask, *, with_state: bool = False) -> Model:
        from bench.weights.load import load

        model, digest = load(
            self.store.folder(train.key),
            train.model,
            self.num_classes,
            self.splits.train.image_shape,
            self.device,
            with_state=with_state,
        )
        self.digests[train.key] = digest
        return model
