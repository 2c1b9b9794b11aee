"""Inputs from memory, small models in closed form, and the promise of ``columns``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.attacks.threat import parse_eps
from bench.data.job import JobData
from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Outcome
from bench.evaluate.inputs import Inputs
from bench.family import Classifier
from bench.files.arrays import load_arrays
from bench.plan.tasks import EvaluateTask, TrainTask
from bench.store import Store
from bench.weights.find import Blueprint

NOWHERE = Path("/nonexistent")


def _training(name: str) -> TrainTask:
    model = Blueprint(family="softmax", backbone="wrn-10-1")
    return TrainTask(model=model, data=JobData(dataset="digits"), settings={"name": name})


class Given(Inputs):
    """What an evaluation may read, given instead of stored."""

    def __init__(
        self,
        outputs: Mapping[str, Mapping[str, Any]],
        model: Classifier | None,
        judge: Classifier | None,
        splits: Splits | None,
        num_classes: int,
        weights_root: Path,
        others: Mapping[str, Classifier],
        files: Mapping[str, Path],
        store: Path,
    ) -> None:
        self.files = files
        self.told: list[dict[str, Any]] = []
        self.given, self.given_model, self.given_judge, self.classes = outputs, model, judge, num_classes
        self.given_others = others
        self.with_state: list[bool] = []
        task = EvaluateTask(
            train=_training("its own"),
            evaluation="given",
            config={},
            evaluation_code={},
            judge=_training("judge"),
            others={name: _training(name) for name in others},
            network={"network": "given"},
        )
        super().__init__(task, Store(store), NOWHERE, weights_root, "cpu", self._tell, NOWHERE, float("inf"))
        if splits is not None:
            self.__dict__["splits"] = splits

    def _tell(self, facts: Mapping[str, Any]) -> None:
        self.told.append(dict(facts))

    def outputs(self, split: str, output: str = "forward") -> dict[str, NDArray[Any]]:
        return dict(self.given[f"{split}/{output}"])

    def model(self, *, with_state: bool = False) -> Classifier:
        assert self.given_model is not None
        self.with_state.append(with_state)
        self.digests[self.task.train.key] = "digest of the model"
        return self.given_model

    def judge(self) -> Classifier:
        assert self.given_judge is not None
        assert self.task.judge is not None
        self.digests[self.task.judge.key] = "digest of the judge"
        return self.given_judge

    def other(self, name: str) -> Classifier:
        self.digests[self.task.others[name].key] = f"digest of {name}"
        return self.given_others[name]

    def given_arrays(self, name: str) -> tuple[dict[str, NDArray[Any]], str]:
        return load_arrays(self.files[name]), "digest of the file"

    @property
    def num_classes(self) -> int:
        return self.classes


@pytest.fixture
def given(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Given]:
    """Makes ``Inputs`` from arrays, modules and splits, each with an empty store for the features of real images."""

    def make(
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        model: Classifier | None = None,
        judge: Classifier | None = None,
        splits: Splits | None = None,
        num_classes: int = 2,
        weights_root: Path = NOWHERE,
        others: Mapping[str, Classifier] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> Given:
        store = tmp_path_factory.mktemp("store")
        return Given(outputs or {}, model, judge, splits, num_classes, weights_root, others or {}, files or {}, store)

    return make


def _lies_on_its_curve(column: Column, outcome: Outcome) -> None:
    assert column.curve is not None
    above = outcome.items[column.curve].astype(np.float64) > parse_eps(column.argument)
    (value,) = [n.value for n in outcome.numbers if (n.metric, n.argument) == (column.metric, column.argument)]
    assert value == (outcome.items["clean"] & above).mean()


@pytest.fixture
def keeps_its_word() -> Callable[..., None]:
    """Checks an outcome against the columns that the planner was promised, whatever the numbers are."""

    def check(
        evaluation: Evaluation, config: EvaluationConfig, outcome: Outcome, *, lacking: frozenset[str] = frozenset()
    ) -> None:
        every = [column for column in evaluation.columns(config) if column.readout not in lacking]
        columns = [column for column in every if column.across is None]
        for column in every:
            if column.across is not None:  # the report makes it of the array that some number names
                assert column.across in {number.items for number in outcome.numbers}
                assert column.across in outcome.items
            if column.curve is not None:
                _lies_on_its_curve(column, outcome)
        promised = {(column.metric, column.argument): column.definition for column in columns}
        emitted = {(number.metric, number.argument): number.definition for number in outcome.numbers}
        assert len(promised) == len(columns)
        assert len(emitted) == len(outcome.numbers)
        assert emitted == promised
        assert len({column.metric for column in columns if column.primary}) == 1
        for number in outcome.numbers:
            assert (number.value is None) == (number.reason is not None), number
            assert number.value is None or np.isfinite(number.value), number
            if number.interval is not None:
                assert number.value is not None
                assert number.interval.low <= number.value <= number.interval.high, number
        ids = outcome.items.get("ids")
        for name, values in outcome.items.items():
            assert ids is not None, name
            assert len(values) == len(ids), name
        tested = {(column.metric, column.argument) for column in columns if column.test is not None}
        for number in outcome.numbers:
            if (number.metric, number.argument) in tested and number.value is not None:
                assert number.items in outcome.items
        # Whole suites are planned with all arguments at once; jobs run part by part.
        parts = [evaluation.columns(part.config) for part in evaluation.parts(config)]
        assert {column for columns in parts for column in columns} == set(evaluation.columns(config))

    return check


class Ramp(Classifier):
    """Two classes of one pixel: logits (0, slope (x - edge)); the decision is at the edge."""

    def __init__(self, slope: float, edge: float = 0.5) -> None:
        super().__init__(2, (1, 1, 1))
        self.slope, self.edge = nn.Parameter(torch.tensor(slope)), edge

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1) - self.edge

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(features), self.slope * features], dim=1)


@pytest.fixture
def ramp() -> Callable[..., Classifier]:
    """Makes models of one pixel whose robustness is the distance of the pixel from the edge, by default 1/2."""

    def make(slope: float = 10.0, edge: float = 0.5) -> Classifier:
        return Ramp(slope, edge).eval()

    return make


class Hidden(Classifier):
    """Two classes of one pixel: flat logits, so no gradient, but the class changes 3/255 to the right of 1/2."""

    def __init__(self) -> None:
        super().__init__(2, (1, 1, 1))
        self.edge = nn.Parameter(torch.tensor(0.5 + 3 / 255))

    def features(self, images: Tensor) -> Tensor:
        return (images.flatten(1) > self.edge).float()

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(features), 4 * features - 2], dim=1)


@pytest.fixture
def hidden() -> Classifier:
    """A model of one pixel whose decision is at 1/2 + 3/255, and which has no gradient."""
    return Hidden().eval()


@pytest.fixture
def pixels() -> Callable[..., Splits]:
    """Makes splits whose test images are single pixels; labels are right for ``Ramp`` unless given."""

    def make(values: list[float], labels: list[int] | None = None) -> Splits:
        images = np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)
        right = (images[:, 0, 0, 0] > 0.5).astype(np.int64)
        split = Split(images, right if labels is None else np.array(labels), 100 + np.arange(len(values)))
        return Splits(split, split, split)

    return make
