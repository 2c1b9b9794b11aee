"""Checks whether the parts of a suite can run together: enough items, networks that fit the images.

Workers would refuse these suites only after other jobs have run. ``check`` reports the problem before, at the key to
change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.data.spec import DatasetSpec, ImageShape
from bench.plugins.declared import finite
from bench.plugins.descriptions import untrained
from bench.registry import UnknownNameError
from bench.spec import FAMILIES, BackboneSpec, FamilySpec, Task
from bench.suite.locate import Path
from bench.suite.schema import Caps, DataSection, ResolvedEvaluation, ResolvedModel
from bench.suite.section import SectionReader

__all__ = ["Feasibility", "features", "task", "unfit"]


@dataclass(kw_only=True)
class Feasibility(SectionReader):
    """Checks the parts of a suite together.

    Attributes:
        inside: The in-distribution data set.
        data: How it is split.
        caps: The bounds of the profile.
        models: Models without mistakes, by their place.
        evaluations: Evaluations without mistakes, by their place.
        outside: The other data sets, each with its place.
    """

    inside: DatasetSpec
    data: DataSection
    caps: Caps
    models: Mapping[int, ResolvedModel]
    evaluations: Mapping[int, ResolvedEvaluation]
    outside: Sequence[tuple[Path, DatasetSpec]]

    def look(self) -> None:
        """Report everything that cannot run."""
        train = self._splits()
        for path, spec in self.outside:
            self._outside(path, spec)
        given = task(self.inside, train)
        if given is None:
            return
        for index, model in self.models.items():
            self._model(("model", index), model, given)
        for index, evaluation in self.evaluations.items():
            self._evaluation(("evaluation", index), evaluation, train)

    @cached_property
    def _named(self) -> dict[str, ResolvedModel]:
        return {model.name: model for model in self.models.values()}

    def _splits(self) -> int | None:
        """The number of training items; None if it is unknown or if nothing can be trained."""
        name, sizes = self.inside.name, self.inside.sizes
        at: Path = ("data", "dataset")
        if self.inside.num_classes == 1:
            self.complain(at, f"{name!r} has one class: a classifier needs two at least")
        if not sizes:
            return None
        for part, what in (("train", "to train on"), ("test", "to test on")):
            if not sizes.get(part):
                self.complain(at, f"{name!r} has no items {what}: it can only be an OOD set")
                return None
        held_out = self.inside.validation if self.data.validation is None else self.data.validation
        items = sizes["train"]
        if held_out >= items:
            self.complain(
                ("data", "validation"),
                f"{held_out} validation items leave nothing to train on: {name!r} has {items} training items",
                f"at most {items - 1}",
            )
            return None
        if held_out == 0 and self._needs_validation():
            self.complain(
                ("data", "validation"), f"{name!r} holds no items out for validation", "say how many: validation = …"
            )
        return min(items - held_out, self.caps.train or items)

    def _needs_validation(self) -> bool:
        trained = any(
            model.weights is None and not untrained(model.family, model.config) for model in self.models.values()
        )
        return trained or any(
            need.split == "validation"
            for one in self.evaluations.values()
            for part in one.evaluation.parts(one.config)
            for need in one.evaluation.needs(part.config)
        )

    def _outside(self, path: Path, spec: DatasetSpec) -> None:
        if spec.sizes and not spec.sizes.get("test"):
            self.complain(path, f"{spec.name!r} has no test items")
        own, other = self.inside.image_shape, spec.image_shape
        if own is not None and other is not None and own[0] != other[0] and {own[0], other[0]} != {1, 3}:
            reason = f"{spec.name!r} has images of {other[0]} channels and {self.inside.name!r} of {own[0]}"
            self.complain(path, f"{reason}: only grey (1) and colour (3) become each other")

    def _model(self, at: Path, model: ResolvedModel, given: Task) -> None:
        for key, reason in unfit(model.family, model.backbone, model.config, given).items():
            self.complain((*at, *key.split(".")), reason)
        if model.init_from is not None:
            self._start(at, model)
        if model.weights is None and not untrained(model.family, model.config):
            self._batch((*at, "batch_size"), model.config.batch_size, given.train)

    def _batch(self, at: Path, size: int, train: int | None, whose: str = "") -> None:
        if train is not None and size > train:
            reason = f"a batch of {size} items{whose} is larger than the training set of {train}"
            self.complain(at, reason, f"at most {train}" if not whose else "")

    def _start(self, at: Path, model: ResolvedModel) -> None:
        """Check that a model has the same parameters as the model that it starts from."""
        source = self._named.get(model.init_from or "")
        if source is None:
            return  # reported elsewhere
        where = (*at, "init_from")
        if untrained(model.family, model.config):
            self.complain(where, f"has no effect: a {model.family.name} is not trained here", "leave the key out")
        elif (source.backbone.name, source.backbone.implementation) != (
            model.backbone.name,
            model.backbone.implementation,
        ):
            reason = f"{source.name!r} has the backbone {source.backbone.name!r}, this model {model.backbone.name!r}"
            self.complain(where, f"{reason}: its weights do not fit", "give both the same")
        elif source.family.layout is not None and model.family.layout is not None:
            theirs, own = source.family.layout(source.config), model.family.layout(model.config)
            if theirs != own:
                self.complain(where, f"{source.name!r} is {theirs}, this model {own}: its weights do not fit")

    def _evaluation(self, at: Path, resolved: ResolvedEvaluation, train: int | None) -> None:
        evaluation, config = resolved.evaluation, resolved.config
        most = self.inside.sizes.get("test")
        items = [n for n in (getattr(config, "items", None), self.caps.items, most) if isinstance(n, int)]
        if items and min(items) < evaluation.least_items:
            reason = f"{evaluation.name!r} needs at least {evaluation.least_items} items, there are {min(items)}"
            self.complain((*at, "items"), reason)
        for part in evaluation.parts(config):
            for need in evaluation.needs(part.config):
                role, _, name = need.split.partition(":")
                if role == "ood" and not evaluation.dataset_fields:
                    self.dataset(name, (*at, "kind"))
            judge = evaluation.judge(part.config)
            if judge is not None:
                try:
                    size = FAMILIES.get(judge.family).config().batch_size
                except (UnknownNameError, ValueError):  # reported with the evaluation's declarations
                    continue
                self._batch((*at, "kind"), size, train, " (of the judge's training)")


def task(dataset: DatasetSpec | None, train: int | None) -> Task | None:
    """The task that a data set poses; None for a set without classes, and for an unknown set."""
    if dataset is None or dataset.num_classes is None or dataset.image_shape is None:
        return None
    return Task(num_classes=dataset.num_classes, image_shape=dataset.image_shape, train=train)


def features(backbone: BackboneSpec, image_shape: ImageShape) -> tuple[int | None, str]:
    """The dimension of a network's features (None if unknown), and why it cannot take such images (or "")."""
    try:
        facts = backbone.describe(backbone.name, image_shape)
    except ValueError as error:
        return None, str(error)
    except Exception as error:  # a plug-in may raise anything
        return None, f"its spec cannot describe it: {type(error).__name__}: {error}"
    given: object = facts
    dimension = given.get("features") if isinstance(given, Mapping) else None
    return (int(dimension) if isinstance(dimension, int | float) and finite(dimension) else None), ""


def unfit(family: FamilySpec, backbone: BackboneSpec, config: Any, given: Task) -> Mapping[str, str]:
    """Reasons why a model cannot run, by dotted key of its entry (``backbone`` among them); empty if it can."""
    dimension, problem = features(backbone, given.image_shape)
    if problem:
        return {"backbone": problem}
    try:
        return dict(family.unfit(config, given.with_features(dimension)))
    except Exception as error:  # a plug-in may raise anything
        return {"family": f"the family's spec cannot check it: {type(error).__name__}: {error}"}
