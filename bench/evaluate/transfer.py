"""Accuracy on the adversarial images of another model of the suite."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from bench.attacks import catalogue, definitions
from bench.attacks.threat import parse_eps, parse_step
from bench.evaluate.adversarials import AdversarialsConfig, broken_by_runs, packed
from bench.evaluate.attack_seeds import AttackSeedsConfig, attack_seeds, paired_test, repeated, stacked
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Column, Evaluation, Outcome, Part
from bench.evaluate.budgets import written_budgets
from bench.evaluate.inputs import Inputs
from bench.evaluate.robust import RobustAccuracies, nothing_finite
from bench.evaluate.traits import output_flags
from bench.spec import FamilySpec

__all__ = ["Transfer", "TransferConfig"]


class TransferConfig(AttackSeedsConfig, AdversarialsConfig):
    """Parameters of the attack."""

    source: str = Field(description="The model of the suite whose adversarial images are shown to the others")
    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    eps: tuple[str, ...] = Field(min_length=1, description='Budgets in units of the pixel range, such as "8/255"')
    loss: Literal["ce", "margin", "dlr", "margin-targeted"] = Field("margin", description="Loss on the source")
    steps: PositiveInt = Field(100, description="Gradient steps of each run")
    step: str = Field("eps/10", description="First step size, halved after 50 % and 75 % of the steps")
    restarts: PositiveInt = Field(1, description="Random starts; an item that is broken is not attacked again")
    items: PositiveInt = Field(1000, description="Attacked test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no verdict of the gradients")

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return written_budgets(values, info.data.get("norm"))

    @field_validator("step")
    @classmethod
    def _step(cls, value: str) -> str:
        return parse_step(value).text

    @model_validator(mode="after")
    def _reach(self) -> Self:
        for eps in self.eps:
            definitions.checked_reach(self.steps, parse_step(self.step), parse_eps(eps))
        return self


class Transfer(Evaluation):
    """Accuracy under an attack that never asks the model for a gradient, only another model of the suite.

    A model that is robust under its own gradients and not under those of others hides its gradients. The reverse says
    nothing: images of one model need not fool another, so the number alone is always ``inconclusive``.
    """

    name = "transfer"
    version = 2
    summary = "Accuracy on adversarial images that were made for another model of the suite."
    source = "Papernot et al. 2016, arXiv:1605.07277; Carlini et al. 2019, section 4 (transfer as a check of masking)"
    Config = TransferConfig
    model_fields = ("source",)
    reads_model = True

    def label(self, config: TransferConfig) -> str:
        """With the source."""
        return f"transfer from {config.source}"

    def columns(self, config: TransferConfig) -> tuple[Column, ...]:
        """Robust accuracy at each budget."""
        return tuple(
            Column(
                metric="robust",
                argument=eps,
                label=eps,
                group=self.label(config),
                unit="fraction",
                direction="up",
                definition=repeated(config, _definition(config, eps)),
                primary=True,
                test=paired_test(config),
            )
            for eps in config.eps
        )

    def parts(self, config: TransferConfig) -> tuple[Part, ...]:
        """One a budget: adding one recomputes none of the others."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def passes(self, config: TransferConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """A forward and an input gradient a step on the source, and the judge's two forwards."""
        each = config.attack_seeds * (2.0 * config.steps * config.restarts + 2) + 1
        return min(config.items, items) * len(config.eps) * each

    def impossible(self, config: TransferConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """The loss needs more classes."""
        return catalogue.find("transfer").impossible(config.norm, {"loss": config.loss}, image_shape, classes)

    def of_itself(self, config: TransferConfig) -> str:
        """Gradients of the model itself are no transfer."""
        return f"{config.source} is the source of the adversarial images"

    def evaluate(self, config: TransferConfig, inputs: Inputs) -> Outcome:
        """Attack the source; the judge of ``bench.attacks`` decides on the model."""
        import numpy as np

        from bench import attacks
        from bench.attacks.diagnostics import transfer_flag

        (eps,) = config.eps
        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        model, source = inputs.model(), inputs.other(config.source)
        clean = attacks.CleanPass(model, config.batch_size)
        definition, seeds = _definition(config, eps), attack_seeds(config)
        results = []
        for run, seed in enumerate(seeds):
            result = attacks.run(
                "transfer",
                model,
                test.unit_images(),
                test.labels,
                norm=config.norm,
                eps=eps,
                seed=seed,
                ids=test.ids,
                surrogate=source,
                batch_size=config.batch_size,
                journal=inputs.journal,
                clean=clean,
                loss=config.loss,
                steps=config.steps,
                step=config.step,
                restarts=config.restarts,
            )
            assert result.definition in definition
            if not result.clean_finite.any():
                return nothing_finite(self.columns(config), len(test))
            results.append(result)
            inputs.progress({"done": run + 1, "total": len(seeds)})
        flags = [transfer_flag(), *output_flags(model, test.unit_images(), inputs.device)]
        accuracies = RobustAccuracies(eps, seeds)
        accuracies.add("robust", repeated(config, definition), stacked([r.robust for r in results]), flags)
        first = results[0]
        details = {
            "attack": first.definition,
            "source": inputs.digests[inputs.spec["others"][config.source]],
            "not_finite": int((~first.clean_finite).sum()),
            **accuracies.details,
        }
        items = {"ids": test.ids, "clean": first.clean_correct, **accuracies.items, **item_arrays(first)}
        if not config.adversarials:
            return Outcome(accuracies.numbers, items, details=details)
        files, kept = packed(test.ids, broken_by_runs("robust", eps, config.norm, eps, results))
        return Outcome(accuracies.numbers, items, files, details | {"adversarials": kept})


def _definition(config: TransferConfig, eps: str) -> str:
    attack = definitions.transfer(
        norm=config.norm,
        eps=parse_eps(eps),
        steps=config.steps,
        step=config.step,
        loss=config.loss,
        restarts=config.restarts,
    )
    return f"accuracy on adversarial images of {config.source}: {attack}"
