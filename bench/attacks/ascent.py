"""One run of projected gradient ascent on one batch, and the trace that it leaves."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .frozen import FrozenModel
from .gradients import finite, largest
from .losses import Loss, LossInputs, margins
from .threat import ThreatModel


@dataclass(frozen=True)
class Batch:
    """Images of one run.

    Attributes:
        images: (N, C, H, W) clean images.
        labels: (N,) true classes.
        goals: (N,) classes that must be predicted for a success; None: any wrong class.
        pull: (N,) targets of the loss; None: the loss is untargeted. Differs from ``goals`` where a
            loss visits the rivals in turn although any wrong class will do.
    """

    images: Tensor
    labels: Tensor
    goals: Tensor | None
    pull: Tensor | None


@dataclass(frozen=True)
class Trace:
    """What is kept per image, first dimension N.

    Attributes:
        final: Final iterate (the last one reached, for images that were dropped).
        final_wrong: Whether it reached the goal.
        final_margin: Its margin towards the goal.
        loss: Loss there.
        first: First iterate that reached the goal, ``final`` if none did.
        first_step: Its number, 0 being the start; -1 for never.
        forwards: Forward passes.
        start_gradient: Largest absolute gradient at the start.
        last_gradient: The same at the last gradient taken.
        start_probability: softmax(z)_y in float32 at the start.
        last_probability: The same at the last gradient taken.
    """

    final: Tensor
    final_wrong: Tensor
    final_margin: Tensor
    loss: Tensor
    first: Tensor
    first_step: Tensor
    forwards: Tensor
    start_gradient: Tensor
    last_gradient: Tensor
    start_probability: Tensor
    last_probability: Tensor

    def merged(self, later: Trace, rows: Tensor) -> Trace:
        """This trace of N images with a later run of those in ``rows`` (M,) taken in.

        ``rows`` are images whose final iterate has not reached the goal. It is replaced if the later one
        did or came closer; the first wrong iterate if there was none. Gradient health stays that of
        the first run.
        """
        merged = {field.name: getattr(self, field.name).clone() for field in fields(self)}
        closer = later.final_wrong | (later.final_margin > self.final_margin[rows])
        for name in ("final", "final_wrong", "final_margin", "loss"):
            merged[name][rows[closer]] = getattr(later, name)[closer]
        unbroken = self.first_step[rows] < 0
        takes = unbroken & (later.first_step >= 0)
        for name in ("first", "first_step"):
            merged[name][rows[takes]] = getattr(later, name)[takes]
        still = rows[unbroken & (later.first_step < 0)]
        merged["first"][still] = merged["final"][still]
        merged["forwards"][rows] += later.forwards
        return Trace(**merged)


@dataclass(frozen=True)
class Ascent:
    """A loss, a ball and a step size, ready to run.

    Attributes:
        model: The frozen model.
        threat: Ball and box.
        loss: What is maximised.
        steps: Gradient steps.
        step: Step size in pixel units.
        centers: (K, d) class centers, for losses that need them.
        survivors_only: Stop working on an image once it reached the goal.
        halve_at: Shares of the steps, increasing, after each of which the step size is halved.
    """

    model: FrozenModel
    threat: ThreatModel
    loss: Loss
    steps: int
    step: float
    centers: Tensor | None
    survivors_only: bool
    halve_at: tuple[float, ...] = ()

    def run(self, batch: Batch, starts: Tensor, instead: Tensor | None = None) -> Trace:
        """Climb from the starts (N, C, H, W).

        Args:
            batch: The images.
            starts: (N, C, H, W) in the ball.
            instead: (N, C, H, W) where the first step leads from a start with a gradient of exactly zero, from which no
                gradient leads anywhere; None: it stays.
        """
        count, device = len(starts), starts.device
        current, first = starts.clone(), starts.clone()
        first_step = torch.full((count,), -1, dtype=torch.int64, device=device)
        forwards = torch.zeros(count, dtype=torch.int64, device=device)
        final_wrong = torch.zeros(count, dtype=torch.bool, device=device)
        loss, margin, *health = (torch.full((count,), torch.nan, device=device, dtype=starts.dtype) for _ in range(6))
        start_gradient, last_gradient, start_probability, last_probability = health
        active = torch.arange(count, device=device)
        for number in range(self.steps + 1):
            # While no image was dropped there is nothing to gather and to scatter.
            whole = len(active) == count
            points, part = current if whole else current[active], _select(batch, active)
            more = number < self.steps
            logits, losses, gradient, passes = self._evaluate(points, part, with_gradient=more)
            forwards[active] += passes
            closeness, wrong = _goal(logits, part)
            loss[active], margin[active], final_wrong[active] = losses, closeness, wrong
            newly = active[wrong & (first_step[active] < 0)]
            first[newly], first_step[newly] = current[newly], number
            if gradient is None:
                break
            gradient, size = finite(gradient)
            probability = _true_probability(logits, part.labels)
            if number == 0:
                start_gradient[active], start_probability[active] = size, probability
            last_gradient[active], last_probability[active] = size, probability
            if self.survivors_only and bool(wrong.any()):
                keep = ~wrong
                active, points, gradient = active[keep], points[keep], gradient[keep]
                part, whole = _select(batch, active), False
                if not len(active):
                    break
            stepped = self._stepped(points, gradient, part.images, number)
            if number == 0 and instead is not None:
                stuck = (gradient == 0).flatten(1).all(dim=1)
                stepped = torch.where(stuck.view(-1, *[1] * (stepped.ndim - 1)), instead[active], stepped)
            if whole:
                current = stepped
            else:
                current[active] = stepped
        never = first_step < 0
        first[never] = current[never]
        return Trace(
            current, final_wrong, margin, loss, first, first_step, forwards,
            start_gradient, last_gradient, start_probability, last_probability,
        )  # fmt: skip

    def _stepped(self, points: Tensor, gradient: Tensor, images: Tensor, number: int) -> Tensor:
        size = self.step * 0.5 ** sum(number >= share * self.steps for share in self.halve_at)
        if self.threat.norm == "linf":
            direction = gradient.sign()
        else:
            # Divided by the largest entry first: squares of tiny gradients would underflow.
            shape = (-1, *[1] * (points.ndim - 1))
            tiny = torch.finfo(gradient.dtype).tiny
            direction = gradient / largest(gradient).clamp_min(tiny).view(shape)
            direction = direction / direction.flatten(1).norm(dim=1).clamp_min(tiny).view(shape)
        return self.threat.project(points + size * direction, images)

    def _evaluate(
        self, points: Tensor, batch: Batch, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, int]:
        """Logits (N, K), losses (N,), the input gradient of each loss, and the forward passes that were made."""
        points = points.detach().requires_grad_(with_gradient)
        features, passes = None, 1
        with torch.set_grad_enabled(with_gradient):
            if self.loss.needs_features:
                logits, features, passes = self.model.logits_and_features(points)
            else:
                logits = self.model.logits(points)
            losses = self.loss(LossInputs(logits, batch.labels, batch.pull, features, self.centers))
        gradient: Tensor | None = None
        if with_gradient:
            # The sum keeps every image's gradient its own. A model that ignores its input has none.
            found = None
            if losses.requires_grad:
                (found,) = torch.autograd.grad(losses.sum(), points, allow_unused=True)
            gradient = torch.zeros_like(points) if found is None else found
        return logits.detach(), losses.detach(), gradient, passes


def _select(batch: Batch, rows: Tensor) -> Batch:
    if len(rows) == len(batch.images):
        return batch
    return Batch(
        batch.images[rows],
        batch.labels[rows],
        None if batch.goals is None else batch.goals[rows],
        None if batch.pull is None else batch.pull[rows],
    )


def _goal(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Margin towards the goal (N,) and whether it is reached (N,); never with logits that are not finite."""
    finite = logits.isfinite().all(dim=1)
    if batch.goals is None:
        closeness, reached = margins(logits, batch.labels), logits.argmax(dim=1) != batch.labels
    else:
        closeness, reached = -margins(logits, batch.goals), logits.argmax(dim=1) == batch.goals
    return torch.where(finite, closeness, -torch.inf), reached & finite


def _true_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax(z)_y in float32, whatever the precision of the model."""
    probabilities = logits.float().softmax(dim=1)
    return probabilities.gather(1, labels[:, None]).squeeze(1).to(logits.dtype)
