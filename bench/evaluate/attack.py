"""Any attack of ``bench.attacks``, a library's or our own, by its name: for comparisons between attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from bench.attacks import catalogue
from bench.attacks.parameters import check_parameters
from bench.evaluate.adversarials import broken_by_runs, packed
from bench.evaluate.attack_seeds import AttackSeedsConfig, attack_seeds, paired_test, per_seed, repeated, stacked
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Column, Evaluation, Outcome, Part
from bench.evaluate.budgets import written_budgets
from bench.evaluate.cw_l2 import next_random
from bench.evaluate.inputs import Inputs
from bench.evaluate.norms import NormConfig, norm_columns, norm_outcome
from bench.evaluate.robust import RobustAccuracies, nothing_finite, nothing_measured
from bench.evaluate.traits import output_flags
from bench.spec import FamilySpec

if TYPE_CHECKING:
    from bench.attacks import AttackResult, Flag

__all__ = ["NamedAttack", "NamedAttackConfig"]


class NamedAttackConfig(AttackSeedsConfig, NormConfig):
    """Parameters of the evaluation; those of the attack are in ``params``."""

    attack: str = Field(description='An attack of `bench list attacks`, such as "torchattacks.APGD"')
    params: Mapping[str, Any] = Field(
        default_factory=dict, description="Parameters of the attack (`bench describe <attack>`); others have defaults"
    )
    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    eps: tuple[str, ...] = Field(
        (), description='Budgets such as "8/255"; may be left out for attacks that minimise the L2 norm'
    )
    targets: Literal["none", "next-random"] = Field(
        "none",
        description='"none": any wrong class; "next-random": (y + r) mod K, r uniform in 1..K-1 by seed and item',
    )
    items: PositiveInt = Field(1000, description="Attacked test items: the first of the fixed order")
    batch_size: PositiveInt = Field(
        64, description="Items of a forward pass; part of the definition, because libraries may let a batch decide"
    )

    @field_validator("attack")
    @classmethod
    def _attack(cls, value: str) -> str:
        if catalogue.find(value).needs_surrogate:
            raise ValueError(f"{value!r} needs another model: use kind = {value!r}")
        return value

    @field_validator("params")
    @classmethod
    def _params(cls, values: Mapping[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("attack")
        if name is None:
            return dict(values)
        entry = catalogue.find(name)
        entry.resolve(values)
        for key, value in values.items():
            _checked_type(name, key, value, entry.parameters[key])
        return dict(values)

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return written_budgets(values, info.data.get("norm"))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        entry = catalogue.find(self.attack)
        if self.norm not in entry.norms:
            raise ValueError(f"{self.attack} knows norm {' and '.join(entry.norms)}, not {self.norm}")
        if not self.eps and not (entry.minimises_norm and self.norm == "l2"):
            raise ValueError(f"{self.attack} with norm {self.norm} needs eps")
        if self.targets != "none" and not entry.targetable:
            raise ValueError(f"{self.attack} takes no targets")
        if self.attack_seeds > 1 and not self.eps:
            raise ValueError("attack_seeds is for accuracies at budgets (eps), not for norms")
        if self.attack_seeds > 1 and not entry.random(self.resolved):
            raise ValueError(f"attack_seeds = {self.attack_seeds}: {self.attack} draws nothing with these parameters")
        check_parameters(self.attack, self.resolved, self.eps, targeted=self.targets != "none")
        return self

    @property
    def resolved(self) -> dict[str, Any]:
        """All parameters of the attack."""
        return catalogue.find(self.attack).resolve(self.params)


def _checked_type(attack: str, key: str, value: object, default: object) -> None:
    """A parameter is of the kind of its default; numbers may be written without a point.

    Raises:
        ValueError: It is not.
    """
    if default is None or isinstance(default, str) or isinstance(value, type(default)):
        suitable = not isinstance(value, bool) or isinstance(default, bool | None)
    else:
        suitable = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
        suitable |= isinstance(default, tuple) and isinstance(value, list)
    if not suitable:
        raise ValueError(f"{attack}: {key} must be like its default {default!r}, got {value!r}")


class NamedAttack(Evaluation):
    """One attack, judged like all others: a library's success flag is never read.

    With ``eps``, accuracy at each budget, every budget an attack and a job of its own; without, norms as for C&W. A
    library does not tell whether its gradients vanished, nor does one attack tell what another would leave: accuracies
    are ``inconclusive``, and the worst case (``adaptive``) is what may be quoted.
    """

    name = "attack"
    version = 2
    summary = "Accuracy or norms under one attack by its name: torchattacks, foolbox, or our own."
    source = "The attack's own: bench describe <attack>"
    Config = NamedAttackConfig
    reads_model = True

    def label(self, config: NamedAttackConfig) -> str:
        """The attack."""
        return f"{config.attack}{'' if config.targets == 'none' else ' targeted'}"

    def columns(self, config: NamedAttackConfig) -> tuple[Column, ...]:
        """Robust accuracy at each budget; without budgets those of norms."""
        if not config.eps:
            return norm_columns(self.label(config), _definition(config), config.curve)
        return tuple(
            Column(
                metric="robust",
                argument=eps,
                label=eps,
                group=self.label(config),
                unit="fraction",
                direction="up",
                definition=_accuracy_definition(config, eps),
                primary=True,
                test=paired_test(config),
            )
            for eps in config.eps
        )

    def parts(self, config: NamedAttackConfig) -> tuple[Part, ...]:
        """One a budget."""
        if not config.eps:
            return (Part("", config),)
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def passes(self, config: NamedAttackConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """From the steps that the attack says; a backward through the weights as well, as libraries do."""
        given = config.resolved
        steps = next((given[key] for key in ("steps", "n_queries") if key in given), 100)
        rounds = next((given[key] for key in ("binary_search_steps", "rounds") if key in given), 1)
        each = 1.0 if "n_queries" in given else 3.0
        total = each * float(steps) * float(rounds) * float(given.get("restarts", 1))
        return min(config.items, items) * max(len(config.eps), 1) * (config.attack_seeds * (total + 1) + 1)

    def impossible(self, config: NamedAttackConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """What the attack says of such images."""
        return catalogue.find(config.attack).impossible(config.norm, config.resolved, image_shape, classes)

    def evaluate(self, config: NamedAttackConfig, inputs: Inputs) -> Outcome:
        """Attack; the judge of ``bench.attacks`` decides."""
        import numpy as np

        from bench import attacks

        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        targets = None
        if config.targets == "next-random":
            targets = next_random(test.labels, test.ids, inputs.num_classes, config.seed)
        model = inputs.model()
        if _needs_centers(config) and model.class_centers() is None:
            reason = "the family has no class centers"
            return nothing_measured(self.columns(config), reason)
        clean = attacks.CleanPass(model, config.batch_size)
        results = []
        for run, seed in enumerate(attack_seeds(config)):
            result = attacks.run(
                config.attack,
                model,
                test.unit_images(),
                test.labels,
                norm=config.norm,
                eps=config.eps[0] if config.eps else None,
                seed=seed,
                ids=test.ids,
                targets=targets,
                batch_size=config.batch_size,
                journal=inputs.journal,
                clean=clean,
                **config.params,
            )
            if not result.clean_finite.any():
                return nothing_finite(self.columns(config), len(test))
            results.append(result)
            inputs.progress({"done": run + 1, "total": config.attack_seeds})
        more = {} if targets is None else {"targets": targets}
        if not config.eps:
            return norm_outcome(config, results[0], self.columns(config), more)
        flags = output_flags(model, test.unit_images(), inputs.device)
        return _accuracy(config, self.columns(config)[0], results, more, flags)


def _needs_centers(config: NamedAttackConfig) -> bool:
    return str(config.resolved.get("loss", "")).startswith("distance")


def _accuracy(
    config: NamedAttackConfig,
    column: Column,
    results: Sequence[AttackResult],
    more: Mapping[str, Any],
    flags: Sequence[Flag],
) -> Outcome:
    accuracies = RobustAccuracies(column.argument, attack_seeds(config))
    accuracies.add("robust", column.definition, stacked([result.robust for result in results]), flags)
    first = results[0]
    items = {
        "ids": first.ids,
        "clean": first.clean_correct,
        **per_seed("success", stacked([result.success for result in results])),
        **accuracies.items,
        **item_arrays(first),
        **more,
    }
    details = {"attack": first.definition, "not_finite": int((~first.clean_finite).sum()), **accuracies.details}
    if not config.adversarials:
        return Outcome(accuracies.numbers, items, details=details)
    (eps,) = config.eps
    files, facts = packed(first.ids, broken_by_runs("robust", eps, config.norm, eps, results))
    return Outcome(accuracies.numbers, items, files, details | {"adversarials": facts})


def _accuracy_definition(config: NamedAttackConfig, eps: str) -> str:
    return repeated(config, f"accuracy under {_definition(config, eps)}")


def _definition(config: NamedAttackConfig, eps: str | None = None) -> str:
    """All resolved parameters; the library's version is in the record, since another one makes another number."""
    parts = [eps] if eps is not None else []
    parts += [f"{key}={_written(value)}" for key, value in config.resolved.items()]
    parts += ["targets (y + r) mod K with r uniform in 1..K-1 by seed and id"] if config.targets != "none" else []
    # Libraries see logits shifted to be positive: see bench.attacks.library.
    shifted = ", on shifted logits" if "." in config.attack else ""
    return f"{config.attack}-{config.norm}[{', '.join(parts)}, batches of {config.batch_size}{shifted}]"


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
