"""Specification of MMC, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.spec import FamilySpec, Task

from .configs import MMCConfig

__all__ = ["MMC"]

_SGD = {"kind": "sgd", "momentum": 0.9}


def _layout(config: Any) -> str:
    return f"a backbone with a linear layer to {config.features} features and centers of norm {config.scale:g}"


def _unfit(config: Any, task: Task) -> Mapping[str, str]:
    """Refuse fewer than K - 1 features: the K centers form a simplex."""
    if task.num_classes <= config.features + 1:
        return {}
    return {
        "features": f"centers of {task.num_classes} classes need at least {task.num_classes - 1} feature dimensions, "
        f"got {config.features}"
    }


MMC = FamilySpec(
    name="mmc",
    label="MMC",
    summary="Max-Mahalanobis classifier of Pang et al.: a linear layer after the backbone, whose output regresses to "
    "fixed class centers by SGD.",
    source="Pang et al., ICLR 2020 (Rethinking softmax cross-entropy loss for adversarial robustness), and its code",
    config=MMCConfig,
    implementation="bench_models.mmc:MMC",
    version=1,
    capabilities=frozenset({"density"}),
    readouts=("code", "paper", "linear"),
    presets={
        "paper": {"optimizer": {**_SGD, "weight_decay": 0.0}},
        "code": {"decay_epochs": (101, 151), "optimizer": {**_SGD, "weight_decay": 2e-4}},
    },
    paper={
        "epochs": 200,
        "optimizer.kind": "sgd",
        "optimizer.momentum": 0.9,
        "lr": 0.01,
        "decay_epochs": (100, 150),
        "decay_rate": 0.1,
        "scale": 10.0,
        "features": 256,
        "backbone": "ResNet-32",
    },
    paper_family="mmc",
    released={"batch_size": 50, "optimizer.weight_decay": 2e-4, "warmup": 0, "sigma": 0.0},
    unfit=_unfit,
    layout=_layout,
)
