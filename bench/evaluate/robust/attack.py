"""Accuracy or norms under any attack of ``bench.attacks`` by name, for comparisons between attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from bench.attacks.named import named_attack
from bench.attacks.spec import Attack, written
from bench.attacks.threat import ThreatModel
from bench.evaluate.base import Column, Outcome, Part, Used
from bench.evaluate.robust.accuracies import nothing_measured, one_accuracy, per_seed, stacked
from bench.evaluate.robust.budgets import BudgetsConfig, OnBudgets
from bench.evaluate.robust.norms import NormConfig, norm_columns, norm_outcome
from bench.evaluate.robust.under_attack import NEXT_RANDOM, Subject
from bench.spec import FamilySpec

__all__ = ["NamedAttack", "NamedAttackConfig"]


class NamedAttackConfig(BudgetsConfig, NormConfig):
    """Parameters of the evaluation; those of the attack are in ``params``."""

    attack: str = Field(description='An attack of `bench list attacks`, such as "torchattacks.APGD"')
    params: Mapping[str, Any] = Field(
        default_factory=dict, description="Parameters of the attack (`bench describe <attack>`); others have defaults"
    )
    eps: tuple[str, ...] = Field(
        (), description='Budgets such as "8/255"; may be left out for attacks that minimise the L2 norm'
    )
    targets: Literal["none", "next-random"] = Field(
        "none",
        description='"none": any wrong class; "next-random": (y + r) mod K, r uniform in 1..K-1 by seed and item',
    )
    batch_size: PositiveInt = Field(
        64, description="Items of a forward pass; part of the definition, because libraries may let a batch decide"
    )

    @field_validator("attack")
    @classmethod
    def _attack(cls, value: str) -> str:
        if named_attack(value).needs_surrogate:
            raise ValueError(f"{value!r} needs another model: use kind = {value!r}")
        return value

    @field_validator("params")
    @classmethod
    def _params(cls, values: Mapping[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("attack")
        if name is not None:
            named_attack(name, values)
        return dict(values)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        attack, targeted = self.named, self.targets != "none"
        if self.norm not in attack.norms:
            raise ValueError(f"{self.attack} knows norm {' and '.join(attack.norms)}, not {self.norm}")
        if not self.eps and not (attack.minimises_norm and self.norm == "l2"):
            raise ValueError(f"{self.attack} with norm {self.norm} needs eps")
        if targeted and not attack.targetable:
            raise ValueError(f"{self.attack} takes no targets")
        if self.attack_seeds > 1 and not self.eps:
            raise ValueError("attack_seeds is for accuracies at budgets (eps), not for norms")
        if self.attack_seeds > 1 and not attack.is_random:
            raise ValueError(f"attack_seeds = {self.attack_seeds}: {self.attack} draws nothing with these parameters")
        for threat in [self.threat(eps) for eps in self.eps] or [ThreatModel("l2", float("inf"))]:
            attack.check(threat, targeted=targeted)
        return self

    @property
    def named(self) -> Attack:
        """The attack with its parameters."""
        return named_attack(self.attack, self.params)

    def definition(self, eps: str | None = None) -> str:
        """All resolved parameters. The version of the library, on which numbers may depend, is in the record."""
        parts = [eps] if eps is not None else []
        parts += [f"{key}={written(value)}" for key, value in self.named.stated.items()]
        parts += [NEXT_RANDOM] if self.targets != "none" else []
        # Libraries get shifted, positive logits: see bench.attacks.library.
        shifted = ", on shifted logits" if "." in self.attack else ""
        return f"{self.attack}-{self.norm}[{', '.join(parts)}, batches of {self.batch_size}{shifted}]"


class NamedAttack(OnBudgets):
    """One attack, judged like all others: success flags of libraries are never read.

    With ``eps``, accuracy at each budget, where every budget is an attack and a separate job; without, norms as for
    C&W. Libraries do not report vanishing gradients, and one attack does not bound the effect of another. So accuracies
    are ``inconclusive``; the worst case (``adaptive``) is the number to quote.
    """

    name = "attack"
    version = 3
    summary = "Accuracy or norms under one attack by its name: torchattacks, foolbox, or our own."
    source = "The attack's own: bench describe <attack>"
    Config = NamedAttackConfig

    def label(self, config: NamedAttackConfig) -> str:
        """The name of the attack."""
        return f"{config.attack}{'' if config.targets == 'none' else ' targeted'}"

    def columns(self, config: NamedAttackConfig) -> tuple[Column, ...]:
        """Robust accuracy at each budget; without budgets the columns of norms."""
        if not config.eps:
            return norm_columns(self.label(config), config.definition(), config.curve)
        return self.robust_columns(config, lambda eps: f"accuracy under {config.definition(eps)}")

    def parts(self, config: NamedAttackConfig) -> tuple[Part, ...]:
        """One job per budget; one job without budgets."""
        return super().parts(config) if config.eps else (Part("", config),)

    def passes(self, config: NamedAttackConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of the attack and of the judge."""
        each = config.attack_seeds * (config.named.passes() + 1) + 1
        return min(config.items, items) * max(len(config.eps), 1) * each

    def impossible(self, config: NamedAttackConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why the attack cannot run on such images, or None."""
        return config.named.impossible(config.norm, image_shape, classes)

    def uses(self, config: NamedAttackConfig) -> tuple[Used, ...]:
        """An attack that is not ours: ours belong to the version of this evaluation."""
        attack = config.named
        module = type(attack).__module__
        return () if module.startswith("bench.attacks.") else (Used("attack", attack.name, attack.version, module),)

    def measure(self, config: NamedAttackConfig, subject: Subject) -> Outcome:
        """Run the attack under every attack seed."""
        attack, targets = config.named, subject.targets
        if attack.needs_centers and subject.model.class_centers() is None:
            return nothing_measured(self.columns(config), "the family has no class centers")
        eps = config.eps[0] if config.eps else None
        results = subject.each_seed(lambda seed, _: subject.attack(attack, seed=seed, eps=eps, **targets))
        if eps is None:
            return norm_outcome(config, results[0], self.columns(config), targets)
        success = per_seed("success", stacked([result.success for result in results]))
        (column,) = self.columns(config)
        return one_accuracy(column, config, results, subject.output_flags(), before=success, after=targets)
