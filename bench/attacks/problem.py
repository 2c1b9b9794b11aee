"""Inputs of an attack: the images that the model classifies correctly, and the judge of proposals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frozen import FrozenModel
from .journal import Pages
from .judge import Judgement
from .losses import Goal
from .table import Table
from .threat import ThreatModel


@dataclass(frozen=True)
class Surrogate:
    """Another model that an attack takes its gradients from.

    Attributes:
        model: The frozen surrogate.
        clean_logits: (N, K) logits of the images of the problem, on the CPU.
    """

    model: FrozenModel
    clean_logits: Tensor


@dataclass(frozen=True)
class Problem:
    """Images to attack: only those that the model classifies correctly.

    Attributes:
        model: The frozen model, in the precision of the search.
        images: (N, C, H, W) in [0, 1], on the CPU.
        labels: (N,) true classes, on the CPU.
        ids: (N,) identities of the images; noise depends on them.
        targets: (N,) classes to reach, or None if any wrong class is a success.
        clean_logits: (N, K), on the CPU.
        threat: The threat model.
        seed: Seed of the attack.
        batch_size: Images per forward pass.
        device: Where the model is.
        judge: Judges proposals (M, C, H, W) for the images of an index (M,).
        starts: (N, C, H, W) starts of the first restart, to be projected onto the threat model; None: the attack
            chooses them.
        surrogate: Another model; None for attacks that need none.
        pages: Journal of finished pieces, so that a killed attack can resume; None: no journal.
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

    @property
    def goal(self) -> Goal:
        """What is a success, on the CPU."""
        return Goal(self.labels, self.targets)

    def batches(self) -> Iterator[tuple[str, Problem]]:
        """The images in batches of ``batch_size``, each with the name of its piece in the journal."""
        for start in range(0, len(self.images), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(self.images)))
            yield f"batch {start}", self.part(rows)

    def perturbed(self, unit: NDArray[np.float32], images: Tensor) -> Tensor:
        """The images, each moved by eps times its row of ``unit``, projected onto the threat model.

        Args:
            unit: (N, C H W) perturbations for a budget of 1.
            images: (N, C, H, W), those of the problem on any device.

        Returns:
            (N, C, H, W), as ``images``.
        """
        offsets = torch.from_numpy(unit).view(images.shape).to(images) * self.threat.eps
        return self.threat.project(images + offsets, images)

    def remember(self, piece: str, compute: Callable[[], Table]) -> Table:
        """A piece of the attack, read from the journal if a killed run stored it, else computed.

        Args:
            piece: Name of the piece, unique within the attack.
            compute: Computes the piece, on any device.

        Returns:
            The piece, contiguous, on the CPU.
        """

        def arrays() -> dict[str, NDArray[np.generic]]:
            return {name: column.numpy() for name, column in Table.joined([compute()]).columns.items()}

        if self.pages is None:
            return Table({name: torch.from_numpy(array) for name, array in arrays().items()})
        # Copies: arrays that wait to be written must not change when the attack works in place.
        kept = self.pages.remember(piece, arrays)
        return Table({name: torch.from_numpy(array.copy()) for name, array in kept.items()})

    def within(self, part: str) -> Problem:
        """The same problem for a part of an attack; its pieces have separate names."""
        return self if self.pages is None else replace(self, pages=self.pages.within(part))

    def on_surrogate(self) -> Problem:
        """The same images with the surrogate in place of the model; the judge still uses the model."""
        assert self.surrogate is not None  # the runner has looked
        return replace(self, model=self.surrogate.model, clean_logits=self.surrogate.clean_logits)

    def in_float32(self) -> Problem:
        """The same problem, with gradients in float32 also where the search runs in bfloat16."""
        other = self.surrogate
        exact = None if other is None else replace(other, model=other.model.exact)
        return replace(self, model=self.model.exact, surrogate=exact)

    def part(self, rows: NDArray[np.int64]) -> Problem:
        """The problem with the images ``rows`` (M,) only; its judge takes indices into ``rows``."""
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
