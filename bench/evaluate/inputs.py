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

__all__ = ["Inputs"]


@dataclass
class Inputs:
    """Access to everything an evaluation job declared.

    Attributes:
        spec: ``Job.spec`` of the evaluate job.
        store: Where the inputs are.
        data_root: Where data sets are.
        weights_root: Where foreign weights are.
        device: Torch device for what needs a network.
        progress: Tell how far the work is: ``{"done": …, "total": …}``.
        folder: The job's own folder, for what must survive a kill inside the job.
        save_every: Seconds of work that a kill may cost.
    """

    spec: Mapping[str, Any]
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
        return self.store.folder(self.spec["needs"][f"{split}/{output}"]).arrays(OUTPUTS)

    def model(self, *, with_state: bool = False) -> Classifier:
        """The trained classifier in eval mode on ``device``; its digest goes into the record."""
        return self._load(self.spec["train"], self.spec, with_state=with_state)

    def judge(self) -> Classifier:
        """The independent classifier that the evaluation asked for."""
        return self._load(self.spec["judge"], self.spec["models"][self.spec["judge"]])

    def other(self, name: str) -> Classifier:
        """Another model of the suite, in eval mode on ``device``.

        Raises:
            KeyError: The evaluation did not declare it, or it is the model that the job measures.
        """
        key = self.spec["others"][name]
        return self._load(key, self.spec["models"][key])

    def training(self) -> dict[str, Any]:
        """The record of training, as it is stored."""
        record = self.store.folder(self.spec["train"]).record_json()
        assert record is not None  # the scheduler runs inputs first
        return record

    @cached_property
    def journal(self) -> Journal:
        """Where attacks keep what they have found, so that the job goes on where a killed one stood."""
        from bench.attacks.journal import Journal

        return Journal(self.folder / JOURNAL, every=self.save_every)

    @cached_property
    def splits(self) -> Splits:
        """Training, validation and test items."""
        return job_splits(self.spec, self.data_root)

    @property
    def num_classes(self) -> int:
        """K."""
        classes = job_dataset(self.spec).num_classes
        assert classes is not None
        return classes

    def _load(self, key: str, spec: Mapping[str, Any], *, with_state: bool = False) -> Classifier:
        from bench.weights.load import load

        folder = self.store.folder(key)
        model, digest = load(
            folder,
            spec,
            self.num_classes,
            self.splits.train.image_shape,
            self.device,
            with_state=with_state,
        )
        self.digests[key] = digest
        return model
