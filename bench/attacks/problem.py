"""What an attack gets and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frozen import FrozenModel
from .journal import Pages
from .judge import Judgement
from .threat import ThreatModel


@dataclass(frozen=True)
class Surrogate:
    """Another model that an attack takes its gradients from.

    Attributes:
        model: Frozen.
        clean_logits: (N, K) of the images of the problem, on the CPU.
    """

    model: FrozenModel
    clean_logits: Tensor


@dataclass(frozen=True)
class Problem:
    """Images to attack: only those that the model classifies correctly.

    Attributes:
        model: The frozen model.
        images: (N, C, H, W) in [0, 1], on the CPU.
        labels: (N,) true classes, on the CPU.
        ids: (N,) identities of the images; noise depends on them.
        targets: (N,) classes to reach, or None if any wrong class will do.
        clean_logits: (N, K), on the CPU.
        threat: The threat model.
        seed: Seed of the attack.
        batch_size: Images per forward pass.
        device: Where the model is.
        judge: Verdicts on proposals (M, C, H, W) for the images of an index (M,).
        starts: (N, C, H, W) where the first restart begins, projected onto the threat model; None: by the attack.
        surrogate: Another model; None for attacks that need none.
        pages: Where pieces of the attack are kept for the case that it is killed; None: nowhere.
    """

    model: FrozenModel
    images: Tensor
    labels: Tensor
    ids: NDArray[np.int64]
    targets: Tensor | None
    clean_logits: Tensor
    threat: ThreatModel
    seed: int
    batch_size: int
    device: torch.device
    judge: Callable[[Tensor, NDArray[np.int64]], Judgement]
    starts: Tensor | None = None
    surrogate: Surrogate | None = None
    pages: Pages | None = None

    def remember(self, piece: str, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """A piece of the attack, computed unless a run that was killed has kept it.

        Args:
            piece: Its name, unique within the attack.
            compute: Tensors by name, on any device.

        Returns:
            The tensors, contiguous, on the CPU.
        """

        def arrays() -> dict[str, NDArray[np.generic]]:
            return {name: tensor.contiguous().cpu().numpy() for name, tensor in compute().items()}

        if self.pages is None:
            return {name: torch.from_numpy(array) for name, array in arrays().items()}
        # Copies: what waits to be written must not change when the attack goes on in place.
        return {name: torch.from_numpy(array.copy()) for name, array in self.pages.remember(piece, arrays).items()}

    def within(self, part: str) -> Problem:
        """The same problem for a part of an attack, whose pieces have names of their own."""
        return self if self.pages is None else replace(self, pages=self.pages.within(part))

    def part(self, rows: NDArray[np.int64]) -> Problem:
        """The problem of the images in ``rows`` (M,) alone; the judge takes an index into them."""
        index = torch.from_numpy(rows)
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            ids=self.ids[rows],
            targets=None if self.targets is None else self.targets[index],
            clean_logits=self.clean_logits[index],
            judge=lambda candidates, chosen: self.judge(candidates, rows[chosen]),
            starts=None if self.starts is None else self.starts[index],
            surrogate=None
            if self.surrogate is None
            else replace(self.surrogate, clean_logits=self.surrogate.clean_logits[index]),
        )


@dataclass(frozen=True)
class GradientHealth:
    """Whether the loss gave the attack anything to follow; arrays of shape (N,), NaN where not attacked.

    The start is the first iterate of the first restart, the last the one before its last step.

    Attributes:
        start_gradient: Largest absolute input gradient of the loss at the start.
        last_gradient: The same at the last step.
        start_probability: softmax(z)_y in float32 at the start.
        last_probability: The same at the last step.
    """

    start_gradient: NDArray[np.float64]
    last_gradient: NDArray[np.float64]
    start_probability: NDArray[np.float64]
    last_probability: NDArray[np.float64]

    @staticmethod
    def unmeasured(size: int) -> GradientHealth:
        """All NaN."""
        return GradientHealth(*(np.full(size, np.nan) for _ in range(4)))

    @property
    def zero_gradient_share(self) -> float:
        """Share of attacked images with an exactly zero gradient, the larger of start and last step."""
        return _larger_share(self.start_gradient == 0, self.last_gradient == 0, self.start_gradient)

    @property
    def tiny_gradient_share(self) -> float:
        """Share of attacked images with all gradients below 1e-30, the larger of start and last step."""
        return _larger_share(self.start_gradient < 1e-30, self.last_gradient < 1e-30, self.start_gradient)

    @property
    def certain_share(self) -> float:
        """Share of attacked images whose p_y rounds to 1 in float32, the larger of start and last step."""
        return _larger_share(self.start_probability == 1, self.last_probability == 1, self.start_gradient)


def _larger_share(start: NDArray[np.bool_], last: NDArray[np.bool_], measured: NDArray[np.float64]) -> float:
    count = int((~np.isnan(measured)).sum())
    return max(int(start.sum()), int(last.sum())) / count if count else float("nan")


@dataclass(frozen=True)
class Composition:
    """Which member of a composed attack broke which image. A member is one loss.

    Attributes:
        members: Names, in the order of attack.
        broken_at: (N, M) restart in which the member broke the image; -1: it did not break it, or did not try.
        tried: (N, M) whether the member attacked the image.
        winner: (N,) index of the member that broke the image first, -1 for none.
        facts: By member, measured values such as the temperature and the share of zero gradients.
    """

    members: tuple[str, ...]
    broken_at: NDArray[np.int64]
    tried: NDArray[np.bool_]
    winner: NDArray[np.int64]
    facts: Mapping[str, Mapping[str, float]]

    @property
    def alone(self) -> NDArray[np.int64]:
        """(N,) index of the only member that broke the image; -1 where none or several did.

        Says something only about images that every member tried.
        """
        broken = self.broken_at >= 0
        return np.where(broken.sum(axis=1) == 1, broken.argmax(axis=1), -1).astype(np.int64)

    def spread(self, rows: NDArray[np.int64], count: int) -> Composition:
        """The same for ``count`` images, of which these are the ``rows`` and the others were not attacked."""
        size = (count, len(self.members))
        broken_at, tried = np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=np.bool_)
        winner = np.full(count, -1, dtype=np.int64)
        broken_at[rows], tried[rows], winner[rows] = self.broken_at, self.tried, self.winner
        return Composition(self.members, broken_at, tried, winner, self.facts)


@dataclass(frozen=True)
class Proposals:
    """What an attack proposes, for the images of its problem.

    Attributes:
        images: (N, C, H, W) on the CPU; the clean image where the attack gave up.
        forwards: (N,) forward passes spent on each image.
        steps: Number of the final iterate.
        loss: (N,) loss of the attack at ``images``; NaN for libraries.
        first_wrong: (N, C, H, W) first wrong iterates, the final one where none was; None if not tracked.
        first_step: (N,) number of the first wrong iterate (0 is the start), -1 for never.
        has_final: Whether every image has been attacked up to its final iterate.
        health: Gradient health.
        composition: What each member of a composed attack did; None for attacks of one piece.
    """

    images: Tensor
    forwards: NDArray[np.float64]
    steps: int
    loss: NDArray[np.float64]
    first_wrong: Tensor | None
    first_step: NDArray[np.int64]
    has_final: bool
    health: GradientHealth
    composition: Composition | None = None


class Attack(Protocol):
    """A configured attack; its parameters have been checked, nothing has been computed."""

    @property
    def definition(self) -> str:
        """Every resolved parameter, for the caption of a number."""

    @property
    def own(self) -> bool:
        """Whether a proposal outside the threat model is a bug of ours."""

    @property
    def iterate(self) -> str:
        """``"final"`` or ``"any"``: which proposals decide."""

    def propose(self, problem: Problem) -> Proposals:
        """Attack the images of a problem."""
