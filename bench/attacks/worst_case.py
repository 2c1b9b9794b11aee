"""Several attacks on the same images as one: what all of them leave, and which of them did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from . import catalogue, definitions
from .clean import CleanPass
from .journal import Journal
from .result import AttackResult
from .runner import run
from .threat import Norm, parse_eps


@dataclass(frozen=True)
class WorstCase:
    """The worst of M attacks for each of N images.

    Attributes:
        names: Names of the attacks, in their order.
        definition: Of all of them.
        ids: (N,) identities of the images.
        clean_correct: (N,) whether the clean prediction is right.
        robust: (N,) whether every attack failed on a clean-correct image.
        broken_by: (N, M) whether each attack succeeded.
        adversarials: (N, C, H, W): of the broken images the adversarial with the largest margin, of the others the
            closest miss.
        strongest: (N,) index of the attack that it is from.
    """

    names: tuple[str, ...]
    definition: str
    ids: NDArray[np.int64]
    clean_correct: NDArray[np.bool_]
    robust: NDArray[np.bool_]
    broken_by: NDArray[np.bool_]
    adversarials: NDArray[np.floating]
    strongest: NDArray[np.int64]

    @property
    def robust_accuracy(self) -> float:
        """Share of robust images among all N, an upper bound."""
        return float(self.robust.mean())

    @property
    def winner(self) -> NDArray[np.int64]:
        """(N,) index of the first attack that succeeded, -1 where none did."""
        return np.where(self.broken_by.any(axis=1), self.broken_by.argmax(axis=1), -1).astype(np.int64)

    @property
    def alone(self) -> NDArray[np.int64]:
        """(N,) index of the only attack that succeeded, -1 where none or several did."""
        return np.where(self.broken_by.sum(axis=1) == 1, self.broken_by.argmax(axis=1), -1).astype(np.int64)

    def shares(self, winners: NDArray[np.int64]) -> dict[str, float]:
        """Share of all N images by attack, for ``winner`` or ``alone``."""
        return {name: float((winners == number).mean()) for number, name in enumerate(self.names)}


def worst_case(results: Mapping[str, AttackResult]) -> WorstCase:
    """Combine attacks image by image.

    Args:
        results: By name, in the order that decides who was first; all on the same images and model.

    Raises:
        ValueError: No attack, or attacks on other images or another model.
    """
    if not results:
        raise ValueError("worst_case needs at least one attack")
    first = next(iter(results.values()))
    for name, result in results.items():
        if not np.array_equal(result.ids, first.ids) or result.adversarials.shape != first.adversarials.shape:
            raise ValueError(f"{name}: attacked other images than {next(iter(results))}")
        if not np.array_equal(result.clean_predictions, first.clean_predictions):
            raise ValueError(f"{name}: the clean predictions differ from those of {next(iter(results))}")
    attacks = list(results.values())
    broken_by = np.stack([result.success for result in attacks], axis=1)
    # Lexicographic: a success before any miss, then the larger margin; misses outside the ball never.
    margins = np.stack([np.where(result.valid, result.margin_after, -np.inf) for result in attacks], axis=1)
    allowed = np.where(broken_by == broken_by.any(axis=1, keepdims=True), margins, -np.inf)
    strongest = allowed.argmax(axis=1).astype(np.int64)
    return WorstCase(
        names=tuple(results),
        definition=f"worst case per image over {{{'; '.join(result.definition for result in attacks)}}}",
        ids=first.ids,
        clean_correct=first.clean_correct,
        robust=np.logical_and.reduce([result.robust for result in attacks]),
        broken_by=broken_by,
        adversarials=np.stack([result.adversarials for result in attacks])[strongest, np.arange(len(first.ids))],
        strongest=strongest,
    )


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
    name: str,
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
        name: An attack of the catalogue that can be given starts, such as ``"adaptive_pgd"``.
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
        **params: Parameters of the entry.

    Raises:
        ValueError: Budgets that do not increase, or an attack that cannot be given starts.
    """
    budgets = tuple(parse_eps(value) for value in eps)
    if not budgets or any(large <= small for small, large in pairwise(budgets)):
        raise ValueError(f"eps must be increasing budgets, got {list(eps)}")
    if not catalogue.find(name).startable:
        raise ValueError(f"attack {name!r} cannot be given starts, which a chained sweep needs")
    pictures, classes = torch.as_tensor(images), torch.as_tensor(labels)
    identities = np.arange(len(pictures)) if ids is None else np.asarray(ids)
    clean = CleanPass(model, batch_size) if clean is None else clean
    robust = np.zeros((len(budgets), len(pictures)), dtype=np.bool_)
    stages: list[AttackResult] = []
    adversarials = pictures.detach().cpu().numpy().copy()
    forwards = np.zeros(len(pictures))
    alive = np.arange(len(pictures))
    for number, budget in enumerate(budgets):
        if not len(alive):
            break
        rows = torch.from_numpy(alive)
        starts = None
        if number > 0 and budgets[number - 1] > 0:
            # Small steps would take long from the old boundary to the new one.
            centers = pictures[rows].detach().cpu().numpy()
            starts = np.clip(centers + (adversarials[alive] - centers) * (budget / budgets[number - 1]), 0, 1)
        result = run(
            name,
            model,
            pictures[rows],
            classes[rows],
            norm=norm,
            eps=budget,
            seed=seed,
            ids=identities[alive],
            starts=starts,
            batch_size=batch_size,
            journal=journal,
            clean=clean,
            **params,
        )
        stages.append(result)
        robust[number, alive] = result.robust
        adversarials[alive] = result.adversarials
        forwards[alive] += result.forwards
        alive = alive[result.robust]
    first = stages[0]  # there is an image and a budget
    return Sweep(
        definition=definitions.sweep(eps, first.definition),
        eps=budgets,
        ids=first.ids,
        clean_correct=first.clean_correct,
        clean_finite=first.clean_finite,
        robust=robust,
        adversarials=adversarials,
        forwards=forwards,
        stages=tuple(stages),
    )
