"""Carlini-Wagner L2 with binary search over c (Carlini & Wagner 2017, arXiv:1608.04644, section VI.A).

Minimises ``||x' - x||^2 + c max(0, kappa - margin(x'))`` by Adam in the variable w of a tanh; one c, one
optimiser and one record for every image, so that the result does not depend on who shares the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from . import definitions
from .catalogue import checked_int, checked_number
from .frozen import FrozenModel
from .gradients import finite
from .losses import margins
from .problem import GradientHealth, Problem, Proposals
from .threat import ThreatModel

_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8

# x = 1/2 + _HALF_RANGE tanh(w), w kept where x is in [0, 1]. With a half range of 1/2, as published, pixels of
# exactly 0 or 1 lie at infinite w, and those near them move by millionths a step. This little more leaves them at
# |w| = 1.83, where a step of w changes the pixel a tenth as much as it does in the middle.
_HALF_RANGE = 1 / definitions.TANH_DIVISOR

# A success must exceed the rounding of logits: the judge recomputes them with other kernels.
_ROUNDING = 4e-6

LEAST_PATIENCE = 50


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


@dataclass
class _Best:
    """The smallest successful perturbation of each image of a batch so far, over all rounds and iterates."""

    images: Tensor
    squared: Tensor
    first_step: Tensor
    forwards: Tensor
    start_gradient: Tensor
    last_gradient: Tensor
    start_probability: Tensor
    last_probability: Tensor


@dataclass(frozen=True)
class CarliniWagner:
    """Parameters of the attack.

    Attributes:
        threat: L2; a finite eps keeps successes within it only.
        steps: Adam steps of each round.
        rounds: Rounds of the binary search over c.
        c0: First c; times ten until a round succeeds, then bisected.
        lr: Learning rate of Adam, in w.
        kappa: Margin by which to succeed.
        patience: Steps without a smaller cost after which an image ends its round; None: never.
        targeted: Whether the images come with targets.
    """

    threat: ThreatModel
    steps: int
    rounds: int
    c0: float
    lr: float
    kappa: float
    patience: int | None
    targeted: bool

    @property
    def own(self) -> bool:
        """True: leaving the threat model would be a bug."""
        return True

    @property
    def iterate(self) -> str:
        """The smallest successful iterate decides; it is what is proposed."""
        return "final"

    @property
    def definition(self) -> str:
        """Every resolved parameter."""
        return definitions.cw_l2(
            steps=self.steps,
            rounds=self.rounds,
            c0=self.c0,
            kappa=self.kappa,
            lr=self.lr,
            patience=self.patience,
            targets="given targets" if self.targeted else "untargeted",
            eps=self.threat.eps,
        )

    def propose(self, problem: Problem) -> Proposals:
        """Attack batch by batch."""
        layout = problem.model.memory_format(problem.images[:1].to(problem.device))
        batches = []
        for start in range(0, len(problem.images), problem.batch_size):
            rows = slice(start, start + problem.batch_size)
            images = problem.images[rows].to(problem.device).contiguous(memory_format=layout)
            targets = None if problem.targets is None else problem.targets[rows].to(problem.device)
            goal = _Goal(problem.labels[rows].to(problem.device), targets)
            batches.append(self._attack_batch(problem.within(f"batch {start}"), images, goal))

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(best, name).contiguous().cpu() for best in batches])

        images, squared, first_step = joined("images"), joined("squared").double().numpy(), joined("first_step")
        health = (
            joined(name).double().numpy()
            for name in ("start_gradient", "last_gradient", "start_probability", "last_probability")
        )
        return Proposals(
            images=images,
            forwards=joined("forwards").double().numpy(),
            steps=self.steps * self.rounds,
            # The cost without its hinge, which is zero at a success.
            loss=np.where(np.isfinite(squared), squared, np.nan),
            first_wrong=images,
            first_step=first_step.numpy(),
            has_final=True,
            health=GradientHealth(*health),
        )

    def _attack_batch(self, problem: Problem, images: Tensor, goal: _Goal) -> _Best:
        """All rounds of one batch; each is a piece that survives a kill."""
        empty = torch.full((len(images),), torch.nan, device=images.device, dtype=images.dtype)
        best = _Best(
            images=images.clone(),
            squared=torch.full_like(empty, torch.inf),
            first_step=torch.full((len(images),), -1, dtype=torch.int64, device=images.device),
            forwards=torch.zeros(len(images), dtype=torch.int64, device=images.device),
            start_gradient=empty.clone(),
            last_gradient=empty.clone(),
            start_probability=empty.clone(),
            last_probability=empty.clone(),
        )
        constants = torch.full_like(empty, self.c0)
        lower, upper = torch.zeros_like(empty), torch.full_like(empty, torch.inf)
        for number in range(self.rounds):
            compute = partial(self._found_by_round, problem.model, images, goal, constants, best, number)
            found = {k: v.to(images.device) for k, v in problem.remember(f"round {number}", compute).items()}
            succeeded = found.pop("succeeded")
            best = _Best(**found)
            upper = torch.where(succeeded, torch.minimum(upper, constants), upper)
            lower = torch.where(succeeded, lower, torch.maximum(lower, constants))
            constants = torch.where(upper.isinf(), constants * 10, (lower + upper) / 2)
        return best

    def _found_by_round(
        self, model: FrozenModel, images: Tensor, goal: _Goal, constants: Tensor, best: _Best, number: int
    ) -> dict[str, Tensor]:
        """What stands after a round: ``succeeded`` (N,), and the fields of ``_Best``."""
        succeeded = self._round(model, images, goal, constants, best, number)
        return {"succeeded": succeeded, **vars(best)}

    def _round(
        self, model: FrozenModel, images: Tensor, goal: _Goal, constants: Tensor, best: _Best, number: int
    ) -> Tensor:
        """Adam for one c an image, from the image; (N,) whether an iterate succeeded."""
        bound = float(np.arctanh(0.5 / _HALF_RANGE))
        shape = (-1, *[1] * (images.ndim - 1))
        active = torch.arange(len(images), device=images.device)
        clean, aim, c = images, goal, constants.view(shape)
        w = torch.atanh((images - 0.5) / _HALF_RANGE)
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        lowest = torch.full_like(constants, torch.inf)
        idle = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        succeeded = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for step in range(self.steps):
            tanh = w.tanh()
            # At w = atanh(...) of the image the first point is the image itself, up to rounding.
            points = clean if step == 0 else (0.5 + _HALF_RANGE * tanh).clamp_(0, 1)
            logits, margin, gradient, size = _margin_and_gradient(model, points, aim)
            best.forwards[active] += 1
            missing = self.kappa - margin
            difference = points - clean
            squared = difference.flatten(1).square().sum(dim=1)
            reached = (margin > _ROUNDING * logits.abs().amax(dim=1)) & (missing <= 0) & logits.isfinite().all(dim=1)
            self._record(best, active, points, squared, reached, number * self.steps + step)
            succeeded[active] |= reached
            self._measure(best, active, size, logits, aim, first_time=number == 0 and step == 0)
            if step == self.steps - 1:
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
            stretch = tanh.square_().neg_().add_(1).mul_(_HALF_RANGE)
            slope = difference.mul_(2).sub_(pull).mul_(stretch)
            first = first.mul_(_BETA1).add_(slope, alpha=1 - _BETA1)
            second = second.mul_(_BETA2).addcmul_(slope, slope, value=1 - _BETA2)
            rate = self.lr / (1 - _BETA1 ** (step + 1))
            scale = second.sqrt().div_((1 - _BETA2 ** (step + 1)) ** 0.5).add_(_ADAM_EPS)
            w = w.addcdiv_(first, scale, value=-rate).clamp_(-bound, bound)
        return succeeded

    def _record(
        self, best: _Best, active: Tensor, points: Tensor, squared: Tensor, reached: Tensor, iterate: int
    ) -> None:
        """Take the points that reached the goal with less than ever before, within eps."""
        limit = self.threat.eps**2
        takes = reached & (squared <= limit) & (squared < best.squared[active])
        if not bool(takes.any()):
            return
        rows = active[takes]
        best.images[rows], best.squared[rows] = points[takes], squared[takes]
        new = rows[best.first_step[rows] < 0]
        best.first_step[new] = iterate

    def _measure(
        self, best: _Best, active: Tensor, size: Tensor, logits: Tensor, goal: _Goal, *, first_time: bool
    ) -> None:
        """Gradient health of the margin, not of its hinge, which is flat where the goal is reached."""
        probability = logits.float().softmax(dim=1).gather(1, goal.labels[:, None]).squeeze(1).to(logits.dtype)
        if first_time:
            best.start_gradient[active], best.start_probability[active] = size, probability
        best.last_gradient[active], best.last_probability[active] = size, probability


def _margin_and_gradient(model: FrozenModel, points: Tensor, goal: _Goal) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (N, K), margin towards the goal (N,), its input gradient, zero where it is not finite, and the largest
    absolute entry of that (N,).
    """
    points = points.detach().requires_grad_()
    logits = model.logits(points)
    margin = goal.margin(logits)
    found = None
    if margin.requires_grad:
        (found,) = torch.autograd.grad(margin.sum(), points, allow_unused=True)
    gradient = torch.zeros_like(points) if found is None else found
    return logits.detach(), margin.detach(), *finite(gradient)


def build(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> CarliniWagner:
    """Check the parameters of a catalogue entry (see `bench.attacks.catalogue`).

    Raises:
        ValueError: A parameter has a wrong value.
    """
    steps = checked_int("cw_l2", params, "steps")
    patience = None
    if params["patience"] is not None:
        patience = definitions.effective_patience(steps, checked_int("cw_l2", params, "patience"))
        if params["patience"] < LEAST_PATIENCE:  # type: ignore[operator]  # an integer, as just checked
            raise ValueError(
                f"cw_l2: patience must be at least {LEAST_PATIENCE} (fewer steps end images before they converge) "
                f"or None, got {params['patience']!r}"
            )
    return CarliniWagner(
        threat=threat,
        steps=steps,
        rounds=checked_int("cw_l2", params, "rounds"),
        c0=checked_number("cw_l2", params, "c0", above_zero=True),
        lr=checked_number("cw_l2", params, "lr", above_zero=True),
        kappa=checked_number("cw_l2", params, "kappa"),
        patience=patience,
        targeted=targeted,
    )
