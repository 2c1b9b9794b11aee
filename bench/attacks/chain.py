"""Attacks in turn on one model: a worst case over several attacks, or one attack at growing budgets.

Every member is an attack of its own, run and judged by `bench.attacks.run` on the images that the members before it
left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from .clean import CleanPass
from .in_turn import Composition
from .journal import Journal
from .named import named_attack
from .result import AttackResult
from .runner import run
from .spec import Attack, sweep_definition
from .threat import Norm, format_eps, parse_eps

__all__ = ["Chain", "Member", "Sweep", "attack_in_turn", "eps_sweep"]


@dataclass(frozen=True)
class Member:
    """One attack of a chain.

    Attributes:
        name: Of the member.
        attack: With its parameters.
        eps: Budget in pixel units, a number or ``"8/255"``.
        surrogate: Loads the other model, for attacks that need one.
    """

    name: str
    attack: Attack
    eps: str | float
    surrogate: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class Chain:
    """What the members left, for N images.

    Attributes:
        composition: Which member broke which image.
        results: By member that attacked something, the indices (M,) of its images and what it did there.
        left_out: By member that was not made, why.
        ids: (N,) identities of the images.
        clean_correct: (N,) whether the clean prediction is right.
        clean_finite: (N,) whether all outputs for the clean image are finite.
        robust: (N,) clean-correct, and broken by no member.
        adversarials: (N, C, H, W) what the member found that broke the image, else what the first one left.
    """

    composition: Composition
    results: Mapping[str, tuple[NDArray[np.int64], AttackResult]]
    left_out: Mapping[str, str]
    ids: NDArray[np.int64]
    clean_correct: NDArray[np.bool_]
    clean_finite: NDArray[np.bool_]
    robust: NDArray[np.bool_]
    adversarials: NDArray[np.floating]

    def forwards(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(N,) forward passes of some members; of the surrogate, where a member has one."""
        total = np.zeros(len(self.ids))
        for name in names:
            if name in self.results:
                rows, result = self.results[name]
                total[rows] += result.forwards
        return total

    def won(self, name: str) -> NDArray[np.bool_]:
        """(N,) what a member broke first."""
        won: NDArray[np.bool_] = self.composition.winner == self.composition.members.index(name)
        return won


def attack_in_turn(
    members: Sequence[Member],
    model: nn.Module,
    images: Tensor | NDArray[np.floating],
    labels: Tensor | NDArray[np.integer],
    *,
    ids: ArrayLike | None = None,
    left_out: Mapping[str, str] | None = None,
    chained: bool = False,
    done: Callable[[int], None] = lambda _: None,
    **common: Any,
) -> Chain:
    """Let every member attack what those before it left; what is misclassified without an attack is nobody's.

    A library that ends in an error takes its own attack away, not the rest: the error stands in ``left_out``. Errors of
    the machine (memory, device, disk) and of our own attacks are raised.

    Args:
        members: At least one; the first is one of ours.
        model: Under attack.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
        ids: (N,) identities; positions if None.
        left_out: By member that is not to be tried, why.
        chained: Whether a member starts from where the one before ended, scaled to its budget; of an image that stays,
            the last proposal is kept.
        done: Told the number of members that are done.
        **common: ``norm``, ``seed``, ``batch_size``, ``journal`` and ``clean`` of `bench.attacks.run`.
    """
    pictures, classes = torch.as_tensor(images), torch.as_tensor(labels)
    identities = np.arange(len(pictures)) if ids is None else np.asarray(ids)
    adversarials = pictures.detach().cpu().numpy().copy()
    turns = Composition.of([member.name for member in members], len(pictures))
    results: dict[str, tuple[NDArray[np.int64], AttackResult]] = {}
    absent = dict(left_out or {})
    robust = np.ones(len(pictures), dtype=np.bool_)
    previous = 0.0
    for number, member in enumerate(members):
        rows = np.flatnonzero(robust)
        if not len(rows) or member.name in absent:
            continue
        index, budget = torch.from_numpy(rows), parse_eps(member.eps)
        starts = None
        if chained and previous > 0:
            # Small steps would take long from the old boundary to the new one.
            centers = pictures[index].detach().cpu().numpy()
            starts = np.clip(centers + (adversarials[rows] - centers) * (budget / previous), 0, 1)
        try:
            result = run(
                member.attack,
                model,
                pictures[index],
                classes[index],
                eps=member.eps,
                ids=identities[rows],
                starts=starts,
                surrogate=None if member.surrogate is None else member.surrogate(),
                **common,
            )
        except Exception as error:
            if member.attack.own or _of_the_machine(error):
                raise
            told = (str(error).strip() or "no message").splitlines()[0]
            absent[member.name] = f"{type(error).__name__} in {member.attack.name}: {told}"
            continue
        results[member.name] = rows, result
        turns.took(rows, number, result.success)
        every = chained or len(results) == 1
        kept = np.ones(len(rows), dtype=np.bool_) if every else result.success
        adversarials[rows[kept]] = result.adversarials[kept]
        robust[rows] = result.robust
        previous = budget
        done(number + 1)
    _, first = next(iter(results.values()))  # it attacked all images
    return Chain(
        turns, results, absent, first.ids, first.clean_correct, first.clean_finite, robust, adversarials
    )  # fmt: skip


