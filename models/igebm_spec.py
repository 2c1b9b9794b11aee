"""Specifications and hyper-parameters of IGEBM, unconditional and class-conditional. This module does not import torch.

The released code has images in [0, 1], here they are in [-1, 1] inside of models: distances are twice as long, and
gradients half as long. Its step of 10 along a gradient that is clipped at 0.01, with noise of 0.005, is a step of 40
along one that is clipped at 0.005, with noise of 0.01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bench.optimizer import Optimizer, OptimizerConfig, Schedule
from bench.spec import Config, FamilySpec, TrainingConfig

from .specs import unfit_buffer, warn_of_batch_norm

__all__ = [
    "IGEBM",
    "IGEBM_CONDITIONAL",
    "ConditionalIGEBMConfig",
    "ConditionalSamplerConfig",
    "EnergyConfig",
    "IGEBMConfig",
    "IGEBMSamplerConfig",
]

_DEQUANTISED = 2 / 256 / 12**0.5
"""Standard deviation of the uniform noise of one grey level, on the [-1, 1] scale."""


class IGEBMSamplerConfig(Config):
    """``[model.sampler]`` of IGEBM: Langevin dynamics with small noise and clipped gradients (Algorithm 1)."""

    steps: NonNegativeInt = Field(60, description="K, Langevin steps for each batch", json_schema_extra={"code": "60"})
    step_size: PositiveFloat = Field(
        40.0,
        description="lambda, factor of each image's own clipped gradient, on the [-1, 1] scale; constant",
        json_schema_extra={"paper": "10 on [0, 1], which is 40 here", "code": "10 on [0, 1]"},
    )
    gradient_clip: NonNegativeFloat = Field(
        0.005,
        description="Largest absolute value of an element of an image's gradient, on the [-1, 1] scale, so that no "
        "step moves a pixel further than step_size * gradient_clip; 0: gradients are not clipped",
        json_schema_extra={"paper": "0.01 on [0, 1], which is 0.005 here", "code": "0.01 on [0, 1]"},
    )
    noise: NonNegativeFloat = Field(
        0.01,
        description="Standard deviation of the noise of one step, added before the gradient is taken, on the [-1, 1] "
        "scale",
        json_schema_extra={"paper": "0.005 on [0, 1], which is 0.01 here", "code": "0.005 on [0, 1]"},
    )
    clamp: bool = Field(True, description="Clamp to [-1, 1] after every step", json_schema_extra={"code": "yes"})
    buffer: PositiveInt = Field(
        10_000, description="Images in the replay buffer", json_schema_extra={"paper": "10,000", "code": "50,000"}
    )
    reinit: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Probability that a chain restarts from U(-1, 1)",
        json_schema_extra={"paper": "5%", "code": "0.05"},
    )


class ConditionalSamplerConfig(IGEBMSamplerConfig):
    """The same for E(x, y): which chains continue for a class."""

    chains: Literal["any", "class"] = Field(
        "any",
        description="Chains that continue for the labels of the real batch: any ones, whatever class they had before, "
        "or those of the same class",
        json_schema_extra={"paper": "not stated", "code": "any: its buffer has no labels"},
    )


class EnergyConfig(TrainingConfig):
    """What the unconditional and the conditional model share."""

    epochs: PositiveInt = Field(
        150,
        description="Passes over the training set",
        json_schema_extra={
            "paper": "not stated",
            "code": "until stopped; its README names checkpoints after 121,200 iterations (unconditional) and 74,700 "
            "(conditional) of 128 images",
            "why": "the number of the other families",
        },
    )
    batch_size: PositiveInt = Field(
        128, description="Items in a batch of each stream", json_schema_extra={"paper": "128", "code": "128"}
    )
    optimizer: Optimizer = Field(
        default_factory=lambda: OptimizerConfig(betas=(0.0, 0.999)),
        description="Optimiser: 'adam', 'adamw' or 'sgd', or a table with its settings",
        json_schema_extra={"paper": "Adam, betas 0 and 0.999", "code": "Adam, betas 0 and 0.999"},
    )
    lr: PositiveFloat = Field(
        1e-4, description="Initial learning rate", json_schema_extra={"paper": "1e-4", "code": "3e-4"}
    )
    warmup: NonNegativeInt = Field(
        0,
        description="Iterations of linear warm-up: lr * i / warmup at iteration i, so iteration 0 changes nothing",
        json_schema_extra={"code": "none"},
    )
    schedule: Schedule = Field(
        "constant",
        description="Learning rate after the warm-up: step (decay_epochs, decay_rate), cosine (to final_lr after the "
        "last epoch) or constant",
        json_schema_extra={"code": "constant"},
    )
    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (), description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate"
    )
    decay_rate: PositiveFloat = Field(0.3, description="Factor of each decay")
    augment: bool = Field(
        False,
        description="Use the data set's augmentation (reflect-pad, crop, flip), if it has one",
        json_schema_extra={"paper": "not stated", "code": "no"},
    )
    sigma: NonNegativeFloat = Field(
        0.03,
        description="Standard deviation of the Gaussian noise added to training images, in units of the [-1, 1] scale",
        json_schema_extra={
            "paper": "not stated",
            "code": "uniform noise of one grey level, with a standard deviation of 0.0023",
            "why": "the value of the other families",
        },
    )
    spectral_norm: bool = Field(
        True,
        description="Normalise the largest singular value of every layer of the backbone to 1; the head is free",
        json_schema_extra={"paper": "all layers", "code": "all but the last one"},
    )
    energy_weight: NonNegativeFloat = Field(
        1.0,
        description="alpha: weight of E(x+)^2 + E(x-)^2 (Algorithm 1)",
        json_schema_extra={"paper": "1", "code": "1"},
    )
    adam_clip: NonNegativeFloat = Field(
        3.0,
        description="Clip each element of the gradient of the weights at 0.1 plus so many standard deviations, the "
        "roots of the second moments of adam or adamw; 0: not clipped",
        json_schema_extra={"paper": "3", "code": "3"},
    )

    @model_validator(mode="after")
    def _clips_what_adam_knows(self) -> Self:
        if self.adam_clip and self.optimizer.kind == "sgd":
            raise ValueError(
                "adam_clip needs the second moments of adam or adamw, which sgd does not have; set it to 0"
            )
        return self


class IGEBMConfig(EnergyConfig):
    """IGEBM: maximum likelihood of p(x) = exp(-E(x)) / Z with samples of a short Langevin chain."""

    select: Literal["last"] = Field("last", description="Which epoch's weights are kept: nothing is validated")
    sampler: IGEBMSamplerConfig = Field(default_factory=IGEBMSamplerConfig)


class ConditionalIGEBMConfig(EnergyConfig):
    """Conditional IGEBM: the same for p(x | y), with an energy for each class."""

    select: Literal["best-validation", "last"] = Field(
        "best-validation",
        description="Which epoch's weights are kept; validation accuracy decides, the later epoch wins a tie",
        json_schema_extra={
            "paper": "not stated",
            "code": "saves the last ones and those of the best Inception score of 128 samples",
            "why": "the rule of the other families that classify",
        },
    )
    sampler: ConditionalSamplerConfig = Field(default_factory=ConditionalSamplerConfig)


_PUBLISHED: Mapping[str, Any] = {
    "batch_size": 128,
    "optimizer": {"kind": "adam", "betas": (0.0, 0.999)},
    "warmup": 0,
    "schedule": "constant",
    "augment": False,
    "sigma": round(_DEQUANTISED, 5),
    "spectral_norm": True,
    "energy_weight": 1.0,
    "adam_clip": 3.0,
}
_LANGEVIN: Mapping[str, Any] = {
    "steps": 60,
    "step_size": 40.0,
    "gradient_clip": 0.005,
    "noise": 0.01,
    "clamp": True,
    "reinit": 0.05,
}
_PAPER = {
    "backbone": "IGEBM's ResNet",
    "lr": 1e-4,
    "batch_size": 128,
    "energy_weight": 1.0,
    "spectral_norm": True,
    "adam_clip": 3.0,
    **{f"sampler.{key}": _LANGEVIN[key] for key in ("steps", "step_size", "gradient_clip", "noise", "reinit")},
    "sampler.buffer": 10_000,
}
_RELEASED = {"warmup": 0, "schedule": "constant", "augment": False, "sigma": _PUBLISHED["sigma"], "sampler.clamp": True}
_TRAINING_ONLY = frozenset({"energy_weight", "adam_clip", "sampler.buffer", "sampler.reinit"})


def _presets(epochs: int, **sampler: Any) -> dict[str, dict[str, Any]]:
    """The two presets.

    Args:
        epochs: Those of CIFAR10 that the iterations of the released checkpoint are.
        sampler: Further settings of the sampler.
    """
    return {
        "paper": {**_PUBLISHED, "lr": 1e-4, "sampler": {**_LANGEVIN, "buffer": 10_000, **sampler}},
        "code": {**_PUBLISHED, "lr": 3e-4, "epochs": epochs, "sampler": {**_LANGEVIN, "buffer": 50_000, **sampler}},
    }


def _passes(config: Any) -> float:
    """Two updates (a forward pass and a backward pass to activations and weights) and the sampler's steps."""
    return 2 * 3.0 + 2.0 * float(config.sampler.steps)


