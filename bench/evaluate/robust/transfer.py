"""Accuracy on the adversarial images of another model of the suite."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveInt, WithJsonSchema, field_validator, model_validator

from bench.attacks.losses import LOSSES, get_loss, loss_schema
from bench.attacks.transfer import TransferAttack
from bench.evaluate.base import Column, Outcome
from bench.evaluate.robust.accuracies import one_accuracy
from bench.evaluate.robust.budgets import BudgetsConfig, OnBudgets
from bench.evaluate.robust.kept import AdversarialsConfig
from bench.evaluate.robust.search import SearchConfig, search_facts
from bench.evaluate.robust.under_attack import Subject
from bench.spec import FamilySpec

__all__ = ["Transfer", "TransferConfig"]

_LOSSES = tuple(name for name, loss in LOSSES.items() if not loss.needs_centers)
"""Losses that need nothing of the source but its logits."""


class TransferConfig(BudgetsConfig, AdversarialsConfig, SearchConfig):
    """Parameters of the attack."""

    source: str = Field(description="The model of the suite whose adversarial images are shown to the others")
    loss: Annotated[str, WithJsonSchema(loss_schema(_LOSSES))] = Field("margin", description="Loss on the source")
    steps: PositiveInt = Field(100, description="Gradient steps of each run")
    step: str = Field("eps/10", description="First step size, halved after 50 % and 75 % of the steps")
    restarts: PositiveInt = Field(1, description="Random starts; an item that is broken is not attacked again")

    @field_validator("loss")
    @classmethod
    def _loss(cls, value: str) -> str:
        return get_loss(value, _LOSSES).name

    @model_validator(mode="after")
    def _reach(self) -> Self:
        for eps in self.eps:
            self.attack.check(self.threat(eps), targeted=False)
        return self

    @property
    def attack(self) -> TransferAttack:
        """The attack with these parameters."""
        return TransferAttack().configured(
            {name: getattr(self, name) for name in ("loss", "steps", "step", "restarts", "search_precision")}
        )

    def definition(self, eps: str) -> str:
        """The definition of the accuracy at a budget."""
        return f"accuracy on adversarial images of {self.source}: {self.attack.definition(self.threat(eps))}"


class Transfer(OnBudgets):
    """Accuracy under an attack that uses gradients of another model of the suite, never those of the measured model.

    A model that is robust to its own gradients but not to those of other models masks its gradients. The reverse does
    not hold: images of one model need not fool another, so the number alone is always ``inconclusive``.
    """

    name = "transfer"
    version = 2
    summary = "Accuracy on adversarial images that were made for another model of the suite."
    source = "Papernot et al. 2016, arXiv:1605.07277; Carlini et al. 2019, section 4 (transfer as a check of masking)"
    Config = TransferConfig
    model_fields = ("source",)

    def label(self, config: TransferConfig) -> str:
        """The name with the source."""
        return f"transfer from {config.source}"

    def columns(self, config: TransferConfig) -> tuple[Column, ...]:
        """Robust accuracy at each budget."""
        return self.robust_columns(config, config.definition)

    def passes(self, config: TransferConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of the attack on the source, and those of the judge."""
        each = config.attack_seeds * (config.attack.passes() + 2) + 1
        return min(config.items, items) * len(config.eps) * each

    def impossible(self, config: TransferConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why the loss does not apply (too few classes), or None."""
        return config.attack.impossible(config.norm, image_shape, classes)

    def of_itself(self, config: TransferConfig) -> str:
        """Why the source is not measured: an attack with its own gradients is not transfer."""
        return f"{config.source} is the source of the adversarial images"

    def measure(self, config: TransferConfig, subject: Subject) -> Outcome:
        """Attack the source and judge the images on the measured model."""
        from bench.attacks.verdict import transfer_flag

        (eps,) = config.eps
        inputs = subject.inputs
        source = inputs.other(config.source)
        results = subject.each_seed(
            lambda seed, _done: subject.attack(config.attack, seed=seed, eps=eps, surrogate=source)
        )
        (column,) = self.columns(config)
        digest = inputs.digests[inputs.task.others[config.source].key]
        facts = search_facts(config, results[0])
        return one_accuracy(column, config, results, [transfer_flag(), *subject.output_flags()], source=digest, **facts)
