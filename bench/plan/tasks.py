"""Tasks: the work of a job. Each task has its inputs by role, and makes its key and its ``job.json`` from its fields.

A key is a hash of the declarations that determine the result. It includes the keys of the inputs, so it is known before
any job runs. Other values that a worker reads, such as absolute paths, are not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from bench.data.job import JobData, OodData
from bench.keys import digest
from bench.plugins.sources import SEEDING_VERSION
from bench.rng import derive_seed
from bench.weights.find import Blueprint, Found

__all__ = ["EvaluateTask", "GivenFile", "Kind", "PredictTask", "Task", "TrainTask", "of_present_sets"]

TRAIN_VERSION = 2
"""Raise when a change of the training loop changes a number. 2: counter-based order, augmentation and noise."""
_GIVEN_VERSION = 1
"""The same for weights that were made elsewhere, which the training loop does not touch."""
PREDICT_VERSION = 1
"""Raise when a change of the prediction pass changes a number."""
FEATURES_VERSION = 1
"""Raise when a change of `bench.evaluate.real_features` or of a feature network changes a number."""

Kind = Literal["train", "predict", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """Train a model, or take one that comes with its weights.

    Attributes:
        model: The model that is trained.
        data: The data that it is trained on.
        settings: Hyper-parameters as the suite declares them, with paths relative to its file; the key includes these.
        code: Identity of the code of ``"family"`` and ``"backbone"``; see ``bench.plugins.sources.component``.
        draws: Whether the backbone draws random numbers itself.
        identity: Identity of the files that the family declares as its parts; None if it declares none.
        init_from: Training of the model that this one starts from.
        weights: Weights that were made elsewhere and replace training; their name in the suite if they are missing.
        passes: Cost in network passes (forward-equivalents of one image).
        blocked: Why the task cannot run, such as missing data; then its cells are ``n/a``.
    """

    kind: ClassVar[Literal["train"]] = "train"
    tolerates_divergence: ClassVar[bool] = False

    model: Blueprint
    data: JobData
    settings: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    draws: bool = False
    identity: Mapping[str, Any] | None = None
    init_from: TrainTask | None = None
    weights: Found | str | None = None
    passes: float = 0.0
    blocked: str | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that determines the weights."""
        facts: dict[str, Any] = {
            "kind": self.kind,
            "loop": TRAIN_VERSION if self.weights is None else _GIVEN_VERSION,
            "family": self.code.get("family"),
            "config": self.settings,
            "backbone": self.code.get("backbone"),
            "data": self.data.of_training(),
            "seed": self.model.seed,
        }
        if self.draws:
            facts["seeding"] = SEEDING_VERSION
        if self.identity is not None:
            facts["identity"] = self.identity
        if self.init_from is not None:
            facts["inputs"] = [self.init_from.key]
        if isinstance(self.weights, str):
            facts["weights"] = f"missing: {self.weights}"
        elif self.weights is not None:
            facts["weights"] = self.weights.digest
            if self.weights.state_digest is not None:
                facts["state"] = self.weights.state_digest
        return digest(facts)

    @property
    def train(self) -> TrainTask:
        """The task itself: every task has an attribute with the training of its model."""
        return self

    @property
    def inputs(self) -> tuple[Task, ...]:
        """The tasks that must be done before."""
        return (self.init_from,) if self.init_from is not None else ()

    @property
    def fingerprints(self) -> dict[str, Any]:
        """The parts of the key that the worker compares with the data, code and files that it finds."""
        found: dict[str, Any] = {"data": {self.data.dataset: self.data.fingerprint}, "code": dict(self.code)}
        return found if self.identity is None else {**found, "identity": self.identity}

    @property
    def random_seed(self) -> int:
        """Seed of the global generators when the worker begins."""
        return derive_seed(self.model.seed, self.kind, "", "")

    def other(self, key: str) -> str | None:  # noqa: ARG002 - as of other tasks
        """None: the input, training of the model to start from, counts as the task's own."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The content of ``job.json``."""
        facts: dict[str, Any] = {
            "family": self.model.family,
            "backbone": self.model.backbone,
            "config": self.model.config,
            "data": self.data.as_json(),
            "seed": self.model.seed,
            "fingerprints": self.fingerprints,
        }
        if self.init_from is not None:
            facts["init_from"] = self.init_from.key
        if isinstance(self.weights, Found):
            facts["weights"] = str(self.weights.weights)
            facts["state"] = str(self.weights.state) if self.weights.state else None
            facts["weights_digest"], facts["imported"] = self.weights.digest, dict(self.weights.facts)
            if self.weights.state_digest is not None:
                facts["state_digest"] = self.weights.state_digest
        return facts


