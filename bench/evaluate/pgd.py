"""Accuracy under projected gradient descent, with the paper's loss and others beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationInfo, WithJsonSchema, field_validator

from bench.attacks.definitions import LEAST_CLASSES
from bench.attacks.parameters import LOSS_NAMES, checked_loss, loss_schema
from bench.attacks.threat import parse_step
from bench.evaluate.adversarials import AdversarialsConfig
from bench.evaluate.attack_seeds import AttackSeedsConfig, attack_seeds, paired_test, repeated, stacked
from bench.evaluate.base import Column, Evaluation, Outcome, Part
from bench.evaluate.budgets import written_budgets
from bench.evaluate.inputs import Inputs
from bench.evaluate.pgd_numbers import loss_definition, outcome, worst_definition, zero_definition
from bench.evaluate.robust import nothing_finite
from bench.evaluate.traits import output_flags
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, CleanPass
    from bench.data.spec import Split
    from bench.family import Classifier

__all__ = ["PGD", "PGDConfig"]

LOSSES = LOSS_NAMES
"""Losses by name; ``ce@T`` besides, the cross-entropy at temperature T."""


class PGDConfig(AttackSeedsConfig, AdversarialsConfig):
    """Parameters of PGD."""

    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    eps: tuple[str, ...] = Field(min_length=1, description='Budgets in units of the pixel range, such as "8/255"')
    steps: PositiveInt = Field(40, description="Gradient steps", json_schema_extra={"paper": "40"})
    step: str = Field(
        "eps/30",
        description='Step size: "eps/30", or absolute such as "2/255"',
        json_schema_extra={"paper": "not stated", "code": "eps/30 (JEM, through foolbox)"},
    )
    losses: tuple[Annotated[str, WithJsonSchema(loss_schema())], ...] = Field(
        ("ce", "margin"),
        min_length=1,
        description="Losses, each an attack of its own; the first is the paper's",
        json_schema_extra={"paper": "not stated"},
    )
    restarts: PositiveInt = Field(1, description="Random starts of each attack")
    iterate: Literal["final", "any"] = Field(
        "final", description="Whether the final iterate decides, or any wrong iterate is enough"
    )
    noise: NonNegativeInt = Field(
        10, description="Random points of the ball for each item that a loss left: the check NOISE; 0: no check"
    )
    items: PositiveInt = Field(
        1000,
        description="Attacked test items: the first of the fixed order",
        json_schema_extra={"paper": "10,000"},
    )
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no verdict")

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return written_budgets(values, info.data.get("norm"))

    @field_validator("step")
    @classmethod
    def _step(cls, value: str) -> str:
        return parse_step(value).text

    @field_validator("losses")
    @classmethod
    def _losses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        names = [checked_loss(value) for value in values]
        if len(set(names)) != len(values):
            raise ValueError("a loss is listed twice")
        return values


class PGD(Evaluation):
    """White-box PGD at fixed budgets: every budget is an independent attack and a job of its own.

    Robust means correct on the clean image and on the adversarial one; accuracy is over all attacked items. All
    numbers are upper bounds. A verdict stands beside each: ``masked`` if the loss's gradients vanish, or if another
    loss leaves significantly less; ``confirmed`` if gradients vanish and another loss, whose do not, leaves no less.
    """

    name = "pgd"
    version = 2
    summary = "Accuracy under L_inf (or L2) PGD: cross-entropy as in the paper, margin beside it."
    source = "GMMC paper, Table 5; Madry et al. 2018; Carlini and Wagner 2017 for the margin"
    Config = PGDConfig
    reads_model = True

    def label(self, config: PGDConfig) -> str:
        """With the number of steps."""
        return f"PGD-{config.steps}"

    def columns(self, config: PGDConfig) -> tuple[Column, ...]:
        """Robust accuracy by loss and budget, the worst case over losses, and the zero-gradient share."""
        columns = []
        for eps in config.eps:
            columns += [
                Column(
                    metric=loss.replace("@", "-t"),
                    argument=eps,
                    label={"ce": "CE"}.get(loss, loss),
                    group=f"{self.label(config)}, {eps}",
                    unit="fraction",
                    direction="up",
                    definition=repeated(config, loss_definition(config, loss, eps)),
                    primary=loss == config.losses[0],
                    test=paired_test(config),
                )
                for loss in config.losses
            ]
            columns += [
                Column(
                    metric="worst-case",
                    argument=eps,
                    label="worst case",
                    group=f"{self.label(config)}, {eps}",
                    unit="fraction",
                    direction="up",
                    definition=repeated(config, worst_definition(config, eps)),
                    test=paired_test(config),
                ),
                Column(
                    metric="zero-gradient",
                    argument=eps,
                    label="zero grad",
                    group=f"{self.label(config)}, {eps}",
                    unit="fraction",
                    direction=None,
                    definition=repeated(config, zero_definition(config, eps)),
                ),
            ]
        return tuple(columns)

    def parts(self, config: PGDConfig) -> tuple[Part, ...]:
        """One a budget: adding one recomputes none of the others."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def passes(self, config: PGDConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """A forward and an input gradient a step, the judge's two forwards, and random points on what is left, for
        each attack seed.
        """
        each = len(config.losses) * (2.0 * config.steps * config.restarts + 2) + config.noise
        return min(config.items, items) * len(config.eps) * config.attack_seeds * each

    def evaluate(self, config: PGDConfig, inputs: Inputs) -> Outcome:
        """Attack with each loss; the judge of ``bench.attacks`` decides."""
        import numpy as np

        from bench import attacks

        (eps,) = config.eps
        model = inputs.model()
        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        clean = attacks.CleanPass(model, config.batch_size)
        lacking = _lacking(config, model, inputs.num_classes)
        losses = [loss for loss in config.losses if loss not in lacking]
        seeds = attack_seeds(config)
        results: dict[str, list[AttackResult]] = {loss: [] for loss in losses}
        noise = []
        for run, seed in enumerate(seeds):
            for done, loss in enumerate(losses):
                result = attacks.run(
                    "pgd",
                    model,
                    test.unit_images(),
                    test.labels,
                    norm=config.norm,
                    eps=eps,
                    seed=seed,
                    ids=test.ids,
                    batch_size=config.batch_size,
                    journal=inputs.journal,
                    clean=clean,
                    loss=loss,
                    steps=config.steps,
                    step=config.step,
                    restarts=config.restarts,
                    iterate=config.iterate,
                )
                assert result.definition == loss_definition(config, loss, eps)
                if not result.clean_finite.any():
                    return nothing_finite(self.columns(config), len(test))
                results[loss].append(result)
                inputs.progress({"done": run * len(losses) + done + 1, "total": len(losses) * len(seeds)})
            noise.append(_noise(config, eps, seed, [found[-1] for found in results.values()], model, test, clean))
        shared = output_flags(model, test.unit_images(), inputs.device)
        return outcome(config, eps, results, lacking, test.ids, shared, stacked(noise))


def _lacking(config: PGDConfig, model: Classifier, classes: int) -> dict[str, str]:
    """Losses that the model does not admit, and why."""
    lacking = {}
    for loss in config.losses:
        if loss.startswith("distance") and model.class_centers() is None:
            lacking[loss] = "the family has no class centers"
        elif classes < LEAST_CLASSES.get(loss, 2):
            lacking[loss] = f"{loss} needs at least {LEAST_CLASSES[loss]} classes, the data have {classes}"
    return lacking


def _noise(
    config: PGDConfig,
    eps: str,
    seed: int,
    results: Sequence[AttackResult],
    model: Classifier,
    test: Split,
    clean: CleanPass,
) -> NDArray[np.bool_]:
    """(N,) what random points break, of the items that some loss left under one attack seed."""
    import numpy as np

    from bench import attacks

    broken = np.zeros(len(test), dtype=np.bool_)
    left = np.flatnonzero(np.logical_or.reduce([result.robust for result in results] or [broken]))
    if config.noise and len(left):
        found = attacks.run(
            "noise", model, test.unit_images()[left], test.labels[left], norm=config.norm, eps=eps, seed=seed,
            ids=test.ids[left], batch_size=config.batch_size, clean=clean, draws=config.noise,
        )  # fmt: skip
        broken[left] = found.success
    return broken
