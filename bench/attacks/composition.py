"""Which member of a sequence of attacks broke which image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Composition"]


@dataclass(frozen=True)
class Composition:
    """Which member of a sequence of attacks broke which image.

    Attributes:
        members: Names, in the order of attack.
        broken_at: (N, M) round in which the member broke the image; -1 if it did not break or not attack it.
        tried: (N, M) whether the member attacked the image.
        winner: (N,) index of the member that broke the image first, -1 for none.
        facts: By member, measured values such as the temperature and the share of zero gradients.
    """

    members: tuple[str, ...]
    broken_at: NDArray[np.int64]
    tried: NDArray[np.bool_]
    winner: NDArray[np.int64]
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @staticmethod
    def of(members: Sequence[str], count: int, facts: Mapping[str, Mapping[str, float]] | None = None) -> Composition:
        """The composition of ``count`` images before any attack."""
        size = (count, len(members))
        nothing = np.full(size, -1, dtype=np.int64)
        winner = np.full(count, -1, dtype=np.int64)
        return Composition(tuple(members), nothing, np.zeros(size, dtype=np.bool_), winner, facts or {})

    def left(self, member: int | None = None) -> NDArray[np.int64]:
        """Indices of the images that no member has broken; with ``member``, those that this member has not broken."""
        unbroken = self.winner < 0 if member is None else self.broken_at[:, member] < 0
        return np.flatnonzero(unbroken)

    def took(
        self, rows: NDArray[np.int64], member: int, success: NDArray[np.bool_], turn: int = 0
    ) -> NDArray[np.bool_]:
        """Record the successes of a member.

        Args:
            rows: (M,) indices of the images that it attacked.
            member: Index of the member.
            success: (M,) whether it broke the image.
            turn: Number of the round.

        Returns:
            (M,) whether it broke the image and no member had broken it before.
        """
        new: NDArray[np.bool_] = success & (self.winner[rows] < 0)
        self.tried[rows, member] = True
        self.broken_at[rows[success], member] = turn
        self.winner[rows[new]] = member
        return new

    @property
    def alone(self) -> NDArray[np.int64]:
        """(N,) index of the only member that broke the image; -1 where none or several did.

        Valid only for images that every member attacked.
        """
        broken = self.broken_at >= 0
        return np.where(broken.sum(axis=1) == 1, broken.argmax(axis=1), -1).astype(np.int64)

    def spread(self, rows: NDArray[np.int64], count: int) -> Composition:
        """The composition of ``count`` images, where these are the ``rows`` and the others were not attacked."""
        whole = Composition.of(self.members, count, self.facts)
        whole.broken_at[rows], whole.tried[rows], whole.winner[rows] = self.broken_at, self.tried, self.winner
        return whole
