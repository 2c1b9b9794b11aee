"""Accuracy under projected gradient descent, with the paper's loss and others beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from bench.attacks.threat import parse_step
from bench.evaluate.adversarials import AdversarialsConfig, Broken, packed
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Column, Evaluation, Number, Outcome, Part
from bench.evaluate.budgets import written_budgets
from bench.evaluate.inputs import Inputs
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Flag

__all__ = ["PGD", "PGDConfig"]

LOSSES = ("ce", "margin", "margin-targeted", "dlr", "distance", "distance-targeted")
"""Losses by name; ``ce@T`` besides, the cross-entropy at temperature T."""


class PGDConfig(AdversarialsConfig):
    """Parameters of PGD."""

    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    eps: tuple[str, ...] = Field(min_length=1, description='Budgets in units of the pixel range, such as "8/255"')
    steps: PositiveInt = Field(40, description="Gradient steps", json_schema_extra={"paper": "40"})
    step: str = Field(
        "eps/30",
        description='Step size: "eps/30", or absolute such as "2/255"',
        json_schema_extra={"paper": "not stated", "code": "eps/30 (JEM, through foolbox)"},
    )
    losses: tuple[str, ...] = Field(
        ("ce", "margin"),
        min_length=1,
        description="Losses, each an attack of its own; the first is the paper's",
        json_schema_extra={"paper": "not stated"},
    )
    restarts: PositiveInt = Field(1, description="Random starts of each attack")
    iterate: Literal["final", "any"] = Field(
        "final", description="Whether the final iterate decides, or any wrong iterate is enough"
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
        budgets = written_budgets(values, info.data.get("norm"))
        if len(set(budgets)) != len(budgets):
            raise ValueError("a budget is listed twice")
        return budgets

    @field_validator("step")
    @classmethod
    def _step(cls, value: str) -> str:
        return parse_step(value).text

    @field_validator("losses")
    @classmethod
    def _losses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value not in LOSSES and not re.fullmatch(r"ce@\d+(\.\d+)?", value):
                raise ValueError(f"unknown loss {value!r}, expected one of {', '.join(LOSSES)}, ce@<temperature>")
        if len(set(values)) != len(values):
            raise ValueError("a loss is listed twice")
        return values


class PGD(Evaluation):
    """White-box PGD at fixed budgets: every budget is an independent attack and a job of its own.

    Robust means correct on the clean image and on the adversarial one; accuracy is over all attacked items. All
    numbers are upper bounds. A verdict stands beside each: ``masked`` if the loss's gradients vanish, or if another
    loss leaves significantly less.
    """

    name = "pgd"
    version = 1
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
                    label=_SHORT.get(loss, loss),
                    group=f"{self.label(config)}, {eps}",
                    unit="fraction",
                    direction="up",
                    definition=_definition(config, loss, eps),
                    primary=loss == config.losses[0],
                    test="mcnemar",
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
                    definition=_worst_definition(config, eps),
                    test="mcnemar",
                ),
                Column(
                    metric="zero-gradient",
                    argument=eps,
                    label="zero grad",
                    group=f"{self.label(config)}, {eps}",
                    unit="fraction",
                    direction=None,
                    definition=_zero_definition(config, eps),
                ),
            ]
        return tuple(columns)

    def parts(self, config: PGDConfig) -> tuple[Part, ...]:
        """One a budget: adding one recomputes none of the others."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def passes(self, config: PGDConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """A forward and an input gradient a step, and the judge's two forwards."""
        attacked = min(config.items, items)
        return attacked * len(config.eps) * len(config.losses) * (2.0 * config.steps * config.restarts + 2)

    def evaluate(self, config: PGDConfig, inputs: Inputs) -> Outcome:
        """Attack with each loss; the judge of ``bench.attacks`` decides."""
        import numpy as np

        from bench import attacks

        (eps,) = config.eps
        model = inputs.model()
        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        results: dict[str, AttackResult] = {}
        for done, loss in enumerate(config.losses):
            if loss.startswith("distance") and model.class_centers() is None:
                continue
            results[loss] = attacks.run(
                "pgd",
                model,
                test.unit_images(),
                test.labels,
                norm=config.norm,
                eps=eps,
                seed=config.seed,
                ids=test.ids,
                batch_size=config.batch_size,
                journal=inputs.journal,
                loss=loss,
                steps=config.steps,
                step=config.step,
                restarts=config.restarts,
                iterate=config.iterate,
            )
            assert results[loss].definition == _definition(config, loss, eps)
            inputs.progress({"done": done + 1, "total": len(config.losses)})
        return _outcome(config, eps, results, test.ids)


_SHORT = {"ce": "CE"}


def _definition(config: PGDConfig, loss: str, eps: str) -> str:
    return _attack(config, f"{loss}, all rivals" if loss.endswith("-targeted") else loss, eps)


def _attack(config: PGDConfig, losses: str, eps: str) -> str:
    restarts = f"{config.restarts} restart{'s' if config.restarts > 1 else ''}"
    return (
        f"pgd-{config.norm}[{config.steps}, {eps}, step={config.step}, {losses}, {config.iterate} iterate, {restarts}]"
    )


