"""Asks a family and a network whether they can run on the suite's data, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.data.spec import DatasetSpec, ImageShape
from bench.plugins.declared import finite
from bench.spec import BackboneSpec, FamilySpec, Task

__all__ = ["features", "task", "unfit"]


def task(dataset: DatasetSpec, train: int | None) -> Task | None:
    """The task that a data set poses; None for a set without classes."""
    if dataset.num_classes is None or dataset.image_shape is None:
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
