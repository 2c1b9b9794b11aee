"""Whether accuracy goes to zero as the budget grows, as it must: a chained sweep of adaptive PGD."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from bench.attacks import definitions
from bench.attacks.threat import parse_eps
from bench.evaluate.base import Column, Evaluation, Number, Outcome
from bench.evaluate.budgets import written_budgets
from bench.evaluate.inputs import Inputs
from bench.evaluate.traits import output_flags
from bench.evaluate.white_box import LossesConfig, attack_definition, attack_parameters, passes_per_item
from bench.spec import FamilySpec

__all__ = ["EpsSweep", "EpsSweepConfig"]


class EpsSweepConfig(LossesConfig):
    """Parameters of the sweep."""

    eps: tuple[str, ...] = Field(
        tuple(f"{2**power}/255" for power in range(8)),
        min_length=2,
        description="Increasing budgets in units of the pixel range; up to 128/255, which can turn any image grey",
    )
    steps: PositiveInt = Field(50, description="Gradient steps of each run")
    restarts: PositiveInt = Field(1, description="Rounds over all losses at each budget")
    items: PositiveInt = Field(100, description="Attacked test items: the first of the fixed order")

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if any(parse_eps(large) <= parse_eps(small) for small, large in pairwise(values)):
            raise ValueError("budgets must increase")
        return written_budgets(values, info.data.get("norm"))


class EpsSweep(Evaluation):
    """Accuracy under adaptive PGD from small budgets to large ones.

    Chained: an item that is broken at one budget is broken at all larger ones. So the curve cannot rise, and says
    whether it falls far enough: UNBOUNDED where an attack that may turn every image grey leaves items, FLAT where four
    times the budget changes nothing.
    """

    name = "eps-sweep"
    version = 2
    summary = "Accuracy under adaptive PGD at growing budgets, chained; must reach zero."
    source = "Carlini et al. 2019, arXiv:1902.06705, section 4 (unbounded attacks, budget curves)"
    Config = EpsSweepConfig
    reads_model = True

    def label(self, config: EpsSweepConfig) -> str:  # noqa: ARG002 - the same for all
        """What it is."""
        return "eps sweep"

    def columns(self, config: EpsSweepConfig) -> tuple[Column, ...]:
        """Robust accuracy at each budget."""
        return tuple(
            Column(
                metric="robust",
                argument=eps,
                label=eps,
                group=self.label(config),
                unit="fraction",
                direction="up",
                definition=_definition(config, eps),
                primary=True,
                test="mcnemar",
            )
            for eps in config.eps
        )

    def passes(self, config: EpsSweepConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """If every item survives every budget; most do not."""
        return min(config.items, items) * len(config.eps) * (passes_per_item(config) + 2)

    def evaluate(self, config: EpsSweepConfig, inputs: Inputs) -> Outcome:
        """Attack at each budget what the smaller ones left."""
        import numpy as np

        from bench.attacks.diagnostics import UNBOUNDED_EPS, flat_flag, unbounded_flag, verdict
        from bench.attacks.worst_case import eps_sweep
        from bench.metrics.intervals import wilson

        model = inputs.model()
        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        n = len(test)
        sweep = eps_sweep(
            "adaptive_pgd", model, test.unit_images(), test.labels, eps=config.eps, ids=test.ids,
            journal=inputs.journal, **attack_parameters(config),
        )  # fmt: skip
        assert sweep.definition == _sweep_definition(config)
        flags = [flat_flag(sweep.eps, list(sweep.robust), sweep.clean_correct)]
        if config.norm == "linf" and sweep.eps[-1] >= UNBOUNDED_EPS:
            flags.append(unbounded_flag(sweep.eps[-1], sweep.robust[-1]))
        flags += output_flags(model, test.unit_images(), inputs.device)
        raised = {flag.name: flag.text for flag in flags if flag.raised}
        # All checks are of the curve as a whole; GRAD0 and LOSSGAP are those of the evaluation `adaptive`.
        implied = {flag.implies for flag in flags if flag.raised}
        word = "masked" if "masked" in implied else "inconclusive"
        numbers = []
        items: dict[str, Any] = {"ids": test.ids, "clean": sweep.clean_correct, "forwards": sweep.forwards}
        for eps, robust in zip(config.eps, sweep.robust, strict=True):
            name = f"robust@{eps}"
            # Where nothing is left nothing is hidden.
            doubtful = bool(raised) and bool(robust.any())
            items[name] = robust
            numbers.append(
                Number(
                    metric="robust",
                    argument=eps,
                    value=int(robust.sum()) / n,
                    n=n,
                    interval=wilson(int(robust.sum()), n),
                    definition=_definition(config, eps),
                    items=name,
                    verdict=word if doubtful else "no warning",
                    flags=raised if doubtful else {},
                )
            )
        checked = verdict(flags)
        details = {
            "checks": {flag.name: flag.text for flag in checked.flags},
            "not_measured": list(checked.not_measured),
        }
        return Outcome(numbers, items, details=details)


def _sweep_definition(config: EpsSweepConfig) -> str:
    return definitions.sweep(config.eps, attack_definition(config, config.eps[0], complete=False))


def _definition(config: EpsSweepConfig, eps: str) -> str:
    return f"accuracy at {eps} of a {_sweep_definition(config)}"
