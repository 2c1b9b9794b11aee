"""Specifications of JEM++ and SADA-JEM, as in ``specs``; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.spec import FamilySpec, Task

from .mixture_size import MOST_BYTES, matrix_bytes
from .specs import BUFFER, SAMPLER_STEP, UPDATE, unfit_buffer, warn_of_batch_norm
from .successor_configs import JEMPPConfig, SADAJEMConfig

__all__ = ["JEM_PP", "SADA_JEM"]

_TRAINING_ONLY = BUFFER | {"augment_density", "px_weight", "pyx_weight"}


def _unfit(config: Any, task: Task) -> Mapping[str, str]:
    """Refuse buffers with fewer slots than classes, and covariances that no memory holds."""
    found = dict(unfit_buffer(config, task))
    size = matrix_bytes(task.num_classes, task.image_shape)
    if config.sampler.start == "mixture" and size > MOST_BYTES:
        found["sampler.start"] = (
            f"'mixture' keeps a covariance for each of the {task.num_classes} classes, {size / 2**30:,.0f} GiB here "
            f"and {MOST_BYTES / 2**30:.0f} at most: use 'uniform', or smaller images"
        )
    return found


def _warn(config: Any, backbone: str) -> tuple[str, ...]:
    """A warning against batch normalisation without what makes it work according to JEM++."""
    if config.sampler.start == "mixture" or not warn_of_batch_norm(config, backbone):
        return ()
    text = (
        "batch normalisation with chains that start from uniform noise: JEM++ found that it works where they start "
        "from Gaussians of the classes; use start = 'mixture', or the backbone without it"
    )
    return (text,)


def _layout(config: Any) -> str:
    head = "a backbone with a linear head"
    return f"{head} and a Gaussian for each class" if config.sampler.start == "mixture" else head


JEM_PP = FamilySpec(
    name="jem-pp",
    label="JEM++",
    summary="JEM with proximal SGLD, chains that start from a Gaussian for each class, batch normalisation, and SGD.",
    source="Yang and Ji, ICCV 2021; code sndnyang/JEMPP",
    config=JEMPPConfig,
    implementation="bench_models.jem_pp:JEMPP",
    importers={"jem-pp": "bench_models.successor_importers:jem_pp"},
    version=1,
    capabilities=frozenset({"density", "samples"}),
    presets={"paper": {"sampler": {"steps": 20}}, "code": {"sampler": {"steps": 10}}},
    paper={
        "epochs": 150,
        "lr": 0.1,
        "decay_epochs": (50, 100, 125),
        "backbone": "wrn-28-10-batch",
        "sampler.steps": 20,
        "sampler.inner_steps": 5,
        "sampler.step_size": 0.2,
        "sampler.start": "mixture",
    },
    paper_on={"cifar10": {}},
    released={
        "decay_rate": 0.2,
        "warmup": 1000,
        "batch_size": 64,
        "sigma": 0.03,
        "augment_density": True,
        "sampler.bound": 1.0,
        "sampler.noise": 0.0,
        "sampler.buffer": 10_000,
        "sampler.reinit": 0.05,
        "sampler.clamp": True,
        "sampler.batch_statistics": True,
    },
    passes=lambda config: 3 * UPDATE + SAMPLER_STEP * config.sampler.steps,
    training_only=_TRAINING_ONLY,
    warn=_warn,
    unfit=_unfit,
    layout=_layout,
)

SADA_JEM = FamilySpec(
    name="sada-jem",
    label="SADA-JEM",
    summary="JEM++ with sharpness-aware steps, and without augmentation of the images of p(x).",
    source="Yang, Su and Ji, CVPR 2023; code sndnyang/SADAJEM",
    config=SADAJEMConfig,
    implementation="bench_models.sada_jem:SADAJEM",
    importers={"sada-jem": "bench_models.successor_importers:sada_jem"},
    version=1,
    capabilities=frozenset({"density", "samples"}),
    presets={"paper": {"sampler": {"steps": 5}}, "code": {"sampler": {"steps": 10}}},
    paper={
        "epochs": 200,
        "lr": 0.1,
        "decay_epochs": (60, 120, 180),
        "sigma": 0.0,
        "augment_density": False,
        "backbone": "wrn-28-10-batch",
        "sampler.steps": 5,
        "sampler.step_size": 1.0,
        "sampler.noise": 0.0,
        "sampler.start": "mixture",
    },
    paper_on={"cifar10": {}},
    released={
        "decay_rate": 0.2,
        "warmup": 1000,
        "rho": 2.0,
        "adaptive": True,
        "sampler.bound": 1.0,
        "sampler.buffer": 10_000,
        "sampler.reinit": 0.05,
        "sampler.clamp": True,
        "sampler.batch_statistics": True,
    },
    passes=lambda config: 6 * UPDATE + SAMPLER_STEP * config.sampler.steps,
    training_only=_TRAINING_ONLY | {"rho", "adaptive"},
    warn=_warn,
    unfit=_unfit,
    layout=_layout,
)