def _backbone(config: Any) -> str:
    return "a spectrally normalised backbone" if config.spectral_norm else "a backbone"


IGEBM = FamilySpec(
    name="igebm",
    label="IGEBM",
    summary="Energy-based model of p(x) with spectral normalisation, sampled by Langevin dynamics; no classes.",
    source="Du and Mordatch, NeurIPS 2019 (arXiv 1903.08689), Algorithm 1; its released code",
    config=IGEBMConfig,
    implementation="bench_models.igebm:IGEBM",
    version=1,
    classifies=False,
    capabilities=frozenset({"density", "samples"}),
    presets=_presets(epochs=310),
    paper=_PAPER,
    released=_RELEASED,
    passes=_passes,
    training_only=_TRAINING_ONLY,
    warn=warn_of_batch_norm,
    layout=lambda config: f"{_backbone(config)} with one energy",
)

IGEBM_CONDITIONAL = FamilySpec(
    name="igebm-conditional",
    label="IGEBM (cond.)",
    summary="Energy-based model of p(x | y) with an energy for each class; it classifies by the lowest energy.",
    source="Du and Mordatch, NeurIPS 2019 (arXiv 1903.08689), Algorithm 1; its released code",
    config=ConditionalIGEBMConfig,
    implementation="bench_models.igebm:ConditionalIGEBM",
    version=1,
    capabilities=frozenset({"density", "samples"}),
    presets=_presets(epochs=191, chains="any"),
    paper=_PAPER,
    released={**_RELEASED, "sampler.chains": "any"},
    passes=_passes,
    training_only=_TRAINING_ONLY | {"sampler.chains"},
    warn=warn_of_batch_norm,
    unfit=unfit_buffer,
    layout=lambda config: f"{_backbone(config)} with a linear head",
)
