"""Attacks in turn on one model: a worst case over several attacks, or one attack at growing budgets.

Every member is an attack that `bench.attacks.run` runs and judges on the images that earlier members did not break.
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

from .journal import Journal
from .judge import CleanPass
from .named import named_attack
from .result import AttackResult, Composition
from .runner import run
from .spec import Attack, sweep_definition
from .threat import Norm, format_eps, parse_eps

__all__ = ["Chain", "Member", "Sweep", "attack_in_turn", "eps_sweep"]


@dataclass(frozen=True)
class Member:
    """One attack of a chain.

    Attributes:
        name: Name of the member.
        attack: The attack with its parameters.
        eps: Budget in pixel units, a number or ``"8/255"``.
        surrogate: Loads the surrogate, for attacks that need one.
    """

    name: str
    attack: Attack
    eps: str | float
    surrogate: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class Chain:
    """Result of attacks in turn on N images.

    Attributes:
        composition: Which member broke which image.
        results: For each member that attacked at least one image, the indices (M,) of its images and its result.
        left_out: For each member that was left out, the reason.
        ids: (N,) identities of the images.
        clean_correct: (N,) whether the clean prediction is right.
        clean_finite: (N,) whether all outputs for the clean image are finite.
        robust: (N,) clean-correct, and broken by no member.
        adversarials: (N, C, H, W) proposal of the member that broke the image; for other images that of the first
            member, or of the last one in a chained sweep.
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
        """(N,) forward passes of some members; passes through the surrogate for members that have one."""
        total = np.zeros(len(self.ids))
        for name in names:
            if name in self.results:
                rows, result = self.results[name]
                total[rows] += result.forwards
        return total

    def won(self, name: str) -> NDArray[np.bool_]:
        """(N,) whether a member was the first to break the image."""
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
    """Let every member attack the images that earlier members did not break.

    No member breaks an image that is misclassified without an attack. An error inside a library leaves out its attack
    alone: ``left_out`` gives the error. Errors of the machine (memory, device, disk) and of our own attacks are raised.

    Args:
        members: At least one.
        model: Under attack.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        ids: (N,) identities; positions if None.
        left_out: For each member that must not be tried, the reason.
        chained: Whether a member starts from the last proposals, scaled to its budget; the last proposal is kept for
            images that stay robust.
        done: Called with the number of finished members.
        **common: ``norm``, ``seed``, ``batch_size``, ``journal`` and ``clean`` of `bench.attacks.run`.

    Raises:
        ValueError: Every member was left out, or an argument is wrong.
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
            # Small steps would need long to move from the old boundary to the new one.
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
    if not results:
        raise ValueError(f"no attack was made: {'; '.join(f'{name} ({why})' for name, why in absent.items())}")
    _, first = next(iter(results.values()))  # it attacked all images
    return Chain(
        turns, results, absent, first.ids, first.clean_correct, first.clean_finite, robust, adversarials
    )  # fmt: skip


def _of_the_machine(error: Exception) -> bool:
    """Whether the error is one of the machine, so that the same attack may succeed elsewhere."""
    machine = (MemoryError, OSError, ImportError, torch.OutOfMemoryError, torch.AcceleratorError)
    return isinstance(error, machine) or "not installed" in str(error)


@dataclass(frozen=True)
class Sweep:
    """A chained sweep over E increasing budgets, for N images.

    Attributes:
        definition: Definition of the sweep, which says that it is chained.
        eps: Budgets in pixel units.
        ids: (N,) identities of the images.
        clean_correct: (N,) whether the clean prediction is right.
        clean_finite: (N,) whether all outputs for the clean image are finite.
        robust: (E, N) robust flags; a flag that is false stays false at all larger budgets.
        adversarials: (N, C, H, W) the adversarial at the smallest budget that broke the image, else the last proposal.
        forwards: (N,) forward passes over all budgets.
        stages: For each budget that was attacked, the result on the images that smaller budgets did not break.
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
    """Attack at increasing budgets. Each budget attacks the images that smaller ones did not break, and starts from
    their last proposals, scaled to the budget.

    Args:
        name: Name of an attack that accepts starts, such as ``"adaptive_pgd"``; or an attack with its parameters.
        model: As in `bench.attacks.run`, like all arguments that are not described here.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        norm: ``"linf"`` or ``"l2"``.
        eps: Increasing budgets, such as ``["1/255", "2/255"]``.
        seed: Seed of all noise.
        ids: (N,) identities.
        batch_size: Images per forward pass.
        journal: Keeps finished pieces, so that a killed sweep can resume.
        clean: A clean pass of ``model`` and ``batch_size`` that several sweeps share.
        **params: Parameters of the attack.

    Raises:
        ValueError: The budgets do not increase, or the attack accepts no starts.
    """
    budgets = tuple(parse_eps(value) for value in eps)
    if not budgets or any(large <= small for small, large in pairwise(budgets)):
        raise ValueError(f"eps must be increasing budgets, got {list(eps)}")
    attack = named_attack(name, params)
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