def _worst_definition(config: PGDConfig, eps: str) -> str:
    over = []
    for loss in config.losses:
        limits = ["all rivals"] if loss.endswith("-targeted") else []
        limits += ["where there are class centers"] if loss.startswith("distance") else []
        over.append(f"{loss} ({', '.join(limits)})" if limits else loss)
    return f"worst case per item over {', '.join(over)}: {_attack(config, 'each of these losses', eps)}"


def _zero_definition(config: PGDConfig, eps: str) -> str:
    return (
        f"share of clean-correct items whose {config.losses[0]} input gradient is exactly zero at the start of "
        f"{_definition(config, config.losses[0], eps)}"
    )


def _outcome(config: PGDConfig, eps: str, results: Mapping[str, AttackResult], ids: NDArray[np.int64]) -> Outcome:
    import numpy as np

    from bench.attacks.diagnostics import loss_gap_flag, verdict
    from bench.metrics.intervals import wilson

    numbers: list[Number] = []
    items: dict[str, NDArray[Any]] = {"ids": ids}
    details: dict[str, Any] = {}
    not_measured: dict[str, list[str]] = {}
    n = len(ids)

    def accuracy(metric: str, definition: str, robust: NDArray[np.bool_], flags: Sequence[Flag]) -> Number:
        items[metric] = robust
        judged = verdict(flags)
        details[metric] = {flag.name: flag.text for flag in flags}
        not_measured[metric] = list(judged.not_measured)
        return Number(
            metric=metric,
            argument=eps,
            value=int(robust.sum()) / n,
            n=n,
            interval=wilson(int(robust.sum()), n),
            definition=definition,
            items=metric,
            verdict=judged.word,
            flags={flag.name: flag.text for flag in flags if flag.raised},
        )

    for loss in config.losses:
        metric, definition = loss.replace("@", "-t"), _definition(config, loss, eps)
        if loss not in results:
            numbers.append(_inapplicable(metric, definition, eps))
            continue
        result = results[loss]
        others = {name: other.robust for name, other in results.items() if name != loss}
        numbers.append(accuracy(metric, definition, result.robust, _flags(result, others)))
    if not results:
        rest = {"worst-case": _worst_definition(config, eps), "zero-gradient": _zero_definition(config, eps)}
        return Outcome(numbers + [_inapplicable(metric, text, eps) for metric, text in rest.items()])
    worst = np.logical_and.reduce([result.robust for result in results.values()])
    health = [flag for result in results.values() if (flag := _health_flag(result)) is not None]
    # The worst case is as trustworthy as its healthiest member: a masked loss takes nothing away from it.
    flags = sorted(health, key=lambda flag: flag.raised)[:1]
    if len(results) > 1:
        flags.append(loss_gap_flag(worst, {loss: result.robust for loss, result in results.items()}))
    numbers.append(accuracy("worst-case", _worst_definition(config, eps), worst, flags))
    first = results.get(config.losses[0])
    if first is None:
        numbers.append(_inapplicable("zero-gradient", _zero_definition(config, eps), eps))
    else:
        zero = first.health.start_gradient[first.clean_correct] == 0
        numbers.append(
            Number(
                metric="zero-gradient",
                argument=eps,
                value=float(zero.mean()) if len(zero) else None,
                n=len(zero),
                interval=wilson(int(zero.sum()), len(zero)) if len(zero) else None,
                definition=_zero_definition(config, eps),
                reason=None if len(zero) else "no item is classified correctly",
            )
        )
    items["clean"] = next(iter(results.values())).clean_correct
    for loss, result in results.items():
        items |= item_arrays(result, f"{loss}.")
        if result.success_any is not None:
            items[f"{loss}.robust_any"] = result.clean_correct & ~result.success_any
    facts: dict[str, Any] = {"checks": details, "not_measured": not_measured}
    if not config.adversarials:
        return Outcome(numbers, items, details=facts)
    files, kept = packed(
        ids,
        [
            Broken(loss.replace("@", "-t"), eps, config.norm, eps, result.success, result.adversarials)
            for loss, result in results.items()
        ],
    )
    return Outcome(numbers, items, files, facts | {"adversarials": kept})


def _inapplicable(metric: str, definition: str, eps: str) -> Number:
    reason = "the family has no class centers"
    return Number(metric=metric, argument=eps, value=None, n=0, definition=definition, reason=reason)


def _health_flag(result: AttackResult) -> Flag | None:
    from bench.attacks.diagnostics import gradient_flag

    attacked = result.clean_correct
    if not attacked.any():
        return None
    zero = float((result.health.start_gradient[attacked] == 0).mean())
    certain = float((result.health.start_probability[attacked] == 1).mean())
    return gradient_flag(zero, certain)


def _flags(result: AttackResult, others: Mapping[str, NDArray[np.bool_]]) -> list[Flag]:
    from bench.attacks.diagnostics import loss_gap_flag

    health = _health_flag(result)
    gap = [loss_gap_flag(result.robust, others)] if others else []
    return gap if health is None else [health, *gap]
