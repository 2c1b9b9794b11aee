"""Carlini-Wagner L2 with binary search, untargeted or with a random target for each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.attacks.carlini_wagner import LEAST_PATIENCE, CarliniWagner
from bench.attacks.threat import LARGEST, ThreatModel
from bench.evaluate.base import Column, Outcome
from bench.evaluate.robust.norms import NormConfig, norm_columns, norm_outcome
from bench.evaluate.robust.under_attack import Subject, UnderAttack
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CWL2", "NEXT_RANDOM", "CWL2Config", "next_random"]

NEXT_RANDOM = "targets (y + r) mod K with r uniform in 1..K-1 by seed and id"
"""Text of definitions on the target classes."""


class CWL2Config(NormConfig):
    """Parameters of the attack."""

    targets: Literal["none", "next-random"] = Field(
        "none",
        description='"none": any wrong class; "next-random": (y + r) mod K, r uniform in 1..K-1 by seed and item',
        json_schema_extra={"paper": "not stated"},
    )
    steps: PositiveInt = Field(
        100,
        description="Adam steps of each round",
        json_schema_extra={"paper": "100 untargeted, 1000 targeted"},
    )
    rounds: PositiveInt = Field(
        9, description="Rounds of the binary search over c", json_schema_extra={"code": "9 (MMC)"}
    )
    c0: PositiveFloat = Field(0.01, le=LARGEST, description="First c", json_schema_extra={"code": "0.01 (MMC)"})
    kappa: NonNegativeFloat = Field(0.0, le=LARGEST, description="Margin by which to succeed")
    lr: PositiveFloat = Field(
        0.01, le=LARGEST, description="Learning rate of Adam", json_schema_extra={"code": "0.005 (MMC)"}
    )
    patience: PositiveInt | None = Field(
        50, description="Steps without a smaller cost that end an image's round; only in rounds of 400 steps and more"
    )
    items: PositiveInt = Field(
        1000,
        description="Attacked test items: the first of the fixed order",
        json_schema_extra={"paper": "not stated", "code": "500 (MMC)"},
    )
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no norm")

    @model_validator(mode="after")
    def _patient(self) -> CWL2Config:
        if self.patience is not None and self.patience < LEAST_PATIENCE:
            raise ValueError(f"patience must be at least {LEAST_PATIENCE}: fewer steps end images before they converge")
        return self

    @property
    def attack(self) -> CarliniWagner:
        """The attack with these parameters."""
        return CarliniWagner(
            steps=self.steps, rounds=self.rounds, c0=self.c0, kappa=self.kappa, lr=self.lr, patience=self.patience
        )

    @property
    def definition(self) -> str:
        """The definition of the attack with all parameters."""
        targets = "untargeted" if self.targets == "none" else NEXT_RANDOM
        return self.attack.definition(ThreatModel("l2", float("inf")), targets)


class CWL2(UnderAttack):
    """The smallest L2 perturbation that the harness's own C&W finds.

    It searches over c and optimises every item separately, so norms do not depend on batching, unlike those of ``cw``,
    which runs the attack of a library as papers do. The judge of ``bench.attacks`` decides on success.
    """

    name = "cw-l2"
    version = 3
    summary = "L2 norms of C&W perturbations with binary search: means, median, success rate, accuracy by radius."
    source = "GMMC paper, Table 7; Carlini and Wagner 2017"
    Config = CWL2Config

    def label(self, config: CWL2Config) -> str:
        """The name with steps and rounds, which distinguish it from ``cw``."""
        return f"C&W-{config.steps}x{config.rounds}{'' if config.targets == 'none' else ' targeted'}"

    def columns(self, config: CWL2Config) -> tuple[Column, ...]:
        """The columns of `norm_columns`."""
        return norm_columns(self.label(config), config.definition, config.curve)

    def passes(self, config: CWL2Config, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of the attack, and three forward passes of the judge."""
        return min(config.items, items) * (config.attack.passes() + 3)

    def measure(self, config: CWL2Config, subject: Subject) -> Outcome:
        """Attack without a budget."""
        more: dict[str, Any] = {}
        if config.targets != "none":
            test = subject.test
            more["targets"] = next_random(test.labels, test.ids, subject.inputs.num_classes, config.seed)
        result = subject.attack(config.attack, seed=config.seed, **more)
        return norm_outcome(config, result, self.columns(config), more)


def next_random(labels: NDArray[np.int64], ids: NDArray[np.int64], classes: int, seed: int) -> NDArray[np.int64]:
    """Targets (y + r) mod K, where r is uniform in 1..K-1 and depends on (seed, id) alone.

    Args:
        labels: (N,) true classes y.
        ids: (N,) identities of the items.
        classes: K >= 2.
        seed: Seed of the evaluation.

    Returns:
        (N,) targets, never equal to the label.
    """
    import numpy as np

    from bench.rng import uniform

    # Restart -1 is a separate stream that no attack uses.
    drawn = uniform(seed, np.asarray(ids), -1, 1)[:, 0].astype(np.float64)
    shift = 1 + np.floor(drawn * (classes - 1)).astype(np.int64)
    targets: NDArray[np.int64] = (labels + shift) % classes
    return targets