@dataclass(frozen=True, kw_only=True)
class PredictTask:
    """One pass of a trained model over a split; every evaluation that needs it reads the result.

    Attributes:
        train: Training of the model.
        output: ``"forward"`` or ``"gradient"``; see ``bench.evaluate.base.Need``.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"ood"``.
        ood: The data of the split ``"ood"``; None for other splits.
        passes: As in `TrainTask`.
        absent: Why the data of the split are missing, if they are.
    """

    kind: ClassVar[Literal["predict"]] = "predict"
    tolerates_divergence: ClassVar[bool] = False

    train: TrainTask
    output: Literal["forward", "gradient"]
    split: str
    ood: OodData | None = None
    passes: float = 0.0
    absent: str | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that determines the predictions."""
        data: dict[str, Any] = {"split": self.split}
        if self.ood is not None:
            data |= {"ood": self.ood.identity, "cap": self.ood.cap}
        elif self.split == "test":
            data["cap"] = self.train.data.test_cap
        return digest(
            {
                "kind": self.kind,
                "version": PREDICT_VERSION,
                "output": self.output,
                "data": data,
                "inputs": [self.train.key],
            }
        )

    @property
    def inputs(self) -> tuple[Task, ...]:
        """The tasks that must be done before."""
        return (self.train,)

    @property
    def blocked(self) -> str | None:
        """Why the task cannot run."""
        return self.train.blocked or self.absent

    @property
    def code(self) -> Mapping[str, Mapping[str, Any]]:
        """Identity of the code of family and backbone."""
        return self.train.code

    @property
    def random_seed(self) -> int:
        """Seed of the global generators when the worker begins."""
        return derive_seed(self.train.model.seed, self.kind, self.split, self.output)

    def other(self, key: str) -> str | None:  # noqa: ARG002 - as of other tasks
        """None: the only input belongs to the task's own model."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The content of ``job.json``."""
        whole = self.train.as_json()
        if self.ood is not None:
            whole["fingerprints"]["data"][self.ood.dataset] = self.ood.fingerprint
        return {
            **whole,
            "train": self.train.key,
            "output": self.output,
            "split": self.split,
            "ood": self.ood.dataset if self.ood is not None else "",
            "cap": self.ood.cap if self.ood is not None else None,
        }


