"""Hyper-parameters of JEM++ and SADA-JEM, as in ``configs``. This module does not import torch.

The texts of both papers could be read in their abstracts and introductions alone. Their READMEs say that their scripts
train "as in the paper", so what a script sets is given as ``paper``, and what it leaves to defaults of the code as
``code``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from bench.optimizer import Optimizer, OptimizerConfig
from bench.spec import GuardConfig

from .configs import JEMConfig, SGLDConfig

__all__ = ["JEMPPConfig", "ProximalSGLDConfig", "SADAJEMConfig", "SADASamplerConfig"]


class ProximalSGLDConfig(SGLDConfig):
    """``[model.sampler]`` of JEM++: SGLD with clamped gradients, from an informative start."""

    steps: NonNegativeInt = Field(
        10,
        description="Sampler steps for each batch, each with a gradient through the whole network: M of PYLD",
        json_schema_extra={
            "paper": "10 (script); 20 for the highest accuracy",
            "code": "10",
        },
    )
    inner_steps: PositiveInt = Field(
        5,
        description="Times that each gradient is applied: N of PYLD. PYLD differentiates the first layer anew between "
        "them; the first layer is linear in the image, so that nothing changes, and no pass is needed",
        json_schema_extra={"paper": "5 (script)", "code": "5"},
    )
    step_size: PositiveFloat = Field(
        0.2,
        description="Factor of each image's own clamped gradient, on the [-1, 1] scale; constant",
        json_schema_extra={"paper": "0.2 (script)", "code": "0.2"},
    )
    bound: PositiveFloat = Field(
        1.0,
        description="Largest absolute value of a component of the gradient (proximal SGLD): a step moves no value by "
        "more than bound * step_size * inner_steps",
        json_schema_extra={"paper": "proximal SGLD; value not read", "code": "1"},
    )
    noise: NonNegativeFloat = Field(
        0.0,
        description="Standard deviation of the noise of one step, on the [-1, 1] scale; constant",
        json_schema_extra={"paper": "not read", "code": "0"},
    )
    clamp: bool = Field(True, description="Clamp to [-1, 1] after every step", json_schema_extra={"code": "yes"})
    start: Literal["mixture", "uniform"] = Field(
        "mixture",
        description="Distribution of new chains: mixture, a Gaussian for each class with mean and covariance of its "
        "training images (informative initialisation), clamped to [-1, 1]; or uniform, U(-1, 1)",
        json_schema_extra={"paper": "mixture", "code": "mixture"},
    )
    jitter: PositiveFloat = Field(
        1e-4,
        description="Added to the diagonal of the covariances, in squared units of the [-1, 1] scale",
        json_schema_extra={"paper": "not read", "code": "1e-4"},
    )
    batch_statistics: bool = Field(
        True,
        description="Normalise chains by the statistics of their own batch, if the network has batch normalisation; "
        "no: by the running means, with which chains of a trained model leave the data",
        json_schema_extra={"paper": "not read", "code": "yes", "why": "released code, in training and afterwards"},
    )
    companions: NonNegativeInt = Field(
        15,
        description="Further chains with which each sample of a trained model shares its batch statistics, so that it "
        "does not depend on other samples; they multiply the cost of sampling. 0: running means",
        json_schema_extra={"paper": "not read", "code": "the batch of samples"},
    )
    reinit: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Probability that a chain restarts from the distribution of new chains",
        json_schema_extra={"code": "0.05"},
    )


class JEMPPConfig(JEMConfig):
    """JEM++: JEM with proximal SGLD, an informative start of chains, batch normalisation and SGD."""

    epochs: PositiveInt = Field(
        150, description="Passes over the training set", json_schema_extra={"paper": "150 (script)", "code": "150"}
    )
    lr: PositiveFloat = Field(0.1, description="Learning rate", json_schema_extra={"paper": "0.1 (script)"})
    optimizer: Optimizer = Field(
        default_factory=lambda: OptimizerConfig(kind="sgd", momentum=0.9, weight_decay=4e-4),
        description="Optimiser: a kind with its defaults, or a table",
        json_schema_extra={"paper": "SGD (script)", "code": "SGD, momentum 0.9, weight decay 4e-4"},
    )
    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (50, 100, 125),
        description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate",
        json_schema_extra={"paper": "50, 100, 125 (script)"},
    )
    decay_rate: PositiveFloat = Field(0.2, description="Factor of each decay", json_schema_extra={"code": "0.2"})
    augment_density: bool = Field(
        True, description="Augment the images of the p(x) stream, too", json_schema_extra={"code": "yes"}
    )
    sampler: ProximalSGLDConfig = Field(default_factory=ProximalSGLDConfig)


class SADASamplerConfig(ProximalSGLDConfig):
    """``[model.sampler]`` of SADA-JEM: that of JEM++ without inner steps."""

    steps: NonNegativeInt = Field(
        5, description="Sampler steps for each batch", json_schema_extra={"paper": "5 (script)", "code": "10 (default)"}
    )
    inner_steps: PositiveInt = Field(
        1, description="Times that each gradient is applied", json_schema_extra={"code": "1"}
    )
    step_size: PositiveFloat = Field(
        1.0,
        description="Factor of each image's own clamped gradient, on the [-1, 1] scale; constant",
        json_schema_extra={"paper": "1 (script)", "code": "1"},
    )


class SADAJEMConfig(JEMPPConfig):
    """SADA-JEM: JEM++ with sharpness-aware steps, and without augmentation of the images of p(x)."""

    epochs: PositiveInt = Field(
        200, description="Passes over the training set", json_schema_extra={"paper": "200 (script)", "code": "200"}
    )
    optimizer: Optimizer = Field(
        default_factory=lambda: OptimizerConfig(kind="sgd", momentum=0.9, weight_decay=5e-4),
        description="Optimiser of the sharpness-aware gradient: a kind with its defaults, or a table",
        json_schema_extra={"paper": "SGD (script)", "code": "SGD, momentum 0.9, weight decay 5e-4"},
    )
    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (60, 120, 180),
        description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate",
        json_schema_extra={"paper": "60, 120, 180 (script)"},
    )
    sigma: NonNegativeFloat = Field(
        0.0,
        description="Standard deviation of the Gaussian noise added to training images, in units of the [-1, 1] scale",
        json_schema_extra={"paper": "0 (script)", "code": "0; of the p(x) stream alone"},
    )
    augment_density: bool = Field(
        False,
        description="Augment the images of the p(x) stream, too",
        json_schema_extra={"paper": "no", "code": "no"},
    )
    rho: PositiveFloat = Field(
        2.0,
        description="Distance of the sharpness-aware step (SAM), in L2 over all parameters",
        json_schema_extra={"paper": "not read", "code": "2"},
    )
    adaptive: bool = Field(
        True,
        description="Measure rho in units of the size of each weight (adaptive SAM, Kwon et al. 2021)",
        json_schema_extra={
            "paper": "SAM (abstract)",
            "code": "yes if rho >= 0.5",
            "why": "what the script trains with; 2 would be far for a step that is not adaptive",
        },
    )
    sampler: SADASamplerConfig = Field(default_factory=SADASamplerConfig)
    guard: GuardConfig = Field(default_factory=lambda: GuardConfig(loss_limit=1e5), description="Divergence")
