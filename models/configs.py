"""Hyper-parameters of the families. Defaults are the column "choice" of the protocol; deviating values of the paper and
the released code are given with each field. This module does not import torch.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bench.optimizer import Optimizer, OptimizerConfig
from bench.spec import Config, TrainingConfig

__all__ = [
    "GMMCConfig",
    "GMMCDisConfig",
    "GMMCGenConfig",
    "GMMCJointConfig",
    "GMMCSamplerConfig",
    "JEMConfig",
    "MMCConfig",
    "SGLDConfig",
    "SoftmaxConfig",
]


class SoftmaxConfig(TrainingConfig):
    """Softmax classifier: JEM without its p(x) term, on the same schedule."""

    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (50, 100),
        description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate",
        json_schema_extra={"code": "160, 180 of 200 (JEM README)"},
    )


class MMCConfig(TrainingConfig):
    """MMC: regression of a linear layer's output to fixed centers, with the training of its authors."""

    epochs: PositiveInt = Field(
        200,
        description="Passes over the training set",
        json_schema_extra={"paper": "200 (CIFAR10, CIFAR100), 40 (MNIST)", "code": "200; MNIST 50"},
    )
    batch_size: PositiveInt = Field(
        50, description="Items in a batch of each stream", json_schema_extra={"code": "50 (README), 64 by default"}
    )
    optimizer: Optimizer = Field(
        default_factory=lambda: OptimizerConfig(kind="sgd", momentum=0.9, weight_decay=2e-4),
        description="Optimiser: 'adam', 'adamw' or 'sgd', or a table with its settings. A table without kind changes "
        "the default",
    )
    lr: PositiveFloat = Field(
        0.01, description="Initial learning rate", json_schema_extra={"paper": "0.01", "code": "0.01"}
    )
    warmup: NonNegativeInt = Field(
        0,
        description="Iterations of linear warm-up: lr * i / warmup at iteration i, so iteration 0 changes nothing",
        json_schema_extra={"code": "none"},
    )
    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (100, 150),
        description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate",
        json_schema_extra={"paper": "100, 150", "code": "101, 151 (it asks for epoch > 100); MNIST 31, 41"},
    )
    decay_rate: PositiveFloat = Field(
        0.1, description="Factor of each decay", json_schema_extra={"paper": "0.1", "code": "0.1"}
    )
    sigma: NonNegativeFloat = Field(
        0.0,
        description="Standard deviation of the Gaussian noise added to training images, in units of the [-1, 1] scale",
        json_schema_extra={"code": "none"},
    )
    scale: PositiveFloat = Field(
        10.0, description="C_MM: norm of the class centers", json_schema_extra={"paper": "10", "code": "10"}
    )
    features: PositiveInt = Field(
        256,
        description="Dimension of the linear layer after the backbone, in whose space the centers are",
        json_schema_extra={"paper": "256", "code": "256 (ResNet v2), 64 (v1)"},
    )


class SGLDConfig(Config):
    """``[model.sampler]`` of JEM: stochastic gradient Langevin dynamics on log p(x)."""

    steps: NonNegativeInt = Field(20, description="SGLD steps for each batch", json_schema_extra={"paper": "20"})
    step_size: PositiveFloat = Field(
        1.0,
        description="Factor of each image's own gradient, on the [-1, 1] scale; constant",
        json_schema_extra={
            "paper": "alpha / 2 with alpha decayed polynomially (Eq. 3)",
            "code": "1",
            "why": "the JEM code's constants are what produced the JEM numbers",
        },
    )
    noise: NonNegativeFloat = Field(
        0.01,
        description="Standard deviation of the noise of one step, on the [-1, 1] scale; constant",
        json_schema_extra={"paper": "N(0, alpha) (Eq. 3)", "code": "0.01"},
    )
    decay_power: NonNegativeFloat = Field(
        0.0,
        description="Step t (from 0) has step_size and noise times (1 + t)^-decay_power; 0 is constant",
        json_schema_extra={"paper": "polynomial decay, power not stated (Eq. 3)", "code": "constant"},
    )
    clamp: bool = Field(False, description="Clamp to [-1, 1] after every step", json_schema_extra={"code": "no"})
    buffer: PositiveInt = Field(10_000, description="Images in the replay buffer", json_schema_extra={"code": "10,000"})
    reinit: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Probability that a chain restarts from U(-1, 1)",
        json_schema_extra={"code": "0.05"},
    )


class JEMConfig(TrainingConfig):
    """JEM: cross-entropy plus maximum likelihood of p(x) by SGLD."""

    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (50, 100),
        description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate",
        json_schema_extra={"code": "160, 180 of 200 (README)"},
    )
    augment_density: bool = Field(
        True,
        description="Augment the images of the p(x) stream, too",
        json_schema_extra={"code": "yes; SADA-JEM no", "why": "reproduction; without it FID is reported to fall"},
    )
    px_weight: NonNegativeFloat = Field(1.0, description="Weight of -log p(x)", json_schema_extra={"code": "1"})
    pyx_weight: NonNegativeFloat = Field(1.0, description="Weight of -log p(y|x)", json_schema_extra={"code": "1"})
    sampler: SGLDConfig = Field(default_factory=SGLDConfig)


