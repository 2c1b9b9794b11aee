"""What an attack gets: the images that the model classifies correctly, and who judges proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frozen import FrozenModel
from .journal import Pages
from .judge import Judgement
from .table import Table
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

    def remember(self, piece: str, compute: Callable[[], Table]) -> Table:
        """A piece of the attack, computed unless a run that was killed has kept it.

        Args:
            piece: Its name, unique within the attack.
            compute: The piece, on any device.

        Returns:
            The piece, contiguous, on the CPU.
        """

        def arrays() -> dict[str, NDArray[np.generic]]:
            return {name: column.numpy() for name, column in Table.joined([compute()]).columns.items()}

        if self.pages is None:
            return Table({name: torch.from_numpy(array) for name, array in arrays().items()})
        # Copies: what waits to be written must not change when the attack goes on in place.
        kept = self.pages.remember(piece, arrays)
        return Table({name: torch.from_numpy(array.copy()) for name, array in kept.items()})

    def within(self, part: str) -> Problem:
        """The same problem for a part of an attack, whose pieces have names of their own."""
        return self if self.pages is None else replace(self, pages=self.pages.within(part))

    def on_surrogate(self) -> Problem:
        """The same images with the surrogate in place of the model; the judge stays that of the model."""
        assert self.surrogate is not None  # the runner has looked
        return replace(self, model=self.surrogate.model, clean_logits=self.surrogate.clean_logits)

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
