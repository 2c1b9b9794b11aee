"""Attacks in turn, each on what those before it left.

Losses of one attack, its restarts, draws of noise, attacks of a worst case and budgets of a sweep are all members of
such a sequence. `Composition` keeps which member broke which image, `InTurn` besides what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .problem import Problem
from .table import HEALTH, Found, Table, unattacked

__all__ = ["Composition", "InTurn"]


@dataclass(frozen=True)
class Composition:
    """Which member of a sequence of attacks broke which image.

    Attributes:
        members: Names, in the order of attack.
        broken_at: (N, M) round in which the member broke the image; -1: it did not break it, or did not try.
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
        """Before anything was tried on ``count`` images."""
        size = (count, len(members))
        nothing = np.full(size, -1, dtype=np.int64)
        winner = np.full(count, -1, dtype=np.int64)
        return Composition(tuple(members), nothing, np.zeros(size, dtype=np.bool_), winner, facts or {})

    def left(self, member: int | None = None) -> NDArray[np.int64]:
        """Indices of the images that nothing has broken; with a ``member``, those that it has not broken itself."""
        unbroken = self.winner < 0 if member is None else self.broken_at[:, member] < 0
        return np.flatnonzero(unbroken)

    def took(
        self, rows: NDArray[np.int64], member: int, success: NDArray[np.bool_], turn: int = 0
    ) -> NDArray[np.bool_]:
        """Note what a member did.

        Args:
            rows: (M,) the images that it attacked.
            member: Its index.
            success: (M,) which of them it broke.
            turn: Number of the round.

        Returns:
            (M,) which of them nothing had broken before.
        """
        new: NDArray[np.bool_] = success & (self.winner[rows] < 0)
        self.tried[rows, member] = True
        self.broken_at[rows[success], member] = turn
        self.winner[rows[new]] = member
        return new

    @property
    def alone(self) -> NDArray[np.int64]:
        """(N,) index of the only member that broke the image; -1 where none or several did.

        Says something only about images that every member tried.
        """
        broken = self.broken_at >= 0
        return np.where(broken.sum(axis=1) == 1, broken.argmax(axis=1), -1).astype(np.int64)

    def spread(self, rows: NDArray[np.int64], count: int) -> Composition:
        """The same for ``count`` images, of which these are the ``rows`` and the others were not attacked."""
        whole = Composition.of(self.members, count, self.facts)
        whole.broken_at[rows], whole.tried[rows], whole.winner[rows] = self.broken_at, self.tried, self.winner
        return whole


class InTurn:
    """Members on the images of one problem, and what they found.

    Args:
        problem: The images.
        members: Names of the members; one without a name for the restarts of one attack.
        facts: By member, to be filled by the caller.
        keep: Which proposal stays of an image that nothing has broken: the ``"first"``, the ``"last"``, or the
            ``"closest"`` within the threat model, by its margin. ``"first"`` is for the restarts of an attack.
    """

    def __init__(
        self,
        problem: Problem,
        members: Sequence[str] = ("",),
        facts: Mapping[str, Mapping[str, float]] | None = None,
        keep: Literal["first", "last", "closest"] = "first",
    ) -> None:
        self.problem = problem
        self.composition = Composition.of(members, len(problem.images), facts)
        self.table = unattacked(problem.images)
        self._keep = keep
        self._margin = np.full(len(problem.images), -np.inf)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members."""
        return self.composition.members

    def left(self, member: int | None = None) -> NDArray[np.int64]:
        """As `Composition.left`."""
        return self.composition.left(member)

    def take(self, rows: NDArray[np.int64], member: int, found: Table, proposals: Tensor, turn: int) -> None:
        """Take in what a member found; the judge says what it broke.

        Args:
            rows: (M,) the images that it attacked.
            member: Its index.
            found: (M rows) what it found.
            proposals: (M, C, H, W) of ``found``, those that are judged and kept.
            turn: Number of the round.
        """
        judgement = self.problem.judge(proposals, rows)
        before = self.composition.winner[rows] >= 0
        fresh = ~self.composition.tried[rows].any(axis=1)
        new = self.composition.took(rows, member, judgement.success, turn)
        if self._keep == "closest":
            kept = new | (~before & judgement.valid & (judgement.margin > self._margin[rows]))
            self._margin[rows[kept]] = judgement.margin[kept]
        else:
            kept = np.asarray(np.logical_or(new, fresh if self._keep == "first" else ~before))
        index = torch.from_numpy(rows)
        self._put("final", index, kept, proposals)
        self._put("loss", index, kept, found["loss"])
        self._put("first_step", index, new, found["first_step"])
        for name in HEALTH:
            self._put(name, index, fresh, found[name])
        self.table["forwards"][index] += found["forwards"].to(self.table["forwards"])

    def _put(self, name: str, rows: Tensor, which: Any, values: Tensor) -> None:
        chosen = torch.from_numpy(which)
        self.table[name][rows[chosen]] = values[chosen].to(self.table[name])

    def found(self, steps: int = 0, *, any_iterate: bool = False) -> Found:
        """All of it; with ``any_iterate`` the proposals are first wrong iterates instead of final ones."""
        if not any_iterate:
            return Found(self.table, steps)
        table = Table({**self.table.columns, "first": self.table["final"]})
        return Found(table, steps, has_final=False, composition=self.composition)