class GMMCConfig(TrainingConfig):
    """Common parameters of the three ways to train GMMC."""

    scale: PositiveFloat = Field(
        10.0, description="S: norm of the class centers (Algorithm 2)", json_schema_extra={"paper": "10"}
    )


class GMMCDisConfig(GMMCConfig):
    """GMMC (Dis): regression of features to the centers (Eq. 5)."""


class GMMCSamplerConfig(Config):
    """``[model.sampler]`` of GMMC: descent of 0.5 ||phi(x) - z||^2 to a target z ~ N(mu_y, gamma^2 I)."""

    steps: NonNegativeInt = Field(
        20, description="tau, steps for each batch", json_schema_extra={"paper": "20", "code": "20; joint 50"}
    )
    step_size: PositiveFloat = Field(
        1 / 64,
        description="Factor of each image's own gradient of 0.5 ||phi(x) - z||^2, on the [-1, 1] scale; "
        "independent of the batch",
        json_schema_extra={
            "paper": "1.0 on ||phi - z||^2 / (2 gamma^2)",
            "code": "1 on the mean of a batch of 64",
            "why": "reproduces the code whatever the batch; a step of 1 for each image diverges on digits",
        },
    )
    mode: Literal["staged", "inject"] = Field(
        "staged",
        description="z drawn once for a chain (staged sampling, Eq. 8) or in every step (noise injected, Eq. 10)",
        json_schema_extra={
            "paper": "staged",
            "code": "staged",
            "why": "at gamma = 0.001 against centers of norm 10 the two are numerically the same",
        },
    )
    gamma: NonNegativeFloat = Field(
        0.001,
        description="Standard deviation of the target z around its center",
        json_schema_extra={
            "paper": "gamma of the Gaussian",
            "code": "0.001",
            "why": "all released scripts; the estimate is made only after training",
        },
    )
    gamma_source: Literal["constant", "running"] = Field(
        "constant",
        description="Use gamma, or a running estimate of the Gaussian's (mean ||phi - mu||^2 / d of real batches)",
        json_schema_extra={"paper": "gamma of the Gaussian", "code": "constant"},
    )
    labels: Literal["batch", "buffer"] = Field(
        "batch",
        description="y' of the samples: the labels of the real batch, or those kept in the buffer",
        json_schema_extra={
            "paper": "uniform, kept in the buffer",
            "code": "labels of the real batch",
            "why": "what the released Gen scripts do (class-conditional sampling)",
        },
    )
    clamp: bool = Field(
        True,
        description="Clamp to [-1, 1] after every step",
        json_schema_extra={"paper": "not mentioned", "code": "yes", "why": "released code"},
    )
    buffer: PositiveInt = Field(
        100_000,
        description="Images in the replay buffer",
        json_schema_extra={"paper": "100,000", "code": "100,000; joint 50,000"},
    )
    reinit: float = Field(
        0.025,
        ge=0,
        le=1,
        description="rho, probability that a chain restarts from U(-1, 1)",
        json_schema_extra={"paper": "2.5%", "code": "0.025; joint 0.05"},
    )


class GMMCGenConfig(GMMCConfig):
    """GMMC (Gen): maximum likelihood of p(x, y) with samples (Eq. 7)."""

    epochs: PositiveInt = Field(
        100,
        description="Passes over the training set",
        json_schema_extra={
            "paper": "150",
            "code": "100 (first release 150)",
            "why": "after epoch 80 the learning rate is 2.7e-6; 150 by the preset paper",
        },
    )
    beta: NonNegativeFloat = Field(
        0.5, description="Weight of the samples' energy (Eq. 7)", json_schema_extra={"paper": "0.5"}
    )
    sampler: GMMCSamplerConfig = Field(default_factory=GMMCSamplerConfig)


class GMMCJointConfig(GMMCGenConfig):
    """GMMC (Joint): Dis first, then Gen."""

    start_generative: NonNegativeInt = Field(
        50,
        description="Epoch (from 0) at which beta leaves 0",
        json_schema_extra={"paper": "50 of 100 (Fig. 6)", "code": "50 of 150"},
    )
    ramp_epochs: NonNegativeInt = Field(
        0,
        description="Epochs over which beta grows linearly from 0; 0 is a hard switch",
        json_schema_extra={
            "paper": "beta is scaled up from 0",
            "code": "hard switch",
            "why": "released code; the ramp is an option",
        },
    )

    @model_validator(mode="after")
    def _phases(self) -> Self:
        if self.start_generative >= self.epochs:
            raise ValueError(
                f"start_generative ({self.start_generative}) must be less than epochs ({self.epochs}): "
                "otherwise nothing is trained generatively"
            )
        return self