@dataclass(frozen=True)
class GivenFile:
    """A file that a parameter of an evaluation names.

    Attributes:
        path: Where it is. It is no part of a key.
        sha256: Digest of its content.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class EvaluateTask:
    """Measure a trained model by one protocol.

    Attributes:
        train: Training of the model that is measured.
        evaluation: Reference of the evaluation.
        config: Its parameters, as JSON.
        evaluation_code: Identity of its code.
        plug_ins: Identity of the code of plug-ins that it runs, such as an attack, by role.
        reads_model: Whether it needs the model itself, and with it the test items.
        needs: The predictions that it reads, by split and output as in ``"test/forward"``.
        judge: Training of the independent classifier that it reads.
        others: Training of the other models of the suite that it reads, by name.
        files: The files that its parameters name, by parameter.
        sets: The data sets whose files it reads itself, by name; see ``bench.evaluate.base.Evaluation.published_sets``.
        network: What identifies the network in whose features it measures real images; see
            ``bench.evaluate.base.Evaluation.feature_network``.
        passes: As in `TrainTask`.
        at_most: Whether ``passes`` is an upper bound; see ``bench.evaluate.base.Evaluation``. No part of the key.
        absent: Why the evaluation does not apply to this model, if it does not.
        absent_sets: Why the predictions of other data sets are left out of ``needs``, by name of the set in the suite.
            The key need not contain them: it contains the parameters, and the predictions that are read.
        tolerates_divergence: Whether it can run for a model whose training diverged.
    """

    kind: ClassVar[Literal["evaluate"]] = "evaluate"

    train: TrainTask
    evaluation: str
    config: Mapping[str, Any]
    evaluation_code: Mapping[str, Any]
    plug_ins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reads_model: bool = False
    needs: Mapping[str, PredictTask] = field(default_factory=dict)
    judge: TrainTask | None = None
    others: Mapping[str, TrainTask] = field(default_factory=dict)
    files: Mapping[str, GivenFile] = field(default_factory=dict)
    sets: Mapping[str, OodData] = field(default_factory=dict)
    network: Mapping[str, Any] | None = None
    passes: float = 0.0
    at_most: bool = False
    absent: str | None = None
    absent_sets: Mapping[str, str] = field(default_factory=dict)
    tolerates_divergence: bool = False

    @cached_property
    def key(self) -> str:
        """Hash of everything that determines the numbers."""
        facts: dict[str, Any] = {
            "kind": self.kind,
            "evaluation": self.evaluation_code,
            "config": self.config,
            "inputs": [task.key for task in self.inputs],
            "test_cap": self.train.data.test_cap if self.reads_model else None,
        }
        if self.plug_ins:
            facts["plug_ins"] = self.plug_ins
        if self.files:
            facts["files"] = {name: file.sha256 for name, file in self.files.items()}
        if self.sets:
            facts["sets"] = {name: data.identity for name, data in self.sets.items()}
        return digest(facts)

    @cached_property
    def features(self) -> dict[str, str]:
        """By split, the key of the features of real images in the store. They are shared by all models, seeds and
        evaluations that measure in the same features.
        """
        if self.network is None:
            return {}
        return {split: digest(self.facts_of_features(split)) for split in ("train", "test")}

    def facts_of_features(self, split: str) -> dict[str, Any]:
        """Everything that determines the features of the real images of a split, and the name of the data set."""
        data = self.train.data
        bounds = (
            {"validation": data.validation, "train_cap": data.train_cap}
            if split == "train"
            else {"test_cap": data.test_cap}
        )
        facts = {
            "kind": "features",
            "version": FEATURES_VERSION,
            "network": self.network,
            "dataset": data.identity.get("name", data.dataset),
            "data": {"identity": data.identity, "seed": data.seed, "split": split, **bounds},
        }
        return facts if self.judge is None else {**facts, "judge": self.judge.key}

    @property
    def trainings(self) -> tuple[TrainTask, ...]:
        """Training of every model that the evaluation may load, its own first."""
        return (self.train, *([self.judge] if self.judge is not None else []), *self.others.values())

    @property
    def inputs(self) -> tuple[Task, ...]:
        """The tasks that must be done before."""
        own, *further = self.trainings
        return (own, *self.needs.values(), *further)

    @property
    def blocked(self) -> str | None:
        """Why the task cannot run."""
        return self.absent or next((task.blocked for task in self.inputs if task.blocked), None)

    @property
    def code(self) -> Mapping[str, Mapping[str, Any]]:
        """Identity of the code of the family, the backbone, the evaluation and its plug-ins."""
        return {**self.train.code, "evaluation": self.evaluation_code, **self.plug_ins}

    @property
    def random_seed(self) -> int:
        """Seed of the global generators when the worker begins. All models share it, so that comparisons are paired."""
        return derive_seed(self.config.get("seed", 0), self.kind, self.evaluation)

    def other(self, key: str) -> str | None:
        """Name of the other model of the suite that an input trains, or None if it trains none.

        Args:
            key: Key of an input.
        """
        if key == self.train.key:
            return None
        return next((name for name, task in self.others.items() if task.key == key), None)

    def as_json(self) -> dict[str, Any]:
        """The content of ``job.json``."""
        own = self.train.fingerprints
        data = {**own["data"], **{name: one.fingerprint for name, one in self.sets.items()}}
        return {
            **self.train.as_json(),
            "fingerprints": {**own, "data": data, "code": self.code},
            "evaluation": self.evaluation,
            "evaluation_config": self.config,
            "needs": {name: task.key for name, task in self.needs.items()},
            "train": self.train.key,
            "judge": self.judge.key if self.judge is not None else None,
            "others": {name: task.key for name, task in self.others.items()},
            "features": self.features,
            "files": {name: {"path": str(file.path), "sha256": file.sha256} for name, file in self.files.items()},
            "models": {task.key: task.as_json() for task in self.trainings},
        }


def of_present_sets(needs: Mapping[str, PredictTask]) -> tuple[dict[str, PredictTask], dict[str, str]]:
    """The predictions without those of other data sets whose files are missing; all of them if every such set is.

    Args:
        needs: Predictions by split and output, as in `EvaluateTask.needs`.

    Returns:
        The predictions, and why each set is left out, by its name in the suite.
    """
    others = {name: task for name, task in needs.items() if task.ood is not None}
    absent = {name: task.absent for name, task in others.items() if task.absent is not None}
    if len(absent) == len(others):
        return dict(needs), {}
    sets = {name.removeprefix("ood:").rpartition("/")[0]: reason for name, reason in absent.items()}
    return {name: task for name, task in needs.items() if name not in absent}, sets


Task: TypeAlias = TrainTask | PredictTask | EvaluateTask
