"""Accuracy under projected gradient descent with the paper's loss and with other losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, WithJsonSchema, field_validator

from bench.attacks.losses import get_loss, listed_losses, loss_schema
from bench.attacks.pgd import PGDAttack
from bench.attacks.random_points import RandomPoints
from bench.evaluate.base import Column, Outcome
from bench.evaluate.robust.accuracies import (
    RobustAccuracies,
    attack_seeds,
    healthiest,
    item_arrays,
    no_value,
    paired_test,
    per_seed,
    repeated,
    share_number,
    spread,
    stacked,
    start_health,
    zero_starts,
)
from bench.evaluate.robust.budgets import BudgetsConfig, OnBudgets
from bench.evaluate.robust.kept import AdversarialsConfig, broken_by_runs
from bench.evaluate.robust.search import SearchConfig, search_facts
from bench.evaluate.robust.under_attack import Subject
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Flag

__all__ = ["PGD", "PGDConfig"]


class PGDConfig(BudgetsConfig, AdversarialsConfig, SearchConfig):
    """Parameters of PGD."""

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
    batch_size: PositiveInt = Field(
        128, description="Items of a forward pass, more on a GPU with room; changes no verdict"
    )

    @field_validator("losses")
    @classmethod
    def _losses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return listed_losses(values)

    def attack(self, loss: str) -> PGDAttack:
        """The attack with one loss."""
        names = ("steps", "step", "restarts", "iterate", "search_precision")
        return PGDAttack().configured({"loss": loss, **{name: getattr(self, name) for name in names}})

    def definition(self, loss: str, eps: str) -> str:
        """The definition of the accuracy under one loss, which is that of the attack."""
        return self.attack(loss).definition(self.threat(eps))

    def worst_definition(self, eps: str) -> str:
        """The definition of the worst case over the losses."""
        limits = {loss: get_loss(loss).limits(None) for loss in self.losses}
        over = [f"{loss} ({', '.join(found)})" if found else loss for loss, found in limits.items()]
        attack = self.attack("ce").defined(self.threat(eps), "each of these losses")
        return f"worst case per item over {', '.join(over)}: {attack}"

    def zero_definition(self, eps: str) -> str:
        """The definition of the zero-gradient share."""
        return (
            f"share of clean-correct items whose {self.losses[0]} input gradient is exactly zero at the start of "
            f"{self.definition(self.losses[0], eps)}"
        )


class PGD(OnBudgets):
    """White-box PGD at fixed budgets: every budget is an independent attack and a separate job.

    Robust means correct on the clean image and on the adversarial one; accuracy is over all attacked items. All
    numbers are upper bounds. Each has a verdict: ``masked`` if the gradients of the loss vanish, or if the accuracy
    under another loss is significantly lower; ``confirmed`` if the gradients vanish, but the accuracy under another
    loss with gradients is not lower.
    """

    name = "pgd"
    version = 2
    summary = "Accuracy under L_inf (or L2) PGD: cross-entropy as in the paper, margin beside it."
    source = "GMMC paper, Table 5; Madry et al. 2018; Carlini and Wagner 2017 for the margin"
    Config = PGDConfig
    any_batch = True

    def label(self, config: PGDConfig) -> str:
        """The name with the number of steps."""
        return f"PGD-{config.steps}"

    def columns(self, config: PGDConfig) -> tuple[Column, ...]:
        """Robust accuracy by loss and budget, the worst case over losses, and the zero-gradient share."""
        return tuple(column for eps in config.eps for column in self._columns(config, eps))

    def _columns(self, config: PGDConfig, eps: str) -> list[Column]:
        common: dict[str, Any] = {"argument": eps, "group": f"{self.label(config)}, {eps}", "unit": "fraction"}
        accuracy: dict[str, Any] = {**common, "direction": "up", "test": paired_test(config)}
        columns = [
            Column(
                metric=get_loss(loss).column,
                label={"ce": "CE"}.get(loss, loss),
                definition=repeated(config, config.definition(loss, eps)),
                primary=loss == config.losses[0],
                **accuracy,
            )
            for loss in config.losses
        ]
        worst, zero = (repeated(config, text) for text in (config.worst_definition(eps), config.zero_definition(eps)))
        columns.append(Column(metric="worst-case", label="worst case", definition=worst, **accuracy))
        columns.append(Column(metric="zero-gradient", label="zero grad", direction=None, definition=zero, **common))
        return columns

    def passes(self, config: PGDConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The attacks, two forward passes of the judge each, and random points, for each attack seed."""
        each = len(config.losses) * (config.attack("ce").passes() + 2) + config.noise
        return min(config.items, items) * len(config.eps) * config.attack_seeds * each

    def measure(self, config: PGDConfig, subject: Subject) -> Outcome:
        """Attack with each loss that applies to the model, then attack the remaining items with random points."""
        (eps,) = config.eps
        centers, classes = subject.model.class_centers() is not None, subject.inputs.num_classes
        reasons = {loss: get_loss(loss).lacking(centers, classes) for loss in config.losses}
        lacking = {loss: reason for loss, reason in reasons.items() if reason is not None}

        losses = [loss for loss in config.losses if loss not in lacking]

        def attacked(seed: int, done: Callable[[int], None]) -> tuple[dict[str, AttackResult], NDArray[np.bool_]]:
            results = {}
            for number, loss in enumerate(losses):
                results[loss] = subject.attack(config.attack(loss), seed=seed, eps=eps)
                done(number + 1)
            return results, _noise(config, subject, seed, eps, results)

        runs = subject.each_seed(attacked, max(len(losses), 1))
        results = {loss: [found[loss] for found, _ in runs] for loss in losses}
        noise = stacked([broken for _, broken in runs])
        return _outcome(config, eps, results, lacking, subject.output_flags(), noise)


