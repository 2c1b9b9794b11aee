"""A chained sweep of adaptive PGD over growing budgets. The accuracy must fall to zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt, field_validator

from bench.attacks.spec import sweep_definition
from bench.attacks.threat import parse_eps
from bench.evaluate.base import Column, Number, Outcome, Part
from bench.evaluate.robust.accuracies import RobustAccuracies, attack_seeds, per_item, repeated, stacked
from bench.evaluate.robust.adaptive_losses import LossesConfig, white_box_flags
from bench.evaluate.robust.budgets import OnBudgets
from bench.evaluate.robust.search import search_facts
from bench.evaluate.robust.under_attack import Subject
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Flag, Sweep

__all__ = ["EpsSweep", "EpsSweepConfig"]


class EpsSweepConfig(LossesConfig):
    """Parameters of the sweep."""

    eps: tuple[str, ...] = Field(
        tuple(f"{2**power}/255" for power in range(8)),
        min_length=2,
        description="Increasing budgets in units of the pixel range; up to 128/255, which can turn any image grey",
    )
    steps: PositiveInt = Field(50, description="Gradient steps of each run")
    restarts: PositiveInt = Field(1, description="Rounds over all losses at each budget")
    items: PositiveInt = Field(100, description="Attacked test items: the first of the fixed order")
    batch_size: PositiveInt = Field(
        128, description="Items of a forward pass, more on a GPU with room; changes no verdict"
    )

    @field_validator("eps")
    @classmethod
    def _increase(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if any(parse_eps(large) <= parse_eps(small) for small, large in pairwise(values)):
            raise ValueError("budgets must increase")
        return values

    @property
    def sweep(self) -> str:
        """The definition of the sweep."""
        return sweep_definition(self.eps, self.attack.definition(self.threat(self.eps[0])))

    def definition(self, eps: str) -> str:
        """The definition of the accuracy at a budget."""
        return f"accuracy at {eps} of a {self.sweep}"


class EpsSweep(OnBudgets):
    """Accuracy under adaptive PGD from small budgets to large ones.

    The sweep is chained: an item that is broken at one budget counts as broken at all larger ones, so the curve cannot
    rise. UNBOUNDED is raised if items survive a budget that can turn every image grey, FLAT if four times the budget
    changes little. GRAD0, LOSSGAP and ITER come from the attack at each budget, on the items that smaller budgets did
    not break.
    """

    name = "eps-sweep"
    version = 3
    summary = "Accuracy under adaptive PGD at growing budgets, chained; must reach zero."
    source = "Carlini et al. 2019, arXiv:1902.06705, section 4 (unbounded attacks, budget curves)"
    Config = EpsSweepConfig
    any_batch = True

    def label(self, config: EpsSweepConfig) -> str:  # noqa: ARG002 - the same for all
        """A fixed name."""
        return "eps sweep"

    def columns(self, config: EpsSweepConfig) -> tuple[Column, ...]:
        """Robust accuracy at each budget."""
        return self.robust_columns(config, config.definition)

    def parts(self, config: EpsSweepConfig) -> tuple[Part, ...]:
        """One job, because each budget continues from the result of the budget before."""
        return (Part("", config),)

    def passes(self, config: EpsSweepConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """An upper bound, reached if every item survives every budget."""
        return min(config.items, items) * len(config.eps) * config.attack_seeds * (config.attack.passes() + 2)

    def impossible(self, config: EpsSweepConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why no loss applies, or None."""
        return config.attack.impossible(config.norm, image_shape, classes)

    def measure(self, config: EpsSweepConfig, subject: Subject) -> Outcome:
        """Attack at each budget the items that smaller budgets did not break."""
        from bench.attacks import eps_sweep

        def swept(seed: int, _: Callable[[int], None]) -> Sweep:
            sweep = eps_sweep(
                config.attack, subject.model, subject.images, subject.test.labels, eps=config.eps, seed=seed,
                ids=subject.test.ids, **subject.common,
            )  # fmt: skip
            subject.finite(sweep.clean_finite)
            return sweep

        return _outcome(config, subject.each_seed(swept), subject.output_flags())


def _outcome(config: EpsSweepConfig, sweeps: Sequence[Sweep], outputs: Sequence[Flag]) -> Outcome:
    """One number per budget; the checks of the curve apply to all of its points."""
    from bench.attacks.diagnostics import UNBOUNDED_EPS, flat_flag, unbounded_flag

    first = sweeps[0]
    robust = [stacked([sweep.robust[number] for sweep in sweeps]) for number in range(len(config.eps))]
    curve = [flat_flag(first.eps, [per_item(left) for left in robust], first.clean_correct)]
    if config.norm == "linf" and first.eps[-1] >= UNBOUNDED_EPS:
        curve.append(unbounded_flag(first.eps[-1], robust[-1]))
    items: dict[str, Any] = {"ids": first.ids, "clean": first.clean_correct, "forwards": first.forwards}
    numbers: list[Number] = []
    details: dict[str, Any] = {
        "not_finite": int((~first.clean_finite).sum()),
        **search_facts(config, first.stages[0]),
    }
    checks: dict[str, str] = {}
    raised: set[str] = set()
    missing: list[str] = []
    for number, eps in enumerate(config.eps):
        # There is no attack at this budget if smaller budgets broke all items.
        stages = [_whole(sweep.stages[number], first.ids) for sweep in sweeps if number < len(sweep.stages)]
        flags = [*white_box_flags(stages, config.restarts), *curve, *outputs]
        point = RobustAccuracies(eps, attack_seeds(config))
        point.add("robust", repeated(config, config.definition(eps)), robust[number], flags)
        name = f"robust@{eps}"
        numbers += [replace(found, items=name) for found in point.numbers]
        items |= {key.replace("robust", name, 1): values for key, values in point.items.items()}
        if stages:
            missing += point.not_measured["robust"]
            # Keep one sentence per check: the first that is raised, else the first.
            new = {flag.name: flag.text for flag in flags if flag.name not in raised and flag.raised}
            checks = {**point.checks["robust"], **checks, **new}
            raised |= new.keys()
        if point.spreads:
            spreads = details.setdefault("attack_seeds", {"seeds": list(point.seeds), "numbers": {}})
            spreads["numbers"][name] = point.spreads["robust"]
    return Outcome(numbers, items, details={**details, "checks": checks, "not_measured": list(dict.fromkeys(missing))})


def _whole(stage: AttackResult, ids: NDArray[np.int64]) -> AttackResult:
    """The result of an attack on some items, extended to all ``ids``; the other items count as not robust."""
    import numpy as np

    places = {int(identity): row for row, identity in enumerate(ids)}
    rows = np.array([places[int(identity)] for identity in stage.ids], dtype=np.int64)
    robust, clean = np.zeros(len(ids), dtype=np.bool_), np.zeros(len(ids), dtype=np.bool_)
    robust[rows], clean[rows] = stage.robust, stage.clean_correct
    composition = None if stage.composition is None else stage.composition.spread(rows, len(ids))
    return replace(stage, robust=robust, clean_correct=clean, composition=composition)
