"""A task that a network learns in seconds, three classes of 8x8 images that are bright in different places, and the
family and backbone of the model that evaluations, attacks and scores are checked on. Light to import.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.rng import generator
from bench.spec import BackboneSpec, FamilySpec, TrainingConfig

__all__ = ["BACKBONE", "CLASSES", "FAMILY", "FEATURES", "SHAPE", "part", "splits"]

CLASSES = 3
SHAPE = (1, 8, 8)
FEATURES = 16


def part(name: str, items: int) -> Split:
    """Items with the classes in turn: noise in [0, .5], plus .5 in the rows of the class."""
    labels = np.arange(items, dtype=np.int64) % CLASSES
    images = generator(0, f"conformance/{name}").random((items, *SHAPE), dtype=np.float32) * np.float32(0.5)
    for label in range(CLASSES):
        images[labels == label, :, 2 * label : 2 * label + 3] += 0.5
    return Split(images, labels, np.arange(items, dtype=np.int64))


def splits() -> Splits:
    """48 training, 12 validation and 12 test items."""
    return Splits(part("train", 48), part("validation", 12), part("test", 12))


def _parse(name: str) -> str:
    if name != "small":
        raise ValueError("the network of the checks is called small")
    return name


def _facts(name: str, image_shape: tuple[int, int, int]) -> Mapping[str, float]:
    _parse(name)
    return {"features": FEATURES, "parameters": 72 * image_shape[0] + 8 + 32 * FEATURES + FEATURES}


FAMILY = FamilySpec(
    name="small",
    label="small",
    summary="A linear softmax head, for the checks of evaluations, attacks and scores.",
    source="this project",
    config=TrainingConfig,
    implementation="bench.conformance.network:Linear",
    capabilities=frozenset({"density"}),
)

BACKBONE = BackboneSpec(
    name="small",
    pattern="small",
    summary="A convolution, a pool and a dense layer.",
    source="this project",
    implementation="bench.conformance.network:backbone",
    parse=_parse,
    describe=_facts,
    examples=("small",),
)