def _noise(
    config: PGDConfig, subject: Subject, seed: int, eps: str, results: Mapping[str, AttackResult]
) -> NDArray[np.bool_]:
    """(N,) whether random points break the item; only items that some loss did not break are tried."""
    import numpy as np

    broken = np.zeros(len(subject.test), dtype=np.bool_)
    left = np.flatnonzero(np.logical_or.reduce([result.robust for result in results.values()] or [broken]))
    if config.noise and len(left):
        found = subject.attack(RandomPoints(draws=config.noise), seed=seed, eps=eps, rows=left)
        broken[left] = found.success
    return broken


def _outcome(
    config: PGDConfig,
    eps: str,
    results: Mapping[str, Sequence[AttackResult]],
    lacking: Mapping[str, str],
    shared: Sequence[Flag],
    noise: NDArray[np.bool_],
) -> Outcome:
    """The numbers of one budget.

    Args:
        config: Parameters with one budget.
        eps: This budget.
        results: For each loss that applies, one result per attack seed, all on the same N items.
        lacking: For each other loss, why it does not apply to the model.
        shared: Checks of the model's outputs.
        noise: (N,) whether random points of the ball broke the item; (N, A) for A attack seeds.
    """
    import numpy as np

    from bench.attacks.diagnostics import loss_gap_flag, noise_flag

    found = RobustAccuracies(eps, attack_seeds(config))
    numbers = found.numbers

    def add(metric: str, definition: str, robust: NDArray[np.bool_], own: Sequence[Flag]) -> None:
        chance = [noise_flag(robust, robust & ~noise, config.noise)] if config.noise else []
        found.add(metric, repeated(config, definition), robust, [*own, *chance, *shared])

    def add_absent(metric: str, definition: str, reason: str) -> None:
        numbers.append(no_value(metric, eps, repeated(config, definition), reason))

    robust = {loss: stacked([run.robust for run in runs]) for loss, runs in results.items()}
    health = {loss: flag for loss, runs in results.items() if (flag := start_health(runs)) is not None}
    for loss in config.losses:
        metric, definition = get_loss(loss).column, config.definition(loss, eps)
        if loss not in results:
            add_absent(metric, definition, lacking[loss])
            continue
        others = {name: other for name, other in robust.items() if name != loss}
        add(metric, definition, robust[loss], _flags(loss, robust[loss], others, health))
    worst_text, zero_text = config.worst_definition(eps), config.zero_definition(eps)
    if not results:
        reason = "; ".join(dict.fromkeys(lacking.values()))
        add_absent("worst-case", worst_text, reason)
        add_absent("zero-gradient", zero_text, reason)
        return Outcome(numbers)
    worst = np.logical_and.reduce(list(robust.values()))
    # The worst case is as reliable as its healthiest member: a masked loss does not weaken it.
    flags = healthiest(list(health.values()))
    if len(results) > 1:
        flags.append(loss_gap_flag(worst, robust, "the worst case"))
    add("worst-case", worst_text, worst, flags)
    zero = zero_starts(results[config.losses[0]]) if config.losses[0] in results else None
    if zero is None:
        add_absent("zero-gradient", zero_text, lacking[config.losses[0]])
    elif not len(zero):
        add_absent("zero-gradient", zero_text, "no item is classified correctly")
    else:
        numbers.append(share_number("zero-gradient", eps, repeated(config, zero_text), zero))
        if zero.ndim == 2:
            found.spreads["zero-gradient"] = spread(zero)
    items: dict[str, NDArray[Any]] = {}
    for loss, runs in results.items():
        items |= item_arrays(runs[0], f"{loss}.")
        if runs[0].success_any is not None:
            any_iterate = [run.clean_correct & ~run.success_any for run in runs if run.success_any is not None]
            items |= per_seed(f"{loss}.robust_any", stacked(any_iterate))
    broken = None
    if config.adversarials:
        kept = {get_loss(loss).column: runs for loss, runs in results.items()}
        broken = [one for name, runs in kept.items() for one in broken_by_runs(name, config.norm, eps, runs)]
    first = next(iter(results.values()))[0]
    return found.outcome(first, items, search_facts(config, first), broken)


def _flags(
    loss: str, robust: NDArray[np.bool_], others: Mapping[str, NDArray[np.bool_]], health: Mapping[str, Flag]
) -> list[Flag]:
    """GRAD0, revised by the losses whose gradients do not vanish, and LOSSGAP."""
    from bench.attacks.diagnostics import answered_by, loss_gap_flag

    gap = [loss_gap_flag(robust, others, loss)] if others else []
    if loss not in health:
        return gap
    alive = {name: other for name, other in others.items() if name in health and not health[name].raised}
    return [answered_by(health[loss], robust, alive), *gap]
