"""Carlini-Wagner L2 of a library: norms of the perturbations that it finds."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.attacks.libraries import CWAttack
from bench.attacks.threat import LARGEST
from bench.evaluate.base import Column, Outcome
from bench.evaluate.robust.norms import NormConfig, norm_columns, norm_outcome
from bench.evaluate.robust.under_attack import Subject, UnderAttack
from bench.spec import FamilySpec

__all__ = ["CW", "CWConfig"]


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


class CW(UnderAttack):
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

    def columns(self, config: CWConfig) -> tuple[Column, ...]:
        """The columns of `norm_columns`."""
        return norm_columns(self.label(config), config.definition, config.curve)

    def passes(self, config: CWConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of the attack, and two forward passes of the judge."""
        return min(config.items, items) * (config.attack.passes() + 2)

    def measure(self, config: CWConfig, subject: Subject) -> Outcome:
        """Attack without a budget."""
        result = subject.attack(config.attack, seed=config.seed)
        return norm_outcome(config, result, self.columns(config), {})
