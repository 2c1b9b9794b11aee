"""Trained networks to attack, and the budgets at which a given share of their images survives."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import attacks
from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.data.spec import Split
from bench.data.splits import Splits
from bench.family import Classifier
from bench.train.loop import Trainer
from bench.weights import load as trained
from bench.weights.find import Blueprint

__all__ = ["Subject", "budget", "make"]

SHAPE = (3, 32, 32)
CONFIGS: dict[str, dict[str, Any]] = {
    "softmax": {"epochs": 10, "lr": 1.5e-3, "batch_size": 16, "warmup": 0, "decay_epochs": [7, 9]},
    "gmmc-dis": {"epochs": 10, "lr": 1.5e-3, "batch_size": 16, "warmup": 0, "decay_epochs": [7, 9]},
}
"""The heads and their settings, on the same backbone; batches are small, because there are few images."""

BISECTIONS = 10


@dataclass
class Subject:
    """A trained model under attack that counts what goes through its backbone.

    Attributes:
        head: Family of the model.
        model: The classifier in eval mode as the harness builds it, weights channels-last.
        plain: The same model with contiguous weights, as users of libraries have them; channels-last weights would make
            the libraries faster.
        test: The attacked items, all classified correctly.
        splits: The splits of the data that the model was trained on.
        accuracy: Accuracy of the model on the whole test split.
        forwards: Number of images that passed the backbone since this was last set to 0.
    """

    head: str
    model: Classifier
    plain: Classifier
    test: Split
    splits: Splits
    accuracy: float
    forwards: int = 0

    def __post_init__(self) -> None:
        for model in (self.model, self.plain):
            backbone: Any = model.backbone
            backbone.register_forward_hook(self._count)
        self.images: Tensor = torch.from_numpy(self.test.unit_images())
        self.labels: Tensor = torch.from_numpy(self.test.labels)

    def _count(self, *arguments: Any) -> None:
        self.forwards += len(arguments[-1])

    @torch.no_grad()
    def survivors(self, adversarials: Tensor) -> float:
        """Share of images that are still classified correctly."""
        return float((self.plain(adversarials).argmax(dim=1) == self.labels).float().mean())


def make(head: str, images: int, *, seed: int = 1) -> Subject:
    """Train a WRN-10-1 on digits resized to 3x32x32 and keep the first test items that it gets right."""
    digits = DATASETS.get("digits")
    splits = load_splits(digits, Path("/"), image_shape=SHAPE, seed=2, validation=digits.validation)
    spec = Blueprint(family=head, backbone="wrn-10-1", config=CONFIGS[head], seed=seed)
    family, model = trained.build(spec, 10, SHAPE, "cpu")
    print(f"training {head}", file=sys.stderr)
    Trainer(family, model, splits, augmentation="none", seed=seed).run()
    plain = copy.deepcopy(model.eval()).to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        predicted = plain(torch.from_numpy(splits.test.unit_images())).argmax(dim=1).numpy()
    correct = predicted == splits.test.labels
    return Subject(head, model, plain, splits.test.take(correct.nonzero()[0][:images]), splits, float(correct.mean()))


def budget(subject: Subject, share: float) -> float:
    """The smallest L_inf budget at which PGD-40 with cross-entropy leaves no more than a share of the images.

    Raises:
        RuntimeError: If there is none because the gradients of the cross-entropy vanish.
    """
    low, high = 1e-3, 0.5

    def left(eps: float) -> float:
        result = attacks.run(
            "pgd", subject.model, subject.images, subject.labels, norm="linf", eps=eps, seed=0,
            batch_size=len(subject.images), iterate="any", survivors_only=True,
        )  # fmt: skip
        return result.robust_accuracy

    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if left(middle) > share else (low, middle)
    found = left(high)
    if found > share:
        raise RuntimeError(f"{subject.head}: {found:.2f} of the images survive even at eps = {high:g}")
    return high
