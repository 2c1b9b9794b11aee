"""Accuracy under standard AutoAttack: four attacks without a parameter to tune, as one worst case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from bench.attacks.libraries import TorchattacksAPGD, TorchattacksAPGDT, TorchattacksFABT, TorchattacksSquare
from bench.attacks.spec import Attack
from bench.evaluate.base import Column, Outcome
from bench.evaluate.robust.accuracies import (
    RobustAccuracies,
    attack_seeds,
    healthiest,
    item_arrays,
    no_value,
    paired_test,
    per_item,
    repeated,
    share_number,
    stacked,
    start_health,
    zero_starts,
)
from bench.evaluate.robust.budgets import BudgetsConfig, OnBudgets
from bench.evaluate.robust.kept import AdversarialsConfig, broken_by_runs
from bench.evaluate.robust.under_attack import Subject
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Chain, Flag

__all__ = ["AutoAttack", "AutoAttackConfig"]

_SQUARE = "square"
_ZERO = "zero-gradient"
_ZERO_DEFINITION = "share of clean-correct items whose input gradient of the cross-entropy is exactly zero"
_STANDARD = "steps", "target_classes", "queries"


class AutoAttackConfig(BudgetsConfig, AdversarialsConfig):
    """Parameters of AutoAttack; the defaults are its standard version."""

    batch_size: PositiveInt = Field(
        128,
        description="Items of a batch; part of the definition, because libraries may let a batch decide",
    )
    steps: PositiveInt = Field(100, description="Steps of APGD-CE, APGD-T and FAB-T; 100 in the standard version")
    target_classes: PositiveInt = Field(
        9, description="Target classes of APGD-T and FAB-T, or K - 1 if there are fewer; 9 in the standard version"
    )
    queries: PositiveInt = Field(5000, description="Queries of Square an item; 5,000 in the standard version")

    @property
    def members(self) -> dict[str, tuple[str, Attack]]:
        """By name in columns, the name in sentences and the attack, in the order of attack."""
        targeted = {"steps": self.steps, "n_target_classes": self.target_classes}
        return {
            "apgd-ce": ("APGD-CE", TorchattacksAPGD(steps=self.steps)),
            "apgd-t": ("APGD-T", TorchattacksAPGDT(**targeted)),
            "fab-t": ("FAB-T", TorchattacksFABT(**targeted)),
            _SQUARE: ("Square", TorchattacksSquare(n_queries=self.queries)),
        }

    def definition(self, eps: str, upto: str | None = None) -> str:
        """Definition of the accuracy under all members, or under the first ones up to a named one."""
        towards = f"{self.steps} x {self.target_classes} classes or K-1"
        parts = {
            "apgd-ce": f"APGD-CE {self.steps}",
            "apgd-t": f"APGD-T {towards}",
            "fab-t": f"FAB-T {towards}",
            _SQUARE: f"Square {self.queries} queries",
        }
        names = list(parts)
        told = ", ".join(parts[name] for name in (names if upto is None else names[: names.index(upto) + 1]))
        return (
            f"autoattack-{self.norm}[{eps}, {told}, each on what is left, batches of {self.batch_size}, torchattacks "
            "on shifted logits]"
        )

    def winner_definition(self, described: str, eps: str) -> str:
        """Definition of the share of items that a member broke first."""
        return f"share of all items that {described} broke first: {self.definition(eps)}"


class AutoAttack(OnBudgets):
    """Standard AutoAttack: APGD on cross-entropy, APGD and FAB towards the highest rivals in turn, and Square.

    Each member attacks the images that those before it left, and ``bench.attacks`` judges every success. The members
    are those of torchattacks and not the authors' code, which is in no package index; columns say so. All numbers are
    upper bounds. The warnings that the authors' code prints are flags of the cells: probabilities in place
    of logits (LOGITS), outputs that differ between two passes (RANDOM), branches on gradients (DYNAMIC), zero gradients
    (GRAD0), and a Square that breaks more than .2 points of what the gradients left (BLACKBOX). The worst case has the
    GRAD0 of the healthier loss, cross-entropy or DLR. With fewer than four classes there is no targeted DLR loss, and
    COVERAGE says that APGD-T was left out.

    The numbers that peers publish (RobustBench) are of eps = 8/255 in L_inf and of 0.5 in L2, on CIFAR10.
    """

    name = "autoattack"
    version = 2
    summary = "Accuracy under standard AutoAttack: APGD-CE, APGD-T, FAB-T and Square in turn."
    source = "Croce & Hein 2020, arXiv:2003.01690; torchattacks"
    Config = AutoAttackConfig

    def label(self, config: AutoAttackConfig) -> str:
        """The name, with the parameters that are not those of the standard version."""
        standard = all(getattr(config, name) == AutoAttackConfig.model_fields[name].default for name in _STANDARD)
        changed = "" if standard else f"-{config.steps}x{config.target_classes}-{config.queries}"
        return f"AutoAttack{changed} (torchattacks)"

    def columns(self, config: AutoAttackConfig) -> tuple[Column, ...]:
        """The worst case at each budget, the accuracy after each member but the last, the share of items that each
        broke first, and the share without a gradient of the cross-entropy.
        """
        return tuple(column for eps in config.eps for column in self._columns(config, eps))

    def _columns(self, config: AutoAttackConfig, eps: str) -> list[Column]:
        common: dict[str, Any] = {"argument": eps, "group": f"{self.label(config)}, {eps}", "unit": "fraction"}
        accuracy: dict[str, Any] = {**common, "direction": "up", "test": paired_test(config)}
        told = repeated(config, config.definition(eps))
        columns = [Column(metric="robust", label="worst case", definition=told, primary=True, **accuracy)]
        for name, (described, _) in list(config.members.items())[:-1]:
            after = repeated(config, config.definition(eps, name))
            columns.append(Column(metric=f"after.{name}", label=f"after {described}", definition=after, **accuracy))
        for name, (described, _) in config.members.items():
            share = repeated(config, config.winner_definition(described, eps))
            columns.append(
                Column(metric=f"winner.{name}", label=f"won by {described}", direction=None, definition=share, **common)
            )
        columns.append(Column(metric=_ZERO, label="zero grad", direction=None, definition=_ZERO_DEFINITION, **common))
        return columns

    def passes(self, config: AutoAttackConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """An upper bound, reached if every item survives; broken items cost less."""
        each = config.attack_seeds * sum(attack.passes() for _, attack in config.members.values()) + 4
        return min(config.items, items) * len(config.eps) * each

    def spent(self, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """None: only the passes of the first member and of Square are stored."""

    def measure(self, config: AutoAttackConfig, subject: Subject) -> Outcome:
        """Attack with every member that can run on the model."""
        from bench.attacks import Member, attack_in_turn
        from bench.attacks.pgd import PGDAttack

        (eps,) = config.eps
        test = subject.test
        members = [Member(name, attack, eps) for name, (_, attack) in config.members.items()]
        left_out = {}
        for name, (_, attack) in config.members.items():
            why = attack.impossible(config.norm, test.image_shape, subject.inputs.num_classes)
            if why is not None:
                left_out[name] = why
        # Libraries report no gradients: one step of PGD from the clean images looks at those of the two losses.
        losses = ("ce",) if "apgd-t" in left_out else ("ce", "dlr")
        probes = {
            loss: subject.attack(
                PGDAttack(steps=1, step="eps/0.5", loss=loss, random_start=False), seed=config.seed, eps=eps
            )
            for loss in losses
        }

        def chain(seed: int, done: Callable[[int], None]) -> Chain:
            return attack_in_turn(
                members, subject.model, subject.images, test.labels, ids=test.ids, seed=seed, left_out=left_out,
                done=done, **subject.common,
            )  # fmt: skip

        chains = subject.each_seed(chain, len(members))
        return _outcome(config, eps, chains, probes, subject.output_flags())


def _outcome(
    config: AutoAttackConfig,
    eps: str,
    chains: Sequence[Chain],
    probes: Mapping[str, AttackResult],
    outputs: Sequence[Flag],
) -> Outcome:
    """Numbers, arrays and images of one budget, from one chain for each attack seed."""
    from bench.attacks.diagnostics import blackbox_flag, loss_gap_flag
    from bench.attacks.verdict import coverage_flag

    absent = {name: why for chain in chains for name, why in chain.left_out.items()}
    names = list(config.members)
    after = {name: stacked([_after(chain, names[: end + 1]) for chain in chains]) for end, name in enumerate(names)}
    robust = after[_SQUARE]
    described = {name: f"AutoAttack up to {told}" for name, (told, _) in config.members.items()}
    health = {loss: flag for loss, probe in probes.items() if (flag := start_health([probe])) is not None}
    left = [coverage_flag(absent)] if absent else []
    # The worst case is as reliable as its healthiest member: a masked loss does not weaken it.
    shared = [*outputs, *healthiest(list(health.values())), *left]
    accuracies = RobustAccuracies(eps, attack_seeds(config))
    gradients = {described[name]: after[name] for name in names[:-1]}
    checks = [loss_gap_flag(robust, gradients, "the worst case")]
    checks += [] if _SQUARE in absent else [blackbox_flag(after[names[-2]], robust, "Square")]
    accuracies.add("robust", repeated(config, config.definition(eps)), robust, [*shared, *checks])
    for name in names[:-1]:
        own = [*outputs, *([health["ce"]] if "ce" in health else [])] if name == "apgd-ce" else shared
        gap = loss_gap_flag(after[name], {"the worst case": robust}, described[name])
        accuracies.add(f"after.{name}", repeated(config, config.definition(eps, name)), after[name], [*own, gap])
    won = {name: stacked([chain.won(name) for chain in chains]) for name in names if name not in absent}
    numbers = accuracies.numbers
    for name, (told, _) in config.members.items():
        definition = repeated(config, config.winner_definition(told, eps))
        metric = f"winner.{name}"
        numbers.append(
            share_number(metric, eps, definition, won[name])
            if name in won
            else no_value(metric, eps, definition, absent[name])
        )
    zero = zero_starts([probes["ce"]])
    numbers.append(
        share_number(_ZERO, eps, _ZERO_DEFINITION, zero)
        if len(zero)
        else no_value(_ZERO, eps, _ZERO_DEFINITION, "no item is classified correctly")
    )
    results: Mapping[str, tuple[Any, AttackResult]] = chains[0].results
    _, first = next(iter(results.values()))
    items = {
        **{name: per_item(broken) for name, broken in won.items()},
        "winner": chains[0].composition.winner,
        **item_arrays(first),
        "search_forwards": chains[0].forwards([_SQUARE]),
    }
    details = {
        "members": {name: result.definition for name, (_, result) in results.items()},
        **({"left_out": absent} if absent else {}),
    }
    broken = broken_by_runs("robust", config.norm, eps, chains) if config.adversarials else None
    return accuracies.outcome(first, items, details, broken)


def _after(chain: Chain, names: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) whether an image is right and none of the named members broke it first."""
    import numpy as np

    made = [chain.composition.members.index(name) for name in names]
    return chain.clean_correct & ~np.isin(chain.composition.winner, made)
