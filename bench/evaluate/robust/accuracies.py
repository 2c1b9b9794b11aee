"""Robust accuracies with their verdicts and checks, the result of all evaluations at fixed budgets.

With ``attack_seeds`` = A, a robust accuracy is the mean over A seeds of the accuracy under *one* run of the attack. It
estimates the expected accuracy under one run more precisely than a single run. It is not the worst case over seeds;
``restarts`` give that. The seeds are the same for all models, so that comparisons stay paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, EvaluationConfig, Number, Outcome
from bench.evaluate.robust.kept import Broken, broken_by_runs, with_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Flag

__all__ = [
    "AttackSeedsConfig",
    "RobustAccuracies",
    "no_value",
    "attack_seeds",
    "healthiest",
    "item_arrays",
    "nothing_finite",
    "nothing_measured",
    "one_accuracy",
    "paired_test",
    "per_item",
    "per_seed",
    "repeated",
    "share_number",
    "spread",
    "stacked",
    "start_health",
    "zero_starts",
]


class AttackSeedsConfig(EvaluationConfig):
    """The parameter of evaluations with random attacks."""

    later: ClassVar[frozenset[str]] = frozenset({"attack_seeds"})

    attack_seeds: PositiveInt = Field(
        1,
        le=1000,
        description="Independent seeds of the attack: the number is the mean over them of the accuracy under one run",
    )


def attack_seeds(config: AttackSeedsConfig) -> tuple[int, ...]:
    """The seeds of the runs: the seed of the evaluation, then seeds derived from it.

    Two evaluation seeds share no attack seed. Counting up from the seed would share all but one with the next seed.
    """
    from bench.rng import derived_seed

    more = (derived_seed(config.seed, "attack seed", run) for run in range(1, config.attack_seeds))
    return (config.seed, *more)


def repeated(config: AttackSeedsConfig, definition: str) -> str:
    """The definition of a mean over attack seeds, from the definition of a number under one run."""
    return definition if config.attack_seeds == 1 else f"mean over {config.attack_seeds} attack seeds: {definition}"


def paired_test(config: AttackSeedsConfig) -> Literal["mcnemar", "permutation"]:
    """The paired test of two models, over booleans or over means over seeds, one per item."""
    return "mcnemar" if config.attack_seeds == 1 else "permutation"


@dataclass
class RobustAccuracies:
    """Collects the robust accuracies of one job.

    Attributes:
        eps: The budget, such as ``"8/255"``.
        seeds: Seeds of the attack, in the order of the columns of all flags.
        numbers: One number per metric.
        items: By metric (N,), whether items are robust: booleans, or for several attack seeds the share of seeds; then
            ``<metric>.seeds`` (N, A) has the flags of each seed.
        checks: By metric, the sentence of every check that was made, raised or not.
        not_measured: By metric, names of the checks that were not made.
        spreads: By metric, the value of each seed and their spread; empty for one seed.
    """

    eps: str
    seeds: Sequence[int] = (0,)
    numbers: list[Number] = field(default_factory=list)
    items: dict[str, NDArray[Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, str]] = field(default_factory=dict)
    not_measured: dict[str, list[str]] = field(default_factory=dict)
    spreads: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, metric: str, definition: str, robust: NDArray[np.bool_], flags: Sequence[Flag]) -> None:
        """Add the share of robust items among all N items, an upper bound.

        Args:
            metric: Metric of the number, and name of its array.
            definition: As in the column.
            robust: (N,) clean-correct and not broken, N >= 1; (N, A) for A seeds of the attack.
            flags: Results of all checks, which decide the verdict.
        """
        from bench.attacks.verdict import verdict

        self.items |= per_seed(metric, robust)
        if robust.ndim == 2:
            self.spreads[metric] = spread(robust)
        judged = verdict(flags, left=int(robust.sum()))
        self.checks[metric] = {flag.name: flag.text for flag in flags}
        self.not_measured[metric] = list(judged.not_measured)
        self.numbers.append(
            share_number(
                metric,
                self.eps,
                definition,
                robust,
                items=metric,
                verdict=judged.word,
                flags={} if judged.exact else {flag.name: flag.text for flag in flags if flag.raised},
            )
        )

    def outcome(
        self,
        first: AttackResult,
        items: Mapping[str, NDArray[Any]],
        details: Mapping[str, Any],
        broken: Sequence[Broken] | None,
    ) -> Outcome:
        """The outcome of the job.

        Args:
            first: The attack under the first seed.
            items: Further arrays over items.
            details: Further facts for the record.
            broken: Broken items whose images are kept; None: images are not kept.
        """
        arrays = {"ids": first.ids, "clean": first.clean_correct, **self.items, **items}
        facts = {"not_finite": int((~first.clean_finite).sum()), **self.details, **details}
        return with_images(Outcome(self.numbers, arrays, details=facts), broken)

    @property
    def details(self) -> dict[str, Any]:
        """Checks and values of attack seeds, for the record."""
        found: dict[str, Any] = {"checks": self.checks, "not_measured": self.not_measured}
        if self.spreads:
            found["attack_seeds"] = {"seeds": list(self.seeds), "numbers": self.spreads}
        return found


def one_accuracy(
    column: Column,
    config: Any,
    results: Sequence[AttackResult],
    flags: Sequence[Flag],
    *,
    before: Mapping[str, NDArray[Any]] | None = None,
    after: Mapping[str, NDArray[Any]] | None = None,
    **details: Any,
) -> Outcome:
    """The outcome of a job that measures the robust accuracy under one attack.

    Args:
        column: Its column, with the budget as argument.
        config: Parameters of the evaluation.
        results: One result per attack seed, on the same N items.
        flags: Results of all checks.
        before: Further arrays (N,), stored before those of `item_arrays`.
        after: Further arrays (N,), stored after them.
        **details: Further facts for the record.
    """
    first, eps = results[0], column.argument
    accuracies = RobustAccuracies(eps, attack_seeds(config))
    accuracies.add(column.metric, column.definition, stacked([result.robust for result in results]), flags)
    items = {**(before or {}), **item_arrays(first), **(after or {})}
    broken = broken_by_runs(column.metric, config.norm, eps, results) if config.adversarials else None
    return accuracies.outcome(first, items, {"attack": first.definition, **details}, broken)


def share_number(metric: str, argument: str, definition: str, hits: NDArray[np.bool_], **more: Any) -> Number:
    """A share of items as a number, with an interval that covers the variation over items and attack seeds.

    Args:
        metric: Metric of the number.
        argument: Argument of the number.
        definition: As in the column.
        hits: (N,) or (N, A) booleans, N >= 1.
        **more: Further fields of the number.
    """
    from bench.metrics.intervals import wilson
    from bench.metrics.repeated import repeated_proportion

    count, n = int(hits.sum()), len(hits)
    interval = wilson(count, n) if hits.ndim == 1 else repeated_proportion(hits)
    return Number(
        metric=metric,
        argument=argument,
        value=count / hits.size,
        n=n,
        interval=interval,
        definition=definition,
        **more,
    )


def zero_starts(runs: Sequence[AttackResult]) -> NDArray[np.bool_]:
    """(M,) or (M, A) whether the gradient at the start is exactly zero, for the M clean-correct items."""
    return stacked([run.health.start_gradient[run.clean_correct] == 0 for run in runs])


def start_health(runs: Sequence[AttackResult]) -> Flag | None:
    """GRAD0 of one loss at the starts of all attack seeds; None if no item is classified correctly."""
    from bench.attacks.diagnostics import gradient_flag

    zero = zero_starts(runs)
    if not zero.size:
        return None
    certain = stacked([run.health.start_probability[run.clean_correct] == 1 for run in runs])
    return gradient_flag(float(zero.mean()), float(certain.mean()), zero.size)


def healthiest(flags: Sequence[Flag]) -> list[Flag]:
    """The flag of the healthiest member of a composed attack, in a list; empty if ``flags`` is empty."""
    from bench.attacks.verdict import WORDS

    order = sorted(flags, key=lambda flag: -WORDS.index(flag.implies if flag.raised else "no warning"))
    return order[:1]


def nothing_finite(columns: Sequence[Column], n: int) -> Outcome:
    """The outcome for a model without any finite output: no values, with the reason.

    Args:
        columns: Columns of the evaluation.
        n: Number of items.
    """
    reason = f"the outputs are not finite on any of the {n} items"
    return replace(nothing_measured(columns, reason), details={"not_finite": n})


def nothing_measured(columns: Sequence[Column], reason: str) -> Outcome:
    """An outcome in which no column has a value, for one reason.

    Args:
        columns: Columns of the evaluation.
        reason: The reason, as cells print it.
    """
    return Outcome([no_value(c.metric, c.argument, c.definition, reason) for c in columns if c.across is None])


def no_value(metric: str, argument: str, definition: str, reason: str) -> Number:
    """A number without a value, for a reason that cells print; the other arguments are fields of the number."""
    return Number(metric=metric, argument=argument, value=None, n=0, definition=definition, reason=reason)


def item_arrays(result: AttackResult, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Arrays (N,) of an attack by name, each name after ``prefix``.

    ``prediction`` of the adversarial; ``linf`` and ``norm_l2`` of the perturbation, pixels in [0, 1]; ``margin_before``
    and ``margin_after``, max_{k != y} z_k - z_y, positive where wrong; ``first_step``, the first wrong iterate, -1 if
    there is none; ``loss`` at the last iterate; ``forwards``, the number of passes; ``start_gradient`` and
    ``last_gradient``, the largest absolute input gradient; ``start_p`` and ``last_p``, softmax(z)_y in float32. NaN
    where not measured.
    """
    arrays: dict[str, NDArray[Any]] = {
        "prediction": result.predictions,
        "linf": result.linf,
        "norm_l2": result.l2,
        "margin_before": result.margin_before,
        "margin_after": result.margin_after,
        "first_step": result.first_step,
        "loss": result.loss,
        "forwards": result.forwards,
        "start_gradient": result.health.start_gradient,
        "last_gradient": result.health.last_gradient,
        "start_p": result.health.start_probability,
        "last_p": result.health.last_probability,
    }
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def stacked(runs: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Flags (N,) of all runs as one array: (N,) for a single run, else (N, A)."""
    import numpy as np

    return runs[0] if len(runs) == 1 else np.stack(runs, axis=1)


def per_item(flags: NDArray[np.bool_]) -> NDArray[Any]:
    """Values for paired tests: booleans (N,) of a single run, else shares of the seeds (N,), in [0, 1]."""
    return flags if flags.ndim == 1 else flags.mean(axis=1)


def per_seed(name: str, flags: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The arrays to store: ``name`` with the values of `per_item`, and for several seeds ``name.seeds`` (N, A)."""
    arrays: dict[str, NDArray[Any]] = {name: per_item(flags)}
    return arrays if flags.ndim == 1 else {**arrays, f"{name}.seeds": flags}


def spread(flags: NDArray[np.bool_]) -> dict[str, Any]:
    """The value of each seed, in the order of the seeds, with standard deviation, minimum and maximum.

    Args:
        flags: (N, A) with N >= 1 and A >= 2.
    """
    values = flags.mean(axis=0)
    return {
        "values": [float(value) for value in values],
        "sd": float(values.std(ddof=1)),
        "min": float(values.min()),
        "max": float(values.max()),
    }
