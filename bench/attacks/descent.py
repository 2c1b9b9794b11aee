"""Carlini-Wagner L2 with binary search over c: Adam in the variable w of a tanh.

One c, one optimiser and one record for every image, so that the result does not depend on who shares the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .frozen import FrozenModel
from .gradients import input_gradient
from .losses import margins
from .problem import Problem
from .table import HEALTH, Table
from .threat import ThreatModel

if TYPE_CHECKING:
    from .carlini_wagner import CarliniWagner

__all__ = ["descend"]

_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8

# A success must exceed the rounding of logits: the judge recomputes them with other kernels.
_ROUNDING = 4e-6


@dataclass(frozen=True)
class _Goal:
    """What a batch must reach: (N,) labels to leave, or (N,) targets to reach."""

    labels: Tensor
    targets: Tensor | None

    def margin(self, logits: Tensor) -> Tensor:
        """(N,) margin towards the goal; positive where it is reached."""
        if self.targets is not None:
            return -margins(logits, self.targets)
        return margins(logits, self.labels)

    def rows(self, index: Tensor) -> _Goal:
        """The goal of some of the images."""
        return _Goal(self.labels[index], None if self.targets is None else self.targets[index])


def descend(cw: CarliniWagner, problem: Problem) -> Table:
    """The smallest successful perturbation of each image, batch by batch; the image itself where none succeeded.

    Returns:
        On the CPU, without columns of final iterates: ``first`` is ``final``.
    """
    search = _Search(cw, problem.threat, cw.effective_patience)
    layout = problem.model.memory_format(problem.images[:1].to(problem.device))
    batches = []
    for start in range(0, len(problem.images), problem.batch_size):
        rows = slice(start, start + problem.batch_size)
        images = problem.images[rows].to(problem.device).contiguous(memory_format=layout)
        targets = None if problem.targets is None else problem.targets[rows].to(problem.device)
        goal = _Goal(problem.labels[rows].to(problem.device), targets)
        batches.append(search.batch(problem.within(f"batch {start}"), images, goal))
    best = Table.joined(batches)
    squared = best.columns.pop("squared").double()
    # The cost without its hinge, which is zero at a success.
    loss = torch.where(squared.isfinite(), squared, torch.nan)
    return Table({**best.columns, "loss": loss, "first": best["final"]})


@dataclass(frozen=True)
class _Search:
    cw: CarliniWagner
    threat: ThreatModel
    patience: int | None

    @property
    def half_range(self) -> float:
        """X = 1/2 + half_range tanh(w), w kept where x is in [0, 1].

        With 1/2, as published, pixels of exactly 0 or 1 lie at infinite w, and those near them move by millionths a
        step. With 1/1.9 they lie at |w| = 1.83, where a step of w changes the pixel a tenth as much as in the middle.
        """
        return 1 / self.cw.tanh_divisor

    def batch(self, problem: Problem, images: Tensor, goal: _Goal) -> Table:
        """All rounds of one batch; each is a piece that survives a kill."""
        empty = torch.full((len(images),), torch.nan, device=images.device, dtype=images.dtype)
        best = Table(
            {
                "final": images.clone(),
                "squared": torch.full_like(empty, torch.inf),
                "first_step": torch.full((len(images),), -1, dtype=torch.int64, device=images.device),
                "forwards": torch.zeros(len(images), dtype=torch.int64, device=images.device),
                **{name: empty.clone() for name in HEALTH},
            }
        )
        constants = torch.full_like(empty, self.cw.c0)
        lower, upper = torch.zeros_like(empty), torch.full_like(empty, torch.inf)
        for number in range(self.cw.rounds):
            compute = partial(self._found_by_round, problem.model, images, goal, constants, best, number)
            best = problem.remember(f"round {number}", compute).to(images.device)
            succeeded = best.columns.pop("succeeded")
            upper = torch.where(succeeded, torch.minimum(upper, constants), upper)
            lower = torch.where(succeeded, lower, torch.maximum(lower, constants))
            constants = torch.where(upper.isinf(), constants * 10, (lower + upper) / 2)
        return best

    def _found_by_round(
        self, model: FrozenModel, images: Tensor, goal: _Goal, constants: Tensor, best: Table, number: int
    ) -> Table:
        """What stands after a round, with a column ``succeeded``."""
        succeeded = self._round(model, images, goal, constants, best, number)
        return Table({"succeeded": succeeded, **best.columns})

    def _round(
        self, model: FrozenModel, images: Tensor, goal: _Goal, constants: Tensor, best: Table, number: int
    ) -> Tensor:
        """Adam for one c an image, from the image; (N,) whether an iterate succeeded."""
        half_range = self.half_range
        bound = float(np.arctanh(0.5 / half_range))
        shape = (-1, *[1] * (images.ndim - 1))
        active = torch.arange(len(images), device=images.device)
        clean, aim, c = images, goal, constants.view(shape)
        w = torch.atanh((images - 0.5) / half_range)
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        lowest = torch.full_like(constants, torch.inf)
        idle = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        succeeded = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for step in range(self.cw.steps):
            tanh = w.tanh()
            # At w = atanh(...) of the image the first point is the image itself, up to rounding.
            points = clean if step == 0 else (0.5 + half_range * tanh).clamp_(0, 1)
            logits, margin, gradient, size = _margin_and_gradient(model, points, aim)
            best["forwards"][active] += 1
            missing = self.cw.kappa - margin
            difference = points - clean
            squared = difference.flatten(1).square().sum(dim=1)
            reached = (margin > _ROUNDING * logits.abs().amax(dim=1)) & (missing <= 0) & logits.isfinite().all(dim=1)
            self._record(best, active, points, squared, reached, number * self.cw.steps + step)
            succeeded[active] |= reached
            self._measure(best, active, size, logits, aim, first_time=number == 0 and step == 0)
            if step == self.cw.steps - 1:
                break
            cost = squared + constants[active] * missing.clamp_min(0)
            better = cost < lowest
            lowest, idle = torch.where(better, cost, lowest), torch.where(better, 0, idle + 1)
            if self.patience is not None and bool((idle >= self.patience).any()):
                keep = idle < self.patience
                active = active[keep]
                if not len(active):
                    break
                clean, aim, c, w, tanh, first, second, difference, gradient, missing, lowest, idle = (
                    clean[keep], aim.rows(keep), c[keep], w[keep], tanh[keep], first[keep], second[keep],
                    difference[keep], gradient[keep], missing[keep], lowest[keep], idle[keep],
                )  # fmt: skip
            # In place: a fresh tensor is memory that no cache holds. The hinge stops pulling where the goal is reached.
            pull = gradient * (c * (missing > 0).view(shape))
            stretch = tanh.square_().neg_().add_(1).mul_(half_range)
            slope = difference.mul_(2).sub_(pull).mul_(stretch)
            first = first.mul_(_BETA1).add_(slope, alpha=1 - _BETA1)
            second = second.mul_(_BETA2).addcmul_(slope, slope, value=1 - _BETA2)
            rate = self.cw.lr / (1 - _BETA1 ** (step + 1))
            scale = second.sqrt().div_((1 - _BETA2 ** (step + 1)) ** 0.5).add_(_ADAM_EPS)
            w = w.addcdiv_(first, scale, value=-rate).clamp_(-bound, bound)
        return succeeded

    def _record(
        self, best: Table, active: Tensor, points: Tensor, squared: Tensor, reached: Tensor, iterate: int
    ) -> None:
        """Take the points that reached the goal with less than ever before, within eps."""
        limit = self.threat.eps**2
        takes = reached & (squared <= limit) & (squared < best["squared"][active])
        if not bool(takes.any()):
            return
        rows = active[takes]
        best["final"][rows], best["squared"][rows] = points[takes], squared[takes]
        new = rows[best["first_step"][rows] < 0]
        best["first_step"][new] = iterate

    def _measure(
        self, best: Table, active: Tensor, size: Tensor, logits: Tensor, goal: _Goal, *, first_time: bool
    ) -> None:
        """Gradient health of the margin, not of its hinge, which is flat where the goal is reached."""
        probability = logits.float().softmax(dim=1).gather(1, goal.labels[:, None]).squeeze(1).to(logits.dtype)
        if first_time:
            best["start_gradient"][active], best["start_probability"][active] = size, probability
        best["last_gradient"][active], best["last_probability"][active] = size, probability


def _margin_and_gradient(model: FrozenModel, points: Tensor, goal: _Goal) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (N, K), margin towards the goal (N,), its input gradient, zero where it is not finite, and the largest
    absolute entry of that (N,).
    """
    points = points.detach().requires_grad_()
    logits = model.logits(points)
    margin = goal.margin(logits)
    gradient = input_gradient(margin, points)
    return logits.detach(), margin.detach(), *gradient
