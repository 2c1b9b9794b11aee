"""Specifications of our families and backbones, which the harness reads before it imports them; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.spec import BackboneSpec, FamilySpec, Task

from .configs import GMMCDisConfig, GMMCGenConfig, GMMCJointConfig, JEMConfig, SoftmaxConfig
from .wide_resnet_shape import blocks_per_stage, macs, parameters, parse_variant, stage_channels

__all__ = [
    "BUFFER",
    "GMMC_DIS",
    "GMMC_GEN",
    "GMMC_JOINT",
    "JEM",
    "SAMPLER_STEP",
    "SOFTMAX",
    "UPDATE",
    "WIDE_RESNET",
    "unfit_buffer",
    "warn_of_batch_norm",
]

UPDATE = 3.0
"""Forward-equivalents per item of an update: a forward pass, and a backward pass to activations and weights."""
SAMPLER_STEP = 2.0
"""Forward-equivalents per item of a sampler step: a forward pass, and a backward pass to the input only."""


def warn_of_batch_norm(_config: Any, backbone: str) -> tuple[str, ...]:
    """A warning against a sampler with batch normalisation; backbones of other packages are not checked."""
    try:
        normalised = parse_variant(backbone).norm == "batch"
    except ValueError:
        return ()
    if not normalised:
        return ()
    text = (
        "batch normalisation with sampling: real and generated batches have different statistics, so the running "
        "means with which the sampler and every evaluation look at the network fit neither, and training with it "
        "silently fails (reported for JEM, issue 13 of its repository); use the backbone without it, or with -layer"
    )
    return (text,)


_PAPER_TRAINING = {
    "epochs": 150,
    "lr": 1e-4,
    "decay_epochs": (30, 50, 80),
    "decay_rate": 0.3,
    "backbone": "wrn-28-10",
}
_ALL_THREE: Mapping[str, Mapping[str, Any]] = {"cifar10": {}, "cifar100": {"decay_epochs": (120, 140)}, "svhn": {}}
"""Data sets of Tables 1 and 2, with their settings in Appendix A."""
_RELEASED = {"warmup": 1000, "batch_size": 64, "sigma": 0.03}
_RELEASED_SAMPLER = {
    "sampler.step_size": 1 / 64,
    "sampler.gamma": 0.001,
    "sampler.labels": "batch",
    "sampler.clamp": True,
}
BUFFER = frozenset({"sampler.buffer", "sampler.reinit"})
"""Sampler parameters that only training reads; later sampling also uses steps, step size and noise."""
_GENERATIVE = BUFFER | {"beta", "sampler.labels"}
_PAPER_SAMPLER = {
    "sampler.steps": 20,
    "sampler.step_size": 1.0,
    "sampler.mode": "staged",
    "sampler.labels": "buffer",
    "sampler.buffer": 100_000,
    "sampler.reinit": 0.025,
    "beta": 0.5,
}


def _head(_config: Any) -> str:
    return "a backbone with a linear head"


def _centers(config: Any) -> str:
    return f"a backbone with centers of norm {config.scale:g}"


def _unfit_centers(_config: Any, task: Task) -> Mapping[str, str]:
    """Refuse backbones with fewer than K - 1 features: the K centers form a simplex (Algorithm 2)."""
    if task.features is None or task.num_classes <= task.features + 1:
        return {}
    return {
        "backbone": f"centers of {task.num_classes} classes need at least {task.num_classes - 1} feature dimensions, "
        f"this network has {task.features}: use a wider one"
    }


def unfit_buffer(config: Any, task: Task) -> Mapping[str, str]:
    """Refuse buffers with fewer slots than classes."""
    if config.sampler.buffer >= task.num_classes:
        return {}
    return {
        "sampler.buffer": f"{config.sampler.buffer} images are too few: the buffer holds at least one for each of the "
        f"{task.num_classes} classes"
    }


def _unfit_sampled_centers(config: Any, task: Task) -> Mapping[str, str]:
    return {**_unfit_centers(config, task), **unfit_buffer(config, task)}


SOFTMAX = FamilySpec(
    name="softmax",
    label="softmax",
    summary="Wide-ResNet with a linear softmax head, trained by cross-entropy.",
    source="GMMC paper, baseline of Tables 1, 2, 5, 7; JEM code with weight 0 for p(x)",
    config=SoftmaxConfig,
    implementation="bench_models.softmax:Softmax",
    importers={"jem": "bench_models.importers:jem"},
    version=1,
    presets={
        "wrn-bn": {
            "epochs": 200,
            "batch_size": 128,
            "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
            "lr": 0.1,
            "warmup": 0,
            "decay_epochs": (60, 120, 160),
            "decay_rate": 0.2,
            "sigma": 0.0,
        }
    },
    paper=_PAPER_TRAINING,
    paper_on=_ALL_THREE,
    paper_family="softmax",
    released=_RELEASED,
    layout=_head,
)

JEM = FamilySpec(
    name="jem",
    label="JEM",
    summary="Joint energy-based model: cross-entropy plus maximum likelihood of p(x) with SGLD samples.",
    source="Grathwohl et al., ICLR 2020; GMMC paper, Eqs. 1-3",
    config=JEMConfig,
    implementation="bench_models.jem:JEM",
    importers={"jem": "bench_models.importers:jem"},
    version=1,
    capabilities=frozenset({"density", "samples"}),
    presets={
        "jem-code": {
            "epochs": 200,
            "decay_epochs": (160, 180),
            "sampler": {"steps": 20, "step_size": 1.0, "noise": 0.01, "buffer": 10_000, "reinit": 0.05},
        }
    },
    paper={
        **_PAPER_TRAINING,
        "sampler.steps": 20,
        "sampler.buffer": 10_000,
        "sampler.reinit": 0.05,
    },
    paper_on=_ALL_THREE,
    paper_family="jem",
    released={
        **_RELEASED,
        "augment_density": True,
        "sampler.step_size": 1.0,
        "sampler.noise": 0.01,
        "sampler.clamp": False,
    },
    passes=lambda config: 3 * UPDATE + SAMPLER_STEP * config.sampler.steps,
    training_only=BUFFER | {"augment_density", "px_weight", "pyx_weight"},
    warn=warn_of_batch_norm,
    unfit=unfit_buffer,
    layout=_head,
)

GMMC_DIS = FamilySpec(
    name="gmmc-dis",
    label="GMMC (Dis)",
    summary="Max-Mahalanobis classifier trained discriminatively: features regress to fixed class centers.",
    source="GMMC paper, Sec. 3.1, Eq. 5",
    config=GMMCDisConfig,
    implementation="bench_models.gmmc:GMMCDis",
    importers={"gmmc": "bench_models.importers:gmmc"},
    version=1,
    capabilities=frozenset({"density"}),
    readouts=("code", "paper", "linear"),
    presets={"paper": {"epochs": 150}},
    paper={**_PAPER_TRAINING, "scale": 10.0},
    paper_on=_ALL_THREE,
    paper_family="gmmc-dis",
    released=_RELEASED,
    unfit=_unfit_centers,
    layout=_centers,
)

GMMC_GEN = FamilySpec(
    name="gmmc-gen",
    label="GMMC (Gen)",
    summary="The same classifier trained generatively as an energy-based model of p(x, y).",
    source="GMMC paper, Sec. 3.2, Eq. 7 and Algorithm 1",
    config=GMMCGenConfig,
    implementation="bench_models.gmmc:GMMCGen",
    importers={"gmmc": "bench_models.importers:gmmc"},
    version=1,
    capabilities=frozenset({"density", "samples"}),
    readouts=("code", "paper", "linear"),
    presets={
        "paper": {"epochs": 150, "sampler": {"step_size": 1.0, "labels": "buffer", "clamp": False}},
        "gmmc-code": {"epochs": 100},
        "gmmc-first-release": {"epochs": 150, "decay_epochs": (40, 80, 120), "decay_rate": 0.1},
    },
    paper={**_PAPER_TRAINING, "scale": 10.0, **_PAPER_SAMPLER},
    paper_on=_ALL_THREE,
    paper_family="gmmc-gen",
    released={**_RELEASED, **_RELEASED_SAMPLER},
    passes=lambda config: 2 * UPDATE + SAMPLER_STEP * config.sampler.steps,
    training_only=_GENERATIVE,
    warn=warn_of_batch_norm,
    unfit=_unfit_sampled_centers,
    layout=_centers,
)

GMMC_JOINT = FamilySpec(
    name="gmmc-joint",
    label="GMMC (Joint)",
    summary="Discriminative training first, then generative.",
    source="GMMC paper, Sec. 3.3 and Fig. 6",
    config=GMMCJointConfig,
    implementation="bench_models.gmmc:GMMCJoint",
    importers={"gmmc": "bench_models.importers:gmmc"},
    version=1,
    capabilities=frozenset({"density", "samples"}),
    readouts=("code", "paper", "linear"),
    presets={
        "gmmc-code": {
            "epochs": 150,
            "decay_epochs": (30, 50, 80, 100, 120),
            "sampler": {"steps": 50, "buffer": 50_000, "reinit": 0.05},
        }
    },
    paper={**_PAPER_TRAINING, "epochs": 100, "start_generative": 50, "scale": 10.0, **_PAPER_SAMPLER},
    paper_on={"cifar10": {}},
    paper_family="gmmc-joint",
    released={**_RELEASED, **_RELEASED_SAMPLER},
    passes=lambda config: (
        (
            UPDATE * config.start_generative
            + (2 * UPDATE + SAMPLER_STEP * config.sampler.steps) * (config.epochs - config.start_generative)
        )
        / config.epochs
    ),
    training_only=_GENERATIVE | {"start_generative", "ramp_epochs"},
    warn=warn_of_batch_norm,
    unfit=_unfit_sampled_centers,
    layout=_centers,
)


def _facts(name: str, image_shape: tuple[int, int, int]) -> Mapping[str, float]:
    variant = parse_variant(name)
    depth, width = variant.depth, variant.width
    return {
        "depth": depth,
        "width": width,
        "blocks per stage": blocks_per_stage(depth),
        "features": stage_channels(width)[-1],
        "parameters": parameters(depth, width, image_shape[0], variant.norm),
        "multiply-adds": macs(depth, width, image_shape),
    }


def _like(name: str, other: str) -> str:
    """``name`` with the normalisation and dropout of ``other``, unless it has options itself."""
    size, own, options = "-".join(name.split("-")[:3]), name.split("-")[3:], other.split("-")[3:]
    return name if own else "-".join([size, *options])


WIDE_RESNET = BackboneSpec(
    name="wrn",
    pattern="wrn-<depth>-<width>[-batch|-layer][-drop<p>]",
    summary="Wide-ResNet, by default without normalisation; stride on the second convolution, LeakyReLU(0.2), biases.",
    source="GMMC paper, Appendix A; JEM code",
    implementation="bench_models.wide_resnet:build",
    parse=parse_variant,
    describe=_facts,
    examples=("wrn-28-10", "wrn-16-4", "wrn-10-1"),
    version=1,
    draws=lambda name: parse_variant(name).dropout > 0,
    like=_like,
)
