"""From attacks with several losses to the numbers of ``pgd``: accuracies, worst case, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.evaluate.adversarials import broken_by_runs, packed
from bench.evaluate.attack_seeds import attack_seeds, per_seed, repeated, spread, stacked
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Number, Outcome
from bench.evaluate.robust import RobustAccuracies, healthiest, share_number

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
    results: Mapping[str, Sequence[AttackResult]],
    lacking: Mapping[str, str],
    ids: NDArray[np.int64],
    shared: Sequence[Flag],
    noise: NDArray[np.bool_],
) -> Outcome:
    """The numbers of one budget.

    Args:
        config: With one budget.
        eps: That one.
        results: By loss, those that the model admits; one an attack seed, all on the same N items.
        lacking: By loss, why the model does not admit it.
        ids: (N,).
        shared: Checks of the model's outputs.
        noise: (N,) what random points of the ball broke; (N, A) for A attack seeds.
    """
    import numpy as np

    from bench.attacks.diagnostics import loss_gap_flag, noise_flag

    found = RobustAccuracies(eps, attack_seeds(config))
    numbers = found.numbers

    def add(metric: str, definition: str, robust: NDArray[np.bool_], own: Sequence[Flag]) -> None:
        chance = [noise_flag(robust, robust & ~noise, config.noise)] if config.noise else []
        found.add(metric, repeated(config, definition), robust, [*own, *chance, *shared])

    def absent(metric: str, definition: str, reason: str) -> Number:
        text = repeated(config, definition)
        return Number(metric=metric, argument=eps, value=None, n=0, definition=text, reason=reason)

    robust = {loss: stacked([run.robust for run in runs]) for loss, runs in results.items()}
    health = {loss: flag for loss, runs in results.items() if (flag := _health_flag(runs)) is not None}
    for loss in config.losses:
        metric, definition = loss.replace("@", "-t"), loss_definition(config, loss, eps)
        if loss not in results:
            numbers.append(absent(metric, definition, lacking[loss]))
            continue
        others = {name: other for name, other in robust.items() if name != loss}
        add(metric, definition, robust[loss], _flags(loss, robust[loss], others, health))
    if not results:
        rest = {"worst-case": worst_definition(config, eps), "zero-gradient": zero_definition(config, eps)}
        reason = "; ".join(dict.fromkeys(lacking.values()))
        return Outcome(numbers + [absent(metric, text, reason) for metric, text in rest.items()])
    worst = np.logical_and.reduce(list(robust.values()))
    # The worst case is as trustworthy as its healthiest member: a masked loss takes nothing away from it.
    flags = healthiest(list(health.values()))
    if len(results) > 1:
        flags.append(loss_gap_flag(worst, robust))
    add("worst-case", worst_definition(config, eps), worst, flags)
    zero = _zero_starts(results[config.losses[0]]) if config.losses[0] in results else None
    definition = zero_definition(config, eps)
    if zero is None:
        numbers.append(absent("zero-gradient", definition, lacking[config.losses[0]]))
    elif not len(zero):
        numbers.append(absent("zero-gradient", definition, "no item is classified correctly"))
    else:
        numbers.append(share_number("zero-gradient", eps, repeated(config, definition), zero))
        if zero.ndim == 2:
            found.spreads["zero-gradient"] = spread(zero)
    first = next(iter(results.values()))[0]
    items = {"ids": ids, **found.items, "clean": first.clean_correct}
    for loss, runs in results.items():
        items |= item_arrays(runs[0], f"{loss}.")
        if runs[0].success_any is not None:
            any_iterate = [run.clean_correct & ~run.success_any for run in runs if run.success_any is not None]
            items |= per_seed(f"{loss}.robust_any", stacked(any_iterate))
    details = {**found.details, "not_finite": int((~first.clean_finite).sum())}
    if not config.adversarials:
        return Outcome(numbers, items, details=details)
    broken = [
        one
        for loss, runs in results.items()
        for one in broken_by_runs(loss.replace("@", "-t"), eps, config.norm, eps, runs)
    ]
    files, kept = packed(ids, broken)
    return Outcome(numbers, items, files, details | {"adversarials": kept})


def _zero_starts(runs: Sequence[AttackResult]) -> NDArray[np.bool_]:
    """Of the clean-correct items whether the gradient at the start is exactly zero, (M,) or (M, A)."""
    return stacked([run.health.start_gradient[run.clean_correct] == 0 for run in runs])


def _health_flag(runs: Sequence[AttackResult]) -> Flag | None:
    from bench.attacks.diagnostics import gradient_flag

    zero = _zero_starts(runs)
    if not zero.size:
        return None
    certain = stacked([run.health.start_probability[run.clean_correct] == 1 for run in runs])
    return gradient_flag(float(zero.mean()), float(certain.mean()), zero.size)


def _flags(
    loss: str, robust: NDArray[np.bool_], others: Mapping[str, NDArray[np.bool_]], health: Mapping[str, Flag]
) -> list[Flag]:
    """GRAD0, in the light of the losses whose gradients do not vanish, and LOSSGAP."""
    from bench.attacks.diagnostics import answered_by, loss_gap_flag

    gap = [loss_gap_flag(robust, others)] if others else []
    if loss not in health:
        return gap
    alive = {name: other for name, other in others.items() if name in health and not health[name].raised}
    return [answered_by(health[loss], robust, alive), *gap]
