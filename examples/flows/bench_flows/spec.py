"""What planning needs to know of the families. It imports neither torch nor normflows."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.spec import FamilySpec, Task, TrainingConfig, UnlabelledConfig

__all__ = ["GLOW", "GLOW_CLASS", "RESIDUAL_FLOW", "GlowClassConfig", "GlowConfig", "ResidualFlowConfig"]

LARGEST = 256
"""Values of an image up to which the exact determinant of a residual flow is computed."""

# Fields that several families have.
_LEVELS: Any = Field(
    256,
    ge=2,
    le=65536,
    description="Values that a pixel can have, equally spaced in [0, 1]: 256 of 8-bit images, 17 of digits. Training "
    "adds noise that is uniform over the cell of each value",
)
_SIGMA: Any = Field(
    0.0, description="Gaussian noise of training images; noise over the cells of the levels takes its place"
)
_SCALES: Any = Field(
    2, description="L, levels of the multi-scale architecture", json_schema_extra={"paper": "3 on CIFAR10"}
)
_DEPTH: Any = Field(8, description="K, steps of the flow on each scale", json_schema_extra={"paper": "32 on CIFAR10"})
_WIDTH: Any = Field(
    64, description="Channels of the hidden layers of a coupling network", json_schema_extra={"paper": "512"}
)
_TEMPERATURE: Any = Field(
    1.0,
    description="Factor of the standard deviation of latent variables in samples",
    json_schema_extra={"paper": "1.0, 0.7 in pictures"},
)


class GlowConfig(UnlabelledConfig):
    """Hyper-parameters of Glow; those of the optimiser are inherited."""

    levels: int = _LEVELS
    sigma: NonNegativeFloat = _SIGMA
    scales: PositiveInt = _SCALES
    depth: PositiveInt = _DEPTH
    width: PositiveInt = _WIDTH
    temperature: PositiveFloat = _TEMPERATURE


class GlowClassConfig(TrainingConfig):
    """Hyper-parameters of the class-conditional Glow."""

    levels: int = _LEVELS
    sigma: NonNegativeFloat = _SIGMA
    scales: PositiveInt = _SCALES
    depth: PositiveInt = _DEPTH
    width: PositiveInt = _WIDTH
    temperature: PositiveFloat = _TEMPERATURE
    class_weight: NonNegativeFloat = Field(
        0.0,
        description="Weight of -log p(y|x) in the loss, beside -log p(x|y) / D. 0: the density alone is trained",
        json_schema_extra={"code": "0.01"},
    )


class ResidualFlowConfig(UnlabelledConfig):
    """Hyper-parameters of the residual flow."""

    levels: int = _LEVELS
    sigma: NonNegativeFloat = _SIGMA
    depth: PositiveInt = Field(8, description="Residual blocks", json_schema_extra={"paper": "16 a scale on CIFAR10"})
    width: PositiveInt = Field(
        128, description="Units of the hidden layers of a block", json_schema_extra={"paper": "512 channels"}
    )
    hidden: PositiveInt = Field(2, description="Hidden layers of a block", json_schema_extra={"paper": "2"})
    lipschitz: float = Field(
        0.97, gt=0, lt=1, description="Bound of the spectral norm of every layer", json_schema_extra={"paper": "0.98"}
    )
    trace: Literal["estimated", "exact"] = Field(
        "estimated",
        description="The log-determinant in training: the unbiased estimate of the paper (Russian roulette and "
        "Skilling-Hutchinson), or the determinant of the Jacobian. Evaluation has the determinant",
        json_schema_extra={"paper": "estimated"},
    )


def _unfit_glow(config: Any, task: Task) -> Mapping[str, str]:
    _, height, width = task.image_shape
    factor = 2**config.scales
    if height % factor or width % factor:
        return {"scales": f"{config.scales} scales halve images {config.scales} times; {height}x{width} cannot be"}
    return {}


def _unfit_residual(_config: Any, task: Task) -> Mapping[str, str]:
    size = prod(task.image_shape)
    if size > LARGEST:
        why = f"an image has {size} values, and the exact determinant takes a backward pass for each: at most {LARGEST}"
        return {"family": why}
    return {}


GLOW = FamilySpec(
    name="glow",
    label="Glow",
    summary="Multi-scale normalizing flow of affine couplings and 1x1 convolutions; exact density.",
    source="Kingma and Dhariwal, NeurIPS 2018; normflows (Stimper et al., JOSS 2023)",
    config=GlowConfig,
    implementation="bench_flows.glow:Glow",
    classifies=False,
    capabilities=frozenset({"likelihood", "samples"}),
    needs_backbone=False,
    training_only=frozenset({"levels"}),
    unfit=_unfit_glow,
)
GLOW_CLASS = FamilySpec(
    name="glow-class",
    label="Glow, class-conditional",
    summary="Glow whose latent distribution has a mean and a scale for each class; classifies by Bayes' rule.",
    source="Kingma and Dhariwal, NeurIPS 2018, class-conditional models; normflows",
    config=GlowClassConfig,
    implementation="bench_flows.glow:GlowClass",
    capabilities=frozenset({"likelihood", "samples"}),
    needs_backbone=False,
    training_only=frozenset({"levels", "class_weight"}),
    unfit=_unfit_glow,
)
RESIDUAL_FLOW = FamilySpec(
    name="residual-flow",
    label="Residual Flow",
    summary="Normalizing flow of invertible residual blocks; exact density of small images.",
    source="Chen et al., NeurIPS 2019; normflows",
    config=ResidualFlowConfig,
    implementation="bench_flows.residual:ResidualFlow",
    classifies=False,
    capabilities=frozenset({"likelihood", "samples"}),
    needs_backbone=False,
    training_only=frozenset({"levels", "trace"}),
    unfit=_unfit_residual,
)
