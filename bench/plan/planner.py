"""From a suite to jobs: nodes of a graph, each with a key, declared inputs and a cost. Nothing runs here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data.declared import absence
from bench.data.registry import find_dataset
from bench.data.spec import identity
from bench.evaluate.base import Need
from bench.keys import digest
from bench.plan.jobs import Job, Plan
from bench.plugins.sources import SEEDING_VERSION, component
from bench.spec import BACKBONES, FAMILIES, TrainingConfig
from bench.suite.schema import ResolvedEvaluation, ResolvedModel, Suite
from bench.weights.find import find_weights

__all__ = ["make_plan"]

TRAIN_VERSION = 1
"""Raise when a change of the training loop changes a number."""
PREDICT_VERSION = 1
"""Raise when a change of the prediction pass changes a number."""


def make_plan(suite: Suite, data_root: Path, weights_root: Path) -> Plan:
    """All jobs of a suite.

    Args:
        suite: The resolved suite.
        data_root: Where data sets are looked for, to mark what cannot run.
        weights_root: Where foreign weights are looked for, likewise.
    """
    return _Planner(suite, data_root, weights_root).plan()


class _Planner:
    def __init__(self, suite: Suite, data_root: Path, weights_root: Path) -> None:
        self.suite = suite
        self.data_root = data_root
        self.weights_root = weights_root
        validation = suite.data.validation or suite.dataset.validation
        self.sizes = {
            "train": suite.dataset.sizes.get("train", 0) - validation,
            "validation": validation,
            "test": suite.dataset.sizes.get("test", 0),
        }
        self.jobs: dict[tuple[str, str], Job] = {}
        self.declared = {
            "identity": identity(suite.dataset, suite.image_shape, None),
            "seed": suite.data.seed,
            "validation": suite.data.validation,
            "train_cap": self._cap("train"),
            "validation_cap": self._cap("validation"),
        }
        self.data = {
            **{key: value for key, value in self.declared.items() if key != "identity"},
            "dataset": _dataset_reference(suite.data.dataset, suite),
            "test_cap": self._cap("test"),
        }
        # Described once: all jobs of a plan speak of one content, and own data are read once.
        self.datasets = {self.data["dataset"]: suite.dataset}
        self.base = suite.dataset.name
        self.missing = absence(suite.dataset, data_root)

    def plan(self) -> Plan:
        for model in self.suite.models:
            for seed in model.seeds:
                self._model(model, seed)
        return Plan(self.suite, tuple(self.jobs.values()))

    def _add(self, job: Job) -> Job:
        # By id: two evaluations with equal parameters are two jobs with one key, computed once. By key: two folders
        # of images can have one name.
        return self.jobs.setdefault((job.id, job.key), job)

    def _model(self, model: ResolvedModel, seed: int) -> None:
        stem = f"{model.name}/{self.base}/seed{seed}"
        train = self._trained(model, seed)
        for evaluation in self.suite.evaluations:
            self._evaluation(evaluation, model, seed, stem, train)

    def _trained(self, model: ResolvedModel, seed: int) -> Job:
        """The train job of a model; that of the model it starts from comes first and is shared."""
        start = None
        if model.init_from is not None:
            source = next(other for other in self.suite.models if other.name == model.init_from)
            start = self._trained(source, seed)
        name = f"{model.name}/{self.base}/seed{seed}/train"
        return self._train(
            name, model.family_name, model.backbone_name, model.config, seed, model.name, start, model.weights
        )

    def _train(
        self,
        name: str,
        family_name: str,
        backbone_name: str,
        config: TrainingConfig,
        seed: int,
        model: str,
        start: Job | None = None,
        weights: str | None = None,
    ) -> Job:
        family, backbone = FAMILIES.get(family_name), BACKBONES.get(backbone_name)
        settings = config.model_dump(mode="json")
        located = family.located(config, self.suite.path.parent)
        payload: dict[str, Any] = {
            "kind": "train",
            "loop": TRAIN_VERSION,
            "family": component(family.name, family.version, family.implementation),
            "config": settings,
            "backbone": component(backbone.name, backbone.version, backbone.implementation),
            "data": self.declared,
            "seed": seed,
        }
        spec: dict[str, Any] = {
            "family": family_name,
            "backbone": backbone_name,
            "config": located.model_dump(mode="json"),
            "data": self.data,
            "seed": seed,
            # What a worker reads is held against it; of the key's own parts, so not in the key once more.
            "fingerprints": {
                "data": {self.data["dataset"]: self.suite.dataset.fingerprint},
                "code": {"family": payload["family"], "backbone": payload["backbone"]},
            },
        }
        if backbone.draws(backbone.name):
            payload["seeding"] = SEEDING_VERSION
        blocked = self.missing
        # The incomplete last batch of an epoch is dropped.
        items = self._size("train") // config.batch_size * config.batch_size
        passes = family.passes(config) * config.epochs * items
        if family.identity is not None:
            payload["identity"] = dict(family.identity(located))
            spec["fingerprints"]["identity"] = payload["identity"]
        if start is not None:
            payload["inputs"] = [start.key]
            spec["init_from"] = start.key
        if weights is not None:
            found = find_weights(
                weights,
                self.weights_root,
                self.suite.path.parent,
                {
                    "family": family.name,
                    "backbone": backbone.name,
                    "num_classes": self.suite.num_classes,
                    "image_shape": list(self.suite.image_shape),
                },
            )
            passes = 0.0
            if isinstance(found, str):
                blocked = blocked or found
                payload["weights"] = f"missing: {weights}"
            else:
                payload["weights"] = found.digest
                spec["weights"], spec["state"] = str(found.weights), str(found.state) if found.state else None
                spec["weights_digest"], spec["imported"] = found.digest, dict(found.facts)
                if found.state_digest is not None:
                    payload["state"] = spec["state_digest"] = found.state_digest
        inputs = (start.key,) if start is not None else ()
        job = Job(name, "train", digest(payload), inputs, spec, model, seed, passes=passes, blocked=blocked)
        return self._add(job)

    def _predict(self, need: Need, stem: str, model: str, seed: int, train: Job) -> Job:
        role, _, ood = need.split.partition(":")
        data: dict[str, Any] = {"split": role}
        blocked, cap, reference = train.blocked, None, ""
        read: dict[str, str] = {}
        size = self._size("validation" if role == "validation" else "test")
        if role == "ood":
            reference = _dataset_reference(ood, self.suite)
            dataset = self.datasets.get(reference) or find_dataset(reference, self.suite.path.parent)
            self.datasets[reference] = dataset
            read[reference] = dataset.fingerprint
            ood = dataset.name
            data["ood"] = identity(dataset, self.suite.image_shape, self.suite.data.seed)
            blocked = blocked or absence(dataset, self.data_root)
            # Sets that are made have as many items as the whole test set.
            size = dataset.sizes.get("test", self.sizes["test"])
            bound = self.suite.caps.items
            cap = bound if bound is not None and bound < size else None
            data["cap"], size = cap, cap or size
        elif role == "test":
            data["cap"] = self._cap("test")
        payload = {
            "kind": "predict",
            "version": PREDICT_VERSION,
            "output": need.output,
            "data": data,
            "inputs": [train.key],
        }
        suffix = "" if need.output == "forward" else f".{need.output}"
        spec = {
            **train.spec,
            "fingerprints": _with(train.spec["fingerprints"], "data", read),
            "train": train.key,
            "output": need.output,
            "split": role,
            "ood": reference,
            "cap": cap,
        }
        return self._add(
            Job(
                id=f"{stem}/predict/{ood or role}{suffix}",
                kind="predict",
                key=digest(payload),
                inputs=(train.key,),
                spec=spec,
                model=model,
                seed=seed,
                passes=size * (1.0 if need.output == "forward" else 2.0),
                blocked=blocked,
            )
        )

    def _evaluation(self, resolved: ResolvedEvaluation, model: ResolvedModel, seed: int, stem: str, train: Job) -> None:
        evaluation = resolved.evaluation
        others = evaluation.others(resolved.config)
        absent = evaluation.not_applicable(model.family) or evaluation.missing(self.weights_root)
        classes = self.suite.num_classes
        absent = absent or evaluation.impossible(resolved.config, self.suite.image_shape, classes)
        absent = absent or (evaluation.of_itself(resolved.config) if model.name in others else None)
        read = {name: self._other(name, seed) for name in others if name != model.name} if absent is None else {}
        for part in evaluation.parts(resolved.config):
            inputs = [train]
            if absent is None:
                inputs += [self._predict(need, stem, model.name, seed, train) for need in evaluation.needs(part.config)]
                judge = evaluation.judge(part.config)
                if judge is not None:
                    name = f"judge/{self.base}/train"
                    config = FAMILIES.get(judge.family).config()
                    inputs.append(self._train(name, judge.family, judge.backbone, config, 0, ""))
            named = [*inputs, *read.values()]
            blocked = absent or next((job.blocked for job in named if job.blocked), None)
            module = type(evaluation).__module__
            settings = part.config.model_dump(mode="json")
            code = component(evaluation.name, evaluation.version, f"{module}:_")
            payload = {
                "kind": "evaluate",
                "evaluation": code,
                "config": settings,
                "inputs": [job.key for job in named],
                "test_cap": self._cap("test") if evaluation.reads_model else None,
            }
            spec = {
                **train.spec,
                "fingerprints": _with(train.spec["fingerprints"], "code", {"evaluation": code}),
                "evaluation": resolved.kind,
                "evaluation_config": settings,
                "needs": {
                    f"{need.split}/{need.output}": job.key
                    for need, job in zip(evaluation.needs(part.config), inputs[1:], strict=False)
                },
                "train": train.key,
                "judge": inputs[-1].key if evaluation.judge(part.config) and absent is None else None,
                "others": {name: job.key for name, job in read.items()},
                # How to build what the job reads beside its own model: the folders of these jobs need not say it.
                "models": {job.key: job.spec for job in (*inputs, *read.values()) if job.kind == "train"},
            }
            argument = f"@{part.argument}" if part.argument else ""
            self._add(
                Job(
                    id=f"{stem}/{resolved.id}{argument}",
                    kind="evaluate",
                    key=digest(payload),
                    inputs=tuple(job.key for job in named),
                    spec=spec,
                    model=model.name,
                    seed=seed,
                    evaluation=resolved.id,
                    argument=part.argument,
                    passes=evaluation.passes(part.config, self._size("test"), model.family),
                    blocked=blocked,
                    tolerates_divergence=evaluation.reads_diverged,
                )
            )

    def _other(self, name: str, seed: int) -> Job:
        """The train job of another model: of the same seed if it has that one, else of its first."""
        model = next(other for other in self.suite.models if other.name == name)
        return self._trained(model, seed if seed in model.seeds else model.seeds[0])

    def _cap(self, part: str) -> int | None:
        """The bound on a part of the in-distribution data; None where it does not bind, so that a bound larger
        than the data changes no key.
        """
        caps = self.suite.caps
        cap = {"train": caps.train, "validation": caps.validation, "test": caps.items}[part]
        return cap if cap is not None and cap < self.sizes[part] else None

    def _size(self, part: str) -> int:
        """Items of a part of the in-distribution data."""
        return self._cap(part) or self.sizes[part]


def _with(fingerprints: Mapping[str, Any], kind: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprints of a job, and some that it reads beyond those of its train job."""
    return {**fingerprints, kind: {**fingerprints[kind], **more}}


def _dataset_reference(name: str, suite: Suite) -> str:
    """What a worker resolves to the same data set, wherever it runs: paths of a suite are relative to its file."""
    if "/" not in name and not name.endswith(".npz"):
        return name
    path = Path(name).expanduser()
    return str((path if path.is_absolute() else suite.path.parent / path).resolve())
