"""Trainers and trained models of every family, here and on the device that is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.data.splits import Caps, Splits
from bench.family import Classifier
from bench.train.loop import Trainer
from bench.weights import load as trained
from bench.weights.find import Blueprint

SAMPLER = {"sampler": {"steps": 4, "buffer": 60}}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "softmax": {},
    "jem": SAMPLER,
    "jem-pp": SAMPLER,
    "sada-jem": SAMPLER,
    "gmmc-dis": {},
    "mmc": {"lr": 1e-3},
    "gmmc-gen": SAMPLER,
    "gmmc-joint": {
        "start_generative": 1,
        "sampler": {**SAMPLER["sampler"], "gamma_source": "running", "mode": "inject"},
    },
    "igebm": SAMPLER,
    "igebm-conditional": SAMPLER,
}
"""Families with what makes their steps short and their branches run."""
BACKBONES: Mapping[str, str] = {"jem-pp": "wrn-10-1-batch", "sada-jem": "wrn-10-1-batch"}
"""Networks of families that are trained with another one than wrn-10-1."""


@pytest.fixture(scope="session")
def few_digits() -> Splits:
    """96 training, 60 validation and 10 test digits."""
    return load_splits(
        DATASETS.get("digits"), Path("/"), seed=0, validation=200, caps=Caps(train=96, validation=60, test=10)
    )


@pytest.fixture(scope="session")
def make_trainer(few_digits: Splits) -> Callable[..., Trainer]:
    """Makes trainers of a family on a device: WRN-10-1, three iterations an epoch, augmentation and noise."""

    def make(family: str, device: str, **config: Any) -> Trainer:
        values = {"epochs": 2, "batch_size": 32, "warmup": 0, "decay_epochs": [1], "log_iterations": 4}
        values |= {"sigma": 0.03, **FAMILIES[family], **config}
        spec = Blueprint(family=family, backbone=BACKBONES.get(family, "wrn-10-1"), config=values, seed=1)
        made, model = trained.build(spec, 10, (1, 8, 8), device)
        return Trainer(made, model, few_digits, augmentation="crop-flip", seed=1)

    return make


@pytest.fixture(scope="session")
def models(make_trainer: Callable[..., Trainer]) -> Mapping[str, Classifier]:
    """A trained model of a few families on the CPU, in eval mode, by name."""
    made = {}
    for family in ("softmax", "jem", "jem-pp", "gmmc-gen"):
        trainer = make_trainer(family, "cpu")
        trainer.run()
        if trainer.state is not None:
            trainer.family.attach(trainer.model, trainer.state.state_dict())
        made[family] = trainer.model.eval()
    return made


@pytest.fixture(scope="session")
def pictures(few_digits: Splits, models: Mapping[str, Classifier]) -> tuple[Tensor, Tensor]:
    """Twelve digits, with the predictions of the softmax classifier as labels except for the first one."""
    images = torch.from_numpy(few_digits.validation.unit_images())[:12]
    with torch.no_grad():
        labels = models["softmax"](images).argmax(dim=1)
    labels[0] = (labels[0] + 1) % 10
    return images, labels
