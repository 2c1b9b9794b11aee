"""Carlini-Wagner L2 with binary search over c: Adam in the variable w of a tanh.

Every image has its own c, optimiser state and record, so that its result does not depend on the rest of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .frozen import FrozenModel
from .gradients import input_gradient, per_image, true_probability
from .losses import Goal
from .problem import Problem
from .table import HEALTH, Table
from .threat import ThreatModel
from .waiting import check_every, known_empty

__all__ = ["Search"]

_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8

# A success must exceed the rounding of logits: the judge recomputes them with other kernels.
_ROUNDING = 4e-6

# Passes in float32 along the segment through what a round in bfloat16 found, and the first change of its length.
_TRIALS, _STRETCH = 6, 0.04


@dataclass(frozen=True)
class Search:
    """Rounds of Adam in w, with x = 1/2 + half_range tanh(w), between which c is bisected.

    Attributes:
        threat: Norm and budget; only successes within it count.
        steps: Adam steps of each round.
        rounds: Rounds of the binary search over c.
        c0: First c; it is multiplied by ten until a round succeeds, then bisected.
        lr: Learning rate of Adam, in w.
        kappa: Margin that a success must have.
        patience: Steps without a smaller cost after which an image ends its round; None: never. It is dropped at the
            next look (`bench.attacks.waiting`), and nothing of it is recorded in between.
        half_range: Factor of the tanh. With 1/2, as published, pixels of exactly 0 or 1 lie at infinite w, and pixels
            near them move by millionths per step. With 1/1.9 they lie at |w| = 1.83, where a step of w changes a pixel
            a tenth as much as at w = 0. In both cases w is restricted to x in [0, 1].
    """

    threat: ThreatModel
    steps: int
    rounds: int
    c0: float
    lr: float
    kappa: float
    patience: int | None
    half_range: float

    def run(self, problem: Problem) -> Table:
        """The smallest successful perturbation of each image, batch by batch; the image itself where none succeeded.

        Returns:
            A table on the CPU without columns of final iterates: ``first`` is ``final``.
        """
        device, layout = problem.device, problem.model.memory_format(problem.images[:1].to(problem.device))
        batches = []
        for name, part in problem.batches():
            images = part.images.to(device).contiguous(memory_format=layout)
            batches.append(self._batch(part.within(name), images, part.goal.to(device)))
        best = Table.joined(batches)
        squared = best.columns.pop("squared").double()
        # The cost without its hinge, which is zero at a success.
        loss = torch.where(squared.isfinite(), squared, torch.nan)
        return Table({**best.columns, "loss": loss, "first": best["final"]})

    def _batch(self, problem: Problem, images: Tensor, goal: Goal) -> Table:
        """All rounds of one batch; each round is a piece that the journal keeps."""
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
        constants = torch.full_like(empty, self.c0)
        lower, upper = torch.zeros_like(empty), torch.full_like(empty, torch.inf)
        for number in range(self.rounds):
            compute = partial(self._round, problem.model, images, goal, constants, best, number)
            best = problem.remember(f"round {number}", compute).to(images.device)
            succeeded = best.columns.pop("succeeded")
            upper = torch.where(succeeded, torch.minimum(upper, constants), upper)
            lower = torch.where(succeeded, lower, torch.maximum(lower, constants))
            constants = torch.where(upper.isinf(), constants * 10, (lower + upper) / 2)
        return best

    def _round(
        self, model: FrozenModel, images: Tensor, goal: Goal, constants: Tensor, best: Table, number: int
    ) -> Table:
        """Run Adam from the images, with one c per image; the best so far, with a column ``succeeded`` of the round."""
        half_range = self.half_range
        bound = float(np.arctanh(0.5 / half_range))
        active = torch.arange(len(images), device=images.device)
        clean, aim, c = images, goal, per_image(constants, images)
        exact = model.exact
        kept = best if model is exact else _nothing(images)
        w = torch.atanh((images - 0.5) / half_range)
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        lowest = torch.full_like(constants, torch.inf)
        idle = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        succeeded = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        live = torch.ones_like(succeeded)
        every = check_every(images.device)
        for step in range(self.steps):
            tanh = w.tanh()
            # At w = atanh(...) of the image the first point is the image itself, up to rounding.
            points = clean if step == 0 else (0.5 + half_range * tanh).clamp_(0, 1)
            first_time = number == 0 and step == 0  # the health of gradients is that of float32
            logits, margin, gradient, size = _margin_and_gradient(exact if first_time else model, points, aim)
            best["forwards"][active] += live
            missing = self.kappa - margin
            difference = points - clean
            squared = difference.flatten(1).square().sum(dim=1)
            reached = self._reached(logits, margin) & live
            self._record(kept, active, points, squared, reached, number * self.steps + step)
            succeeded[active] |= reached
            self._measure(best, active, live, size, logits, aim, first_time=first_time)
            if step == self.steps - 1:
                break
            cost = squared + constants[active] * missing.clamp_min(0)
            better = cost < lowest
            lowest, idle = torch.where(better, cost, lowest), torch.where(better, 0, idle + 1)
            if self.patience is not None:
                live &= idle < self.patience
                if step % every == 0 and len(left := live.nonzero().squeeze(1)) < len(active):
                    active = active[left]
                    if not len(active):
                        break
                    clean, aim, c, w, tanh, first, second, difference, gradient, missing, lowest, idle, live = (
                        clean[left], aim.rows(left), c[left], w[left], tanh[left], first[left], second[left],
                        difference[left], gradient[left], missing[left], lowest[left], idle[left], live[left],
                    )  # fmt: skip
            # In place, because fresh tensors are not in the cache. The hinge has no gradient where the goal is reached.
            pull = gradient * (c * per_image(missing > 0, images))
            stretch = tanh.square_().neg_().add_(1).mul_(half_range)
            slope = difference.mul_(2).sub_(pull).mul_(stretch)
            first = first.mul_(_BETA1).add_(slope, alpha=1 - _BETA1)
            second = second.mul_(_BETA2).addcmul_(slope, slope, value=1 - _BETA2)
            rate = self.lr / (1 - _BETA1 ** (step + 1))
            scale = second.sqrt().div_((1 - _BETA2 ** (step + 1)) ** 0.5).add_(_ADAM_EPS)
            w = w.addcdiv_(first, scale, value=-rate).clamp_(-bound, bound)
        if kept is not best:
            succeeded = self._confirmed(exact, images, goal, best, kept, succeeded)
        return Table({"succeeded": succeeded, **best.columns})

    def _reached(self, logits: Tensor, margin: Tensor) -> Tensor:
        """(N,) whether finite logits (N, K) with these margins (N,) towards the goal are a success."""
        beyond = (margin > _ROUNDING * logits.abs().amax(dim=1)) & (margin >= self.kappa)
        return beyond & logits.isfinite().all(dim=1)

    def _confirmed(
        self, exact: FrozenModel, images: Tensor, goal: Goal, best: Table, guesses: Table, succeeded: Tensor
    ) -> Tensor:
        """Which images a round in bfloat16 has broken (N,); their shortest success in float32 is recorded in ``best``.

        The boundary in bfloat16 lies a little before or behind that in float32. So the segment from the image through
        the guess is shortened or stretched, by halved steps, to where float32 sees the boundary. An image that float32
        breaks at no length tried has not been broken, and its c grows.
        """
        rows = guesses["squared"].isfinite().nonzero().squeeze(1)
        if not len(rows):
            return succeeded
        clean, aim, guess = images[rows], goal.rows(rows), guesses["final"][rows]
        length = torch.ones_like(guesses["squared"][rows])
        broken = torch.zeros_like(rows, dtype=torch.bool)
        for trial in range(_TRIALS):
            points = torch.lerp(clean, guess, per_image(length, clean)).clamp_(0, 1)
            with torch.no_grad():
                logits = exact.logits(points)
            squared = (points - clean).flatten(1).square().sum(dim=1)
            reached = self._reached(logits, aim.margin(logits))
            self._record(best, rows, points, squared, reached, guesses["first_step"][rows])
            best["forwards"][rows] += 1
            broken |= reached
            step = _STRETCH * 0.5**trial
            length = torch.where(reached, length - step, length + step)
        return succeeded.index_put((rows,), succeeded[rows] & broken)

    def _record(
        self, best: Table, active: Tensor, points: Tensor, squared: Tensor, reached: Tensor, iterate: Tensor | int
    ) -> None:
        """Keep the points that reached the goal within eps and with a smaller norm than before."""
        limit = self.threat.eps**2
        takes = reached & (squared <= limit) & (squared < best["squared"][active])
        if known_empty(takes):
            return
        best.overlay(active, takes, {"final": points, "squared": squared})
        best.overlay(active, takes & (best["first_step"][active] < 0), {"first_step": iterate})

    def _measure(
        self, best: Table, active: Tensor, live: Tensor, size: Tensor, logits: Tensor, goal: Goal, *, first_time: bool
    ) -> None:
        """Record the gradient health of the margin. That of its hinge would be zero where the goal is reached."""
        probability = true_probability(logits, goal.labels)
        if first_time:
            best.overlay(active, live, {"start_gradient": size, "start_probability": probability})
        best.overlay(active, live, {"last_gradient": size, "last_probability": probability})


def _nothing(images: Tensor) -> Table:
    """The table of successes of a round before its first."""
    count = len(images)
    return Table(
        {
            "final": images.clone(),
            "squared": torch.full((count,), torch.inf, device=images.device, dtype=images.dtype),
            "first_step": torch.full((count,), -1, dtype=torch.int64, device=images.device),
        }
    )


def _margin_and_gradient(model: FrozenModel, points: Tensor, goal: Goal) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (N, K), margin towards the goal (N,), its input gradient with zeros where it is not finite, and the
    largest absolute entry of the gradient (N,).
    """
    points = points.detach().requires_grad_()
    logits = model.logits(points)
    margin = goal.margin(logits)
    gradient = input_gradient(margin, points)
    return logits.detach(), margin.detach(), *gradient
