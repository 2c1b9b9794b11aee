"""Carlini-Wagner L2: how large a perturbation has to be."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.attacks.threat import LARGEST
from bench.evaluate.base import Column, Evaluation, Outcome
from bench.evaluate.inputs import Inputs
from bench.evaluate.norms import NormConfig, norm_columns, norm_outcome
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
        return norm_columns(self.label(config), _definition(config), config.curve)

    def passes(self, config: CWConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """A forward and a backward an iteration; the library may stop earlier."""
        return min(config.items, items) * (3.0 * config.steps + 2)

    def evaluate(self, config: CWConfig, inputs: Inputs) -> Outcome:
        """Attack; the judge of ``bench.attacks`` decides."""
        import numpy as np

        from bench import attacks

        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        result = attacks.run(
            "cw",
            inputs.model(),
            test.unit_images(),
            test.labels,
            norm="l2",
            seed=config.seed,
            ids=test.ids,
            batch_size=config.batch_size,
            journal=inputs.journal,
            steps=config.steps,
            c=config.c,
            kappa=config.kappa,
            lr=config.lr,
        )
        return norm_outcome(config, result, self.columns(config), {})


def _definition(config: CWConfig) -> str:
    return (
        f"cw-l2[{config.steps}, c={config.c:g}, kappa={config.kappa:g}, lr={config.lr:g}, untargeted, "
        f"no binary search, batches of {config.batch_size}, torchattacks on shifted logits]"
    )
