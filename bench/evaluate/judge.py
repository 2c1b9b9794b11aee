"""The judge: a small independent classifier whose features are used to measure generated images.

It is never one of the evaluated models and shares no weights with them: a sampler ascends the logits of its own
classifier, so measurements in its own features would be too good. The harness trains the judge like any model, once per
data set, with a fixed seed. This module is light; the network is in ``judge_network``.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from bench.evaluate.base import Judge
from bench.spec import BackboneSpec, FamilySpec, TrainingConfig

__all__ = ["BACKBONE", "FAMILY", "JUDGE", "JudgeConfig"]


class JudgeConfig(TrainingConfig):
    """A short training: the judge must be good and independent, not the best."""

    epochs: PositiveInt = Field(30, description="Passes over the training set")
    lr: PositiveFloat = Field(2e-3, description="Initial learning rate")
    warmup: NonNegativeInt = Field(0, description="No warm-up")
    decay_epochs: tuple[NonNegativeInt, ...] = Field((20, 26), description="Epochs of decay")


def _parse(name: str) -> str:
    if name != "judge-cnn":
        raise ValueError("the judge's network is called judge-cnn")
    return name


def _facts(name: str, image_shape: tuple[int, int, int]) -> Mapping[str, float]:
    _parse(name)
    channels = image_shape[0]
    parameters = 9 * channels * 32 + 32 + 9 * 32 * 64 + 64 + 4 * 64 * 128 + 128
    return {"features": 128, "parameters": parameters}


FAMILY = FamilySpec(
    name="judge",
    label="judge",
    summary="Independent classifier for distances between real and generated images.",
    source="docs/metrics.md; for the idea, TF-GAN's classifier distance and KID's LeNet for MNIST",
    config=JudgeConfig,
    implementation="bench.evaluate.judge_network:JudgeFamily",
    version=1,
)

BACKBONE = BackboneSpec(
    name="judge-cnn",
    pattern="judge-cnn",
    summary="Two convolutions and a dense layer of 128 features.",
    source="this project",
    implementation="bench.evaluate.judge_network:build_backbone",
    parse=_parse,
    describe=_facts,
    version=1,
)

JUDGE = Judge("bench.evaluate.judge:FAMILY", "bench.evaluate.judge:BACKBONE")
