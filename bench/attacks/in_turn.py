"""Attacks in turn, each on the images that earlier ones did not break.

The members of such a sequence are the losses of one attack, its restarts, draws of noise, the attacks of a worst case,
or the budgets of a sweep. `Composition` records which member broke which image, `InTurn` also the images found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .problem import Problem
from .result import Composition
from .table import HEALTH, Found, Table, unattacked

__all__ = ["InTurn"]


class InTurn:
    """Merges the results of members that attack the images of one problem in turn; keeps one proposal per image.

    Args:
        problem: The images.
        members: Names of the members; a single empty name for the restarts of one attack.
        facts: Measured values by member; the caller fills them.
        keep: Which proposal to keep of an image that no member has broken: the ``"first"``, the ``"last"``, or the
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

    def left(self, member: int | None = None) -> NDArray[np.int64]:
        """Indices of unbroken images; see `Composition.left`."""
        return self.composition.left(member)

    def take(self, rows: NDArray[np.int64], member: int, found: Table, proposals: Tensor, turn: int) -> None:
        """Merge the result of a member; the judge decides which images it broke.

        Args:
            rows: (M,) indices of the images that it attacked.
            member: Index of the member.
            found: Its result, M rows.
            proposals: (M, C, H, W) images of ``found`` that are judged and kept.
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
        """The merged result; with ``any_iterate``, proposals are first wrong iterates instead of final ones."""
        if not any_iterate:
            return Found(self.table, steps)
        table = Table({**self.table.columns, "first": self.table["final"]})
        return Found(table, steps, has_final=False, composition=self.composition)