def _of_the_machine(error: Exception) -> bool:
    """Whether the same attack may end well elsewhere: such an error is no property of attack and model."""
    machine = (MemoryError, OSError, ImportError, torch.OutOfMemoryError, torch.AcceleratorError)
    return isinstance(error, machine) or "not installed" in str(error)


@dataclass(frozen=True)
class Sweep:
    """A chained sweep over E increasing budgets, for N images.

    Attributes:
        definition: Of the sweep; says that it is chained.
        eps: Budgets in pixel units.
        ids: (N,) identities of the images.
        clean_correct: (N,) whether the clean prediction is right.
        clean_finite: (N,) whether all outputs for the clean image are finite.
        robust: (E, N) robust flags: never true again after they were false.
        adversarials: (N, C, H, W) the adversarial at the smallest budget that broke the image, else the last miss.
        forwards: (N,) forward passes over all budgets.
        stages: Of each budget that was attacked, what the attack did on the images that the smaller ones left.
    """

    definition: str
    eps: tuple[float, ...]
    ids: NDArray[np.int64]
    clean_correct: NDArray[np.bool_]
    clean_finite: NDArray[np.bool_]
    robust: NDArray[np.bool_]
    adversarials: NDArray[np.floating]
    forwards: NDArray[np.float64]
    stages: tuple[AttackResult, ...]


def eps_sweep(
    name: str | Attack,
    model: nn.Module,
    images: Tensor | NDArray[np.floating],
    labels: Tensor | NDArray[np.integer],
    *,
    norm: Norm,
    eps: Sequence[str | float],
    seed: int,
    ids: ArrayLike | None = None,
    batch_size: int = 64,
    journal: Journal | None = None,
    clean: CleanPass | None = None,
    **params: Any,
) -> Sweep:
    """Attack at increasing budgets, each on what the smaller ones left, from where they ended scaled to the budget.

    Args:
        name: An attack that can be given starts, such as ``"adaptive_pgd"``; or one with its parameters.
        model: As in `bench.attacks.run`, like all arguments that are not described here.
        images: (N, C, H, W).
        labels: (N,).
        norm: ``"linf"`` or ``"l2"``.
        eps: Increasing budgets, such as ``["1/255", "2/255"]``.
        seed: Seed of all noise.
        ids: (N,) identities.
        batch_size: Images per forward pass.
        journal: Where to keep pieces for the case that the sweep is killed.
        clean: Made for ``model`` and ``batch_size``, if several sweeps share a clean pass.
        **params: Parameters of the attack.

    Raises:
        ValueError: Budgets that do not increase, or an attack that cannot be given starts.
    """
    budgets = tuple(parse_eps(value) for value in eps)
    if not budgets or any(large <= small for small, large in pairwise(budgets)):
        raise ValueError(f"eps must be increasing budgets, got {list(eps)}")
    attack = named_attack(name, params) if isinstance(name, str) else name.configured({**name.parameters, **params})
    if not attack.startable:
        raise ValueError(f"attack {attack.name!r} cannot be given starts, which a chained sweep needs")
    members = [Member(format_eps(budget), attack, budget) for budget in budgets]
    chain = attack_in_turn(
        members, model, images, labels, ids=ids, chained=True, norm=norm, seed=seed, batch_size=batch_size,
        journal=journal, clean=CleanPass(model, batch_size) if clean is None else clean,
    )  # fmt: skip
    stages = tuple(result for _, result in chain.results.values())
    broken_at = np.where(chain.composition.winner < 0, len(budgets), chain.composition.winner)
    robust = chain.clean_correct & (broken_at > np.arange(len(budgets))[:, None])
    return Sweep(
        definition=sweep_definition(eps, stages[0].definition),
        eps=budgets,
        ids=chain.ids,
        clean_correct=chain.clean_correct,
        clean_finite=chain.clean_finite,
        robust=robust,
        adversarials=chain.adversarials,
        forwards=chain.forwards(chain.composition.members),
        stages=stages,
    )
