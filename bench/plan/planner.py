"""Makes the jobs of a suite, each with a key, declared inputs and a cost. No job runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.data.job import JobData, OodData
from bench.data.registry import DATASETS, absence, find_dataset, own_path
from bench.data.spec import identity
from bench.evaluate.base import Judge, Need, Part
from bench.keys import file_digest
from bench.plan.jobs import Job, Plan
from bench.plan.tasks import EvaluateTask, GivenFile, PredictTask, TrainTask, of_present_sets
from bench.plugins.sources import component
from bench.spec import BACKBONES, FAMILIES, BackboneSpec, FamilySpec, TrainingConfig
from bench.suite.schema import ResolvedEvaluation, ResolvedModel, Suite
from bench.weights.find import Blueprint, Found, find_weights

__all__ = ["make_plan"]


def make_plan(suite: Suite, data_root: Path, weights_root: Path) -> Plan:
    """All jobs of a suite.

    Args:
        suite: The resolved suite.
        data_root: Where data sets are looked for, to mark jobs that cannot run.
        weights_root: Where foreign weights are looked for, for the same purpose.
    """
    if not suite.parts:
        return _Planner(suite, data_root, weights_root).plan()
    return _joined(suite, [make_plan(part, data_root, weights_root) for part in suite.parts])


def _joined(suite: Suite, plans: Sequence[Plan]) -> Plan:
    """The plan of a suite of parts. A job that several parts have is there once, for its key is the same.

    If two parts have different jobs of one id, that of the later part gets the name of the part before it.
    """
    keys: dict[str, str] = {}
    jobs: dict[tuple[str, str], Job] = {}
    parts = []
    for plan in plans:
        part = plan.suite.on or plan.suite.name
        own = []
        for job in plan.jobs:
            taken = keys.setdefault(job.id, job.key) != job.key and (job.id, job.key) not in jobs
            named = replace(job, id=f"{part}:{job.id}") if taken else job
            jobs.setdefault((named.id, named.key), named)
            own.append(named)
        parts.append(_renamed(plan, own))
    return Plan(suite, tuple(jobs.values()), tuple(parts))


def _renamed(plan: Plan, jobs: Sequence[Job]) -> Plan:
    """A plan with other names for its jobs, in its parts, too."""
    names = {(job.key, job.model, job.evaluation, job.argument): job for job in jobs}
    parts = [
        _renamed(part, [names[job.key, job.model, job.evaluation, job.argument] for job in part.jobs])
        for part in plan.parts
    ]
    return Plan(plan.suite, tuple(jobs), tuple(parts))


@dataclass(frozen=True)
class _Piece:
    """What the jobs of a part of an evaluation have in common for all models.

    Attributes:
        part: The part.
        config: Its parameters as JSON values.
        code: Identity of the evaluation's code.
        plug_ins: Identities of the plug-ins that it uses.
    """

    part: Part
    config: Mapping[str, Any]
    code: Mapping[str, Any]
    plug_ins: Mapping[str, Mapping[str, Any]]


def _pieces(resolved: ResolvedEvaluation) -> list[_Piece]:
    evaluation = resolved.evaluation
    code = component(evaluation.name, evaluation.version, f"{type(evaluation).__module__}:_")
    return [
        _Piece(
            part,
            part.config.model_dump(mode="json"),
            code,
            dict(used.identity for used in evaluation.uses(part.config)),
        )
        for part in evaluation.parts(resolved.config)
    ]


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
        self.data = JobData(
            dataset=_dataset_reference(suite.data.dataset, suite),
            fingerprint=suite.dataset.fingerprint,
            identity=identity(suite.dataset, suite.image_shape, None),
            seed=suite.data.seed,
            validation=suite.data.validation,
            resize=suite.data.resize,
            train_cap=self._cap("train"),
            validation_cap=self._cap("validation"),
            test_cap=self._cap("test"),
        )
        # Described once, so that all jobs of a plan refer to the same content, and a user's own data are read once.
        self.datasets = {self.data.dataset: suite.dataset}
        self.missing = absence(suite.dataset, data_root)

    def plan(self) -> Plan:
        evaluations = [(one, _pieces(one)) for one in self.suite.evaluations]
        for model in self.suite.models:
            for seed in model.seeds:
                train = self._trained(model, seed)
                for evaluation, pieces in evaluations:
                    self._evaluation(evaluation, pieces, model, train)
        return Plan(self.suite, tuple(self.jobs.values()))

    def _add(self, job: Job) -> None:
        # The id, because two evaluations with equal parameters are two jobs with one key, computed once. The key,
        # because two folders of images can have one name.
        self.jobs.setdefault((job.id, job.key), job)

    def _stem(self, model: str, seed: int) -> str:
        return f"{model}/{self.suite.dataset.name}/seed{seed}"

    def _trained(self, model: ResolvedModel, seed: int) -> TrainTask:
        """Training of a model; training of the model that it starts from comes first and is shared."""
        start = None
        if model.init_from is not None:
            source = next(other for other in self.suite.models if other.name == model.init_from)
            start = self._trained(source, seed)
        family, backbone = (model.family_name, model.family), (model.backbone_name, model.backbone)
        task = self._train(family, backbone, model.config, seed, start, model.weights, model.absent)
        self._add(Job(f"{self._stem(model.name, seed)}/train", task, model.name))
        return task

    def _judge(self, judge: Judge) -> TrainTask:
        """Training of a judge; all models and seeds share it."""
        family, backbone = FAMILIES.get(judge.family), BACKBONES.get(judge.backbone)
        task = self._train((judge.family, family), (judge.backbone, backbone), family.config(), 0)
        self._add(Job(f"judge/{self.suite.dataset.name}/train", task))
        return task

    def _train(
        self,
        named_family: tuple[str, FamilySpec],
        named_backbone: tuple[str, BackboneSpec],
        config: TrainingConfig,
        seed: int,
        start: TrainTask | None = None,
        weights: str | None = None,
        absent: str | None = None,
    ) -> TrainTask:
        (family_name, family), (backbone_name, backbone) = named_family, named_backbone
        located = family.located(config, self.suite.path.parent)
        # The incomplete last batch of an epoch is dropped.
        items = self._size("train") // config.batch_size * config.batch_size
        blocked = absent or self.missing or (start.blocked if start is not None else None)
        found = None if weights is None else self._found(weights, family, backbone)
        if isinstance(found, str):
            blocked = blocked or found
        return TrainTask(
            model=Blueprint(
                family=family_name, backbone=backbone_name, config=located.model_dump(mode="json"), seed=seed
            ),
            data=self.data,
            settings=config.model_dump(mode="json"),
            code={
                "family": component(family.name, family.version, family.implementation),
                "backbone": component(backbone.name, backbone.version, backbone.implementation),
            },
            draws=backbone.draws(backbone.name),
            identity=None if family.identity is None else dict(family.identity(located)),
            init_from=start,
            weights=weights if isinstance(found, str) else found,
            passes=0.0 if weights is not None else family.passes(config) * config.epochs * items,
            blocked=blocked,
        )

    def _found(self, weights: str, family: FamilySpec, backbone: BackboneSpec) -> Found | str:
        """Weights that were made elsewhere, or why they cannot be used."""
        wanted = {
            "family": family.name,
            "backbone": backbone.name,
            "num_classes": self.suite.num_classes,
            "image_shape": list(self.suite.image_shape),
        }
        return find_weights(weights, self.weights_root, self.suite.path.parent, wanted)

    def _predict(self, need: Need, model: ResolvedModel, train: TrainTask) -> PredictTask:
        split, _, name = need.split.partition(":")
        ood, absent = None, None
        size = self._size(split if split in ("train", "validation") else "test")
        if split == "ood":
            reference = _dataset_reference(name, self.suite)
            dataset = self.datasets.get(reference) or find_dataset(reference, self.suite.path.parent)
            self.datasets[reference] = dataset
            name, absent = dataset.name, absence(dataset, self.data_root)
            # Generated sets have as many items as the whole test set.
            size = dataset.sizes.get("test", self.sizes["test"])
            bound = self.suite.caps.items
            cap = bound if bound is not None and bound < size else None
            size = cap or size
            ood = OodData(
                dataset=reference,
                fingerprint=dataset.fingerprint,
                identity=identity(dataset, self.suite.image_shape, self.suite.data.seed),
                cap=cap,
            )
        task = PredictTask(
            train=train,
            output=need.output,
            split=split,
            ood=ood,
            passes=size * (1.0 if need.output == "forward" else 2.0),
            absent=absent,
        )
        suffix = "" if need.output == "forward" else f".{need.output}"
        stem = self._stem(model.name, train.model.seed)
        self._add(Job(f"{stem}/predict/{name or split}{suffix}", task, model.name))
        return task

    def _evaluation(
        self, resolved: ResolvedEvaluation, pieces: Sequence[_Piece], model: ResolvedModel, train: TrainTask
    ) -> None:
        evaluation = resolved.evaluation
        others = evaluation.others(resolved.config)
        absent = model.absent or evaluation.not_applicable(model.family) or evaluation.missing(self.weights_root)
        classes = self.suite.num_classes
        absent = absent or evaluation.impossible(resolved.config, self.suite.image_shape, classes)
        absent = absent or (evaluation.of_itself(resolved.config) if model.name in others else None)
        absent = absent or self._unusable(others)
        files = {} if absent else self._files(resolved)
        if isinstance(files, str):
            absent, files = files, {}
        sets = {} if absent else self._published(resolved)
        if isinstance(sets, str):
            absent, sets = sets, {}
        possible, seed = absent is None, train.model.seed
        read = {name: self._other(name, seed) for name in others if name != model.name} if possible else {}
        for piece in pieces:
            part = piece.part
            needs = evaluation.needs(part.config) if possible else ()
            predictions = {f"{need.split}/{need.output}": self._predict(need, model, train) for need in needs}
            absent_sets: dict[str, str] = {}
            if evaluation.skips_absent_sets:
                predictions, absent_sets = of_present_sets(predictions)
            judge = evaluation.judge(part.config) if possible else None
            task = EvaluateTask(
                train=train,
                evaluation=resolved.kind,
                config=piece.config,
                evaluation_code=piece.code,
                plug_ins=piece.plug_ins,
                reads_model=evaluation.reads_model,
                needs=predictions,
                judge=None if judge is None else self._judge(judge),
                others=read,
                files=files,
                sets=sets,
                network=evaluation.feature_network(part.config) if possible else None,
                passes=evaluation.passes(part.config, self._size("test"), model.family),
                at_most=evaluation.at_most,
                absent=absent,
                absent_sets=absent_sets,
                tolerates_divergence=evaluation.reads_diverged,
            )
            argument = f"@{part.argument}" if part.argument else ""
            name = f"{self._stem(model.name, seed)}/{resolved.id}{argument}"
            self._add(Job(name, task, model.name, resolved.id, part.argument))

    def _unusable(self, others: Sequence[str]) -> str | None:
        """Why one of the other models that an evaluation reads is not there or does not classify, or None."""
        for model in self.suite.models if others else ():
            if model.name in others and (model.absent or not model.family.classifies):
                return model.absent or f"{model.family.label} does not classify"
        return None

    def _files(self, resolved: ResolvedEvaluation) -> dict[str, GivenFile] | str:
        """The files that the parameters of an evaluation name, or which one is missing."""
        found = {}
        for name in resolved.evaluation.file_fields:
            given = getattr(resolved.config, name)
            if given is None:
                continue
            path = (self.suite.path.parent / Path(given).expanduser()).resolve()
            try:
                found[name] = GivenFile(path, file_digest(path))
            except OSError as error:
                return f"{name} {given}: {error.strerror or error}"
        return found

    def _published(self, resolved: ResolvedEvaluation) -> dict[str, OodData] | str:
        """The data sets whose files an evaluation reads itself, or why it cannot."""
        names = resolved.evaluation.published_sets(resolved.config, self.suite.dataset.name)
        if isinstance(names, str):
            return names
        found = {}
        for name in names:
            spec = DATASETS.get(name)
            missing = absence(spec, self.data_root)
            if missing is not None:
                return missing
            found[name] = OodData(dataset=name, fingerprint=spec.fingerprint, identity=identity(spec, None, None))
        return found

    def _other(self, name: str, seed: int) -> TrainTask:
        """Training of another model of the suite, with the same seed if the model has it, else with its first seed."""
        model = next(other for other in self.suite.models if other.name == name)
        return self._trained(model, seed if seed in model.seeds else model.seeds[0])

    def _cap(self, part: str) -> int | None:
        """The bound on a part of the in-distribution data; None if it is not smaller than the part, so that such a
        bound changes no key.
        """
        caps = self.suite.caps
        cap = {"train": caps.train, "validation": caps.validation, "test": caps.items}[part]
        return cap if cap is not None and cap < self.sizes[part] else None

    def _size(self, part: str) -> int:
        """Number of items of a part of the in-distribution data."""
        return self._cap(part) or self.sizes[part]


def _dataset_reference(name: str, suite: Suite) -> str:
    """A reference that a worker resolves to the same data set in any working folder: a name, or the absolute form of a
    path, which is relative to the suite file.
    """
    path = own_path(name, suite.path.parent)
    return name if path is None else str(path.resolve())
