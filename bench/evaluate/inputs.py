"""What an evaluation may read in its worker: predictions, the model, the data, the judge. Nothing is recomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.job import job_dataset, job_splits
from bench.data.splits import Splits
from bench.store import JOURNAL, OUTPUTS, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.attacks.journal import Journal
    from bench.family import Classifier
    from bench.plan.tasks import EvaluateTask, TrainTask

__all__ = ["Inputs"]


@dataclass
class Inputs:
    """Access to everything an evaluation job declared.

    Attributes:
        task: What the job was planned to do.
        store: Where the inputs are.
        data_root: Where data sets are.
        weights_root: Where foreign weights are.
        device: Torch device for what needs a network.
        progress: Tell how far the work is: ``{"done": …, "total": …}``.
        folder: The job's own folder, for what must survive a kill inside the job.
        save_every: Seconds of work that a kill may cost.
    """

    task: EvaluateTask
    store: Store
    data_root: Path
    weights_root: Path
    device: str
    progress: Callable[[Mapping[str, Any]], None]
    folder: Path
    save_every: float = 15.0
    digests: dict[str, str] = field(default_factory=dict)

    def outputs(self, split: str, output: str = "forward") -> dict[str, NDArray[Any]]:
        """The arrays of a declared ``Need``: ``ids``, ``labels`` and what ``bench.predict.outputs`` made.

        Raises:
            KeyError: The evaluation did not declare the need.
            DamagedFileError: The predictions are not those that were recorded.
        """
        return self.store.folder(self.task.needs[f"{split}/{output}"].key).arrays(OUTPUTS)

    def model(self, *, with_state: bool = False) -> Classifier:
        """The trained classifier in eval mode on ``device``; its digest goes into the record."""
        return self._load(self.task.train, with_state=with_state)

    def judge(self) -> Classifier:
        """The independent classifier that the evaluation asked for."""
        assert self.task.judge is not None
        return self._load(self.task.judge)

    def other(self, name: str) -> Classifier:
        """Another model of the suite, in eval mode on ``device``.

        Raises:
            KeyError: The evaluation did not declare it, or it is the model that the job measures.
        """
        return self._load(self.task.others[name])

    def training(self) -> dict[str, Any]:
        """The record of training, as it is stored."""
        record = self.store.folder(self.task.train.key).record_json()
        assert record is not None  # the scheduler runs inputs first
        return record

    @property
    def spec(self) -> dict[str, Any]:
        """The task as ``job.json`` holds it, for evaluations that were written when there was nothing else."""
        return self.task.as_json()

    @cached_property
    def journal(self) -> Journal:
        """Where attacks keep what they have found, so that the job goes on where a killed one stood."""
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

    def _load(self, train: TrainTask, *, with_state: bool = False) -> Classifier:
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
