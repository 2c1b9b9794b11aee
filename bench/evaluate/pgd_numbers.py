"""From attacks with several losses to the numbers of ``pgd``: accuracies, worst case, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.evaluate.adversarials import Broken, packed
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust import RobustAccuracies

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Flag
    from bench.evaluate.pgd import PGDConfig

__all__ = ["loss_definition", "outcome", "worst_definition", "zero_definition"]


def loss_definition(config: PGDConfig, loss: str, eps: str) -> str:
    """Of the accuracy under one loss, as the attack itself gives it."""
    return _attack(config, f"{loss}, all rivals" if loss.endswith("-targeted") else loss, eps)


def _attack(config: PGDConfig, losses: str, eps: str) -> str:
    restarts = f"{config.restarts} restart{'s' if config.restarts > 1 else ''}"
    return (
        f"pgd-{config.norm}[{config.steps}, {eps}, step={config.step}, {losses}, {config.iterate} iterate, {restarts}]"
    )


def worst_definition(config: PGDConfig, eps: str) -> str:
    """Of the worst case over the losses."""
    over = []
    for loss in config.losses:
        limits = ["all rivals"] if loss.endswith("-targeted") else []
        limits += ["where there are class centers"] if loss.startswith("distance") else []
        over.append(f"{loss} ({', '.join(limits)})" if limits else loss)
    return f"worst case per item over {', '.join(over)}: {_attack(config, 'each of these losses', eps)}"


def zero_definition(config: PGDConfig, eps: str) -> str:
    """Of the zero-gradient share."""
    return (
        f"share of clean-correct items whose {config.losses[0]} input gradient is exactly zero at the start of "
        f"{loss_definition(config, config.losses[0], eps)}"
    )


def outcome(
    config: PGDConfig,
    eps: str,
    results: Mapping[str, AttackResult],
    ids: NDArray[np.int64],
    shared: Sequence[Flag],
    noise: NDArray[np.bool_],
) -> Outcome:
    """The numbers of one budget.

    Args:
        config: With one budget.
        eps: That one.
        results: By loss, those that the model admits; all on the same N items.
        ids: (N,).
        shared: Checks of the model's outputs.
        noise: (N,) what random points of the ball broke.
    """
    import numpy as np

    from bench.attacks.diagnostics import loss_gap_flag, noise_flag
    from bench.metrics.intervals import wilson

    found = RobustAccuracies(eps)
    numbers = found.numbers

    def add(metric: str, definition: str, robust: NDArray[np.bool_], own: Sequence[Flag]) -> None:
        chance = [noise_flag(robust, robust & ~noise, config.noise)] if config.noise else []
        found.add(metric, definition, robust, [*own, *chance, *shared])

    for loss in config.losses:
        metric, definition = loss.replace("@", "-t"), loss_definition(config, loss, eps)
        if loss not in results:
            numbers.append(_inapplicable(metric, definition, eps))
            continue
        result = results[loss]
        others = {name: other.robust for name, other in results.items() if name != loss}
        add(metric, definition, result.robust, _flags(result, others))
    if not results:
        rest = {"worst-case": worst_definition(config, eps), "zero-gradient": zero_definition(config, eps)}
        return Outcome(numbers + [_inapplicable(metric, text, eps) for metric, text in rest.items()])
    worst = np.logical_and.reduce([result.robust for result in results.values()])
    health = [flag for result in results.values() if (flag := _health_flag(result)) is not None]
    # The worst case is as trustworthy as its healthiest member: a masked loss takes nothing away from it.
    flags = sorted(health, key=lambda flag: flag.raised)[:1]
    if len(results) > 1:
        flags.append(loss_gap_flag(worst, {loss: result.robust for loss, result in results.items()}))
    add("worst-case", worst_definition(config, eps), worst, flags)
    first = results.get(config.losses[0])
    if first is None:
        numbers.append(_inapplicable("zero-gradient", zero_definition(config, eps), eps))
    else:
        zero = first.health.start_gradient[first.clean_correct] == 0
        numbers.append(
            Number(
                metric="zero-gradient",
                argument=eps,
                value=float(zero.mean()) if len(zero) else None,
                n=len(zero),
                interval=wilson(int(zero.sum()), len(zero)) if len(zero) else None,
                definition=zero_definition(config, eps),
                reason=None if len(zero) else "no item is classified correctly",
            )
        )
    items = {"ids": ids, **found.items, "clean": next(iter(results.values())).clean_correct}
    for loss, result in results.items():
        items |= item_arrays(result, f"{loss}.")
        if result.success_any is not None:
            items[f"{loss}.robust_any"] = result.clean_correct & ~result.success_any
    if not config.adversarials:
        return Outcome(numbers, items, details=found.details)
    files, kept = packed(
        ids,
        [
            Broken(loss.replace("@", "-t"), eps, config.norm, eps, result.success, result.adversarials)
            for loss, result in results.items()
        ],
    )
    return Outcome(numbers, items, files, found.details | {"adversarials": kept})


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
