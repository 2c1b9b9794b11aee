"""Carlini-Wagner L2: how large a perturbation has to be."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.attacks.libraries import CWAttack
from bench.attacks.threat import LARGEST
from bench.evaluate.base import Column, Evaluation, Outcome
from bench.evaluate.inputs import Inputs
from bench.evaluate.robust.budgets import Subject
from bench.evaluate.robust.norms import NormConfig, norm_columns, norm_outcome
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
        """The attack."""
        return CWAttack(steps=self.steps, c=self.c, kappa=self.kappa, lr=self.lr)

    @property
    def definition(self) -> str:
        """All parameters; the library's version is in the record."""
        return (
            f"cw-l2[{self.steps}, c={self.c:g}, kappa={self.kappa:g}, lr={self.lr:g}, untargeted, "
            f"no binary search, batches of {self.batch_size}, torchattacks on shifted logits]"
        )


class CW(Evaluation):
    """Untargeted C&W L2 through torchattacks, on logits shifted to a non-negative row minimum.

    Without the shift that attack does nothing at all against GMMC, whose logits are never positive. Success is
    recomputed by the judge. One constant and no binary search: norms are upper bounds, looser ones than those of
    attacks that search.
    """

    name = "cw"
    version = 2
    summary = "L2 norms of Carlini-Wagner perturbations: means, median, success rate, accuracy by radius."
    source = "GMMC paper, Table 7; Carlini and Wagner 2017"
    Config = CWConfig
    reads_model = True

    def label(self, config: CWConfig) -> str:
        """With the number of iterations."""
        return f"C&W-{config.steps}"

    def columns(self, config: CWConfig) -> tuple[Column, ...]:
        """Means over successes, median with failures at infinity, success rate, accuracy at each radius."""
        return norm_columns(self.label(config), config.definition, config.curve)

    def passes(self, config: CWConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """Those of the attack, and the judge's two forwards."""
        return min(config.items, items) * (config.attack.passes() + 2)

    def evaluate(self, config: CWConfig, inputs: Inputs) -> Outcome:
        """Attack; the judge of ``bench.attacks`` decides."""
        result = Subject(config, inputs).norms(config.attack)
        return norm_outcome(config, result, self.columns(config), {})
