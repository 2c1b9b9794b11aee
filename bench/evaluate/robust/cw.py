"""Norms of the perturbations that Carlini-Wagner L2 finds: that of a library, and our own with binary search over c."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.attacks.carlini_wagner import LEAST_PATIENCE, CarliniWagner
from bench.attacks.libraries import CWAttack
from bench.attacks.threat import LARGEST, ThreatModel
from bench.evaluate.robust.norms import NormConfig, SmallestNorms
from bench.evaluate.robust.search import SearchConfig
from bench.evaluate.robust.under_attack import NEXT_RANDOM
from bench.spec import FamilySpec

__all__ = ["CW", "CWL2", "CWConfig", "CWL2Config"]


class CWConfig(NormConfig):
    """Parameters of C&W."""

    steps: PositiveInt = Field(100, description="Adam iterations", json_schema_extra={"paper": "100 untargeted"})
    c: PositiveFloat = Field(
        1.0, le=LARGEST, description="Constant in front of the margin", json_schema_extra={"paper": "not stated"}
    )
    kappa: NonNegativeFloat = Field(
        0.0, le=LARGEST, description="Margin by which to succeed", json_schema_extra={"paper": "not stated"}
    )
    lr: PositiveFloat = Field(
        0.01, le=LARGEST, description="Learning rate of Adam", json_schema_extra={"paper": "not stated"}
    )
    items: PositiveInt = Field(
        1000,
        description="Attacked test items: the first of the fixed order",
        json_schema_extra={"paper": "not stated"},
    )
    batch_size: PositiveInt = Field(
        50, description="Items of a batch; part of the definition, because the library stops a batch as one"
    )

    @property
    def attack(self) -> CWAttack:
        """The attack with these parameters."""
        return CWAttack(steps=self.steps, c=self.c, kappa=self.kappa, lr=self.lr)

    @property
    def definition(self) -> str:
        """All parameters; the version of the library is in the record."""
        return (
            f"cw-l2[{self.steps}, c={self.c:g}, kappa={self.kappa:g}, lr={self.lr:g}, untargeted, "
            f"no binary search, batches of {self.batch_size}, torchattacks on shifted logits]"
        )


class CW(SmallestNorms):
    """Untargeted C&W L2 through torchattacks, on logits shifted to a non-negative row minimum.

    Without the shift the attack has no effect on GMMC, whose logits are never positive. The judge recomputes success.
    With one constant and no binary search, norms are upper bounds, looser than those of attacks that search.
    """

    name = "cw"
    version = 3
    summary = "L2 norms of Carlini-Wagner perturbations: means, median, success rate, accuracy by radius."
    source = "GMMC paper, Table 7; Carlini and Wagner 2017"
    Config = CWConfig

    def label(self, config: CWConfig) -> str:
        """The name with the number of iterations."""
        return f"C&W-{config.steps}"

    def passes(self, config: CWConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of the attack, and two forward passes of the judge."""
        return min(config.items, items) * (config.attack.passes() + 2)


class CWL2Config(NormConfig, SearchConfig):
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
    batch_size: PositiveInt = Field(
        128, description="Items of a forward pass, more on a GPU with room; changes no norm"
    )

    @model_validator(mode="after")
    def _patient(self) -> CWL2Config:
        if self.patience is not None and self.patience < LEAST_PATIENCE:
            raise ValueError(f"patience must be at least {LEAST_PATIENCE}: fewer steps end images before they converge")
        return self

    @property
    def attack(self) -> CarliniWagner:
        """The attack with these parameters."""
        names = ("steps", "rounds", "c0", "kappa", "lr", "patience", "search_precision")
        return CarliniWagner().configured({name: getattr(self, name) for name in names})

    @property
    def definition(self) -> str:
        """The definition of the attack with all parameters."""
        targets = "untargeted" if self.targets == "none" else NEXT_RANDOM
        return self.attack.definition(ThreatModel("l2", float("inf")), targets)


class CWL2(SmallestNorms):
    """The smallest L2 perturbation that the harness's own C&W finds.

    It searches over c and optimises every item separately, so norms do not depend on batching, unlike those of ``cw``,
    which runs the attack of a library as papers do. The judge of ``bench.attacks`` decides on success.
    """

    name = "cw-l2"
    version = 3
    summary = "L2 norms of C&W perturbations with binary search: means, median, success rate, accuracy by radius."
    source = "GMMC paper, Table 7; Carlini and Wagner 2017"
    Config = CWL2Config
    any_batch = True

    def label(self, config: CWL2Config) -> str:
        """The name with steps and rounds, which distinguish it from ``cw``."""
        return f"C&W-{config.steps}x{config.rounds}{'' if config.targets == 'none' else ' targeted'}"

    def passes(self, config: CWL2Config, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of the attack, and three forward passes of the judge."""
        return min(config.items, items) * (config.attack.passes() + 3)
