"""Projected gradient ascent: one run on one batch, and all restarts and rivals of `bench.attacks.pgd.PGDAttack`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.rng import uniform, uniform_in_ball

from .frozen import FrozenModel
from .gradients import input_gradient, largest
from .losses import Loss, LossInputs, get_loss, margins
from .problem import Problem
from .spec import HALVE_AT
from .table import HEALTH, Table
from .threat import ThreatModel, parse_step

if TYPE_CHECKING:
    from .pgd import PGDAttack

__all__ = ["Ascent", "AscentBatch", "climb"]


@dataclass(frozen=True)
class AscentBatch:
    """Images of one run.

    Attributes:
        images: (N, C, H, W) clean images.
        labels: (N,) true classes.
        goals: (N,) classes that must be predicted for a success; None: any wrong class.
        pull: (N,) targets of the loss; None: the loss is untargeted. Differs from ``goals`` where a loss visits the
            rivals in turn although any wrong class is a success.
    """

    images: Tensor
    labels: Tensor
    goals: Tensor | None
    pull: Tensor | None


@dataclass(frozen=True)
class Ascent:
    """A loss, a ball and a step size, ready to run.

    Attributes:
        model: The frozen model.
        threat: Ball and box.
        loss: The loss that is maximised.
        steps: Gradient steps.
        step: Step size in pixel units.
        centers: (K, d) class centers, for losses that need them.
        survivors_only: Whether an image is dropped once it reached the goal.
        halve_at: Increasing shares of the steps; the step size is halved after each of them.
    """

    model: FrozenModel
    threat: ThreatModel
    loss: Loss
    steps: int
    step: float
    centers: Tensor | None
    survivors_only: bool
    halve_at: tuple[float, ...] = ()

    def run(self, batch: AscentBatch, starts: Tensor, instead: Tensor | None = None) -> Table:
        """Climb from the starts (N, C, H, W).

        Args:
            batch: The images.
            starts: (N, C, H, W) in the ball.
            instead: (N, C, H, W) points to which the first step moves images whose start has a gradient of exactly
                zero; None: such images stay.
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
            # Gathering and scattering are skipped while no image has been dropped.
            whole = len(active) == count
            points, part = current if whole else current[active], _select(batch, active)
            more = number < self.steps
            logits, losses, following, passes = self._evaluate(points, part, with_gradient=more)
            forwards[active] += passes
            closeness, wrong = _goal(logits, part)
            loss[active], margin[active], final_wrong[active] = losses, closeness, wrong
            newly = active[wrong & (first_step[active] < 0)]
            first[newly], first_step[newly] = current[newly], number
            if following is None:
                break
            gradient, size = following
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
        return Table(
            {
                "final": current,
                "final_wrong": final_wrong,
                "final_margin": margin,
                "loss": loss,
                "first": first,
                "first_step": first_step,
                "forwards": forwards,
                **dict(zip(HEALTH, health, strict=True)),
            }
        )

    def _stepped(self, points: Tensor, gradient: Tensor, images: Tensor, number: int) -> Tensor:
        size = self.step * 0.5 ** sum(number >= share * self.steps for share in self.halve_at)
        if self.threat.norm == "linf":
            direction = gradient.sign()
        else:
            # Divide by the largest entry first: squares of tiny gradients would underflow.
            shape = (-1, *[1] * (points.ndim - 1))
            tiny = torch.finfo(gradient.dtype).tiny
            direction = gradient / largest(gradient).clamp_min(tiny).view(shape)
            direction = direction / direction.flatten(1).norm(dim=1).clamp_min(tiny).view(shape)
        return self.threat.project(points + size * direction, images)

    def _evaluate(
        self, points: Tensor, batch: AscentBatch, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None, int]:
        """Logits (N, K), losses (N,), the input gradient of each loss with its size, and the number of passes."""
        points = points.detach().requires_grad_(with_gradient)
        features, passes = None, 1
        with torch.set_grad_enabled(with_gradient):
            if self.loss.needs_centers:
                logits, features, passes = self.model.logits_and_features(points)
            else:
                logits = self.model.logits(points)
            losses = self.loss(LossInputs(logits, batch.labels, batch.pull, features, self.centers))
        gradient = input_gradient(losses, points) if with_gradient else None
        return logits.detach(), losses.detach(), gradient, passes


def _select(batch: AscentBatch, rows: Tensor) -> AscentBatch:
    if len(rows) == len(batch.images):
        return batch
    return AscentBatch(
        batch.images[rows],
        batch.labels[rows],
        None if batch.goals is None else batch.goals[rows],
        None if batch.pull is None else batch.pull[rows],
    )


def _goal(logits: Tensor, batch: AscentBatch) -> tuple[Tensor, Tensor]:
    """Margin towards the goal (N,) and whether it is reached (N,). Logits that are not finite never reach it."""
    finite = logits.isfinite().all(dim=1)
    if batch.goals is None:
        closeness, reached = margins(logits, batch.labels), logits.argmax(dim=1) != batch.labels
    else:
        closeness, reached = -margins(logits, batch.goals), logits.argmax(dim=1) == batch.goals
    return torch.where(finite, closeness, -torch.inf), reached & finite


def _true_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax(z)_y, computed in float32 for any precision of the model."""
    probabilities = logits.float().softmax(dim=1)
    return probabilities.gather(1, labels[:, None]).squeeze(1).to(logits.dtype)


def climb(
    pgd: PGDAttack, problem: Problem, *, loss: Loss | None = None, decaying: bool = False, first_restart: int = 0
) -> Table:
    """Attack all images of a problem, batch by batch.

    Args:
        pgd: Parameters.
        problem: The images.
        loss: Replaces the loss that ``pgd`` names, for example by a cross-entropy with a chosen temperature.
        decaying: Whether the step size is halved after the shares `bench.attacks.spec.HALVE_AT`.
        first_restart: Number of the first restart; the noise of a start depends on its number.

    Returns:
        A table on the CPU with all columns of `bench.attacks.table`.
    """
    loss = get_loss(pgd.loss) if loss is None else loss
    model, like = problem.model, problem.images[:1].to(problem.device)
    layout = model.memory_format(like)
    centers = model.class_centers(like) if loss.needs_centers else None
    step, halve_at = parse_step(pgd.step).resolve(problem.threat.eps), HALVE_AT if decaying else ()
    ascent = Ascent(model, problem.threat, loss, pgd.steps, step, centers, pgd.survivors_only, halve_at)
    restarts = range(first_restart, first_restart + pgd.restarts)
    batches = []
    for start in range(0, len(problem.images), problem.batch_size):
        part = problem.part(np.arange(start, min(start + problem.batch_size, len(problem.images))))
        compute = partial(_attack_batch, pgd, ascent, part, restarts, layout)
        batches.append(problem.remember(f"batch {start}", compute))
    return Table.joined(batches)


def _attack_batch(pgd: PGDAttack, ascent: Ascent, part: Problem, restarts: range, layout: torch.memory_format) -> Table:
    """All restarts and rivals for one batch; the best run of each image."""
    device = part.device
    images = part.images.to(device).contiguous(memory_format=layout)
    labels = part.labels.to(device)
    goals = part.targets.to(device) if part.targets is not None else None
    best: Table | None = None
    for restart in restarts:
        starts, instead = _starts(pgd, part, restart, images)
        for direction in _directions(pgd, ascent.loss, part):
            # Later runs cannot change a settled image: a wrong final iterate settles both ways of counting.
            left = torch.arange(len(images), device=device)
            if best is not None:
                settled = best["first_step"] >= 0 if pgd.survivors_only else best["final_wrong"]
                left = (~settled).nonzero().squeeze(1)
            if not len(left):
                continue
            pull = direction.to(device)[left] if direction is not None else None
            batch = AscentBatch(images[left], labels[left], goals[left] if goals is not None else None, pull)
            run = ascent.run(batch, starts[left], instead[left] if instead is not None else None)
            if best is None:
                best = run
            else:
                _take(best, run, left)
    assert best is not None  # at least one restart and one direction
    return best


def _take(best: Table, later: Table, rows: Tensor) -> None:
    """Merge a later run of the images in ``rows`` (M,) into the best so far.

    These are images whose final iterate has not reached the goal. The final iterate is replaced if the later one
    reached the goal or came closer, the first wrong iterate if there was none. Gradient health stays that of the first
    run.
    """
    closer = later["final_wrong"] | (later["final_margin"] > best["final_margin"][rows])
    best.put(rows[closer], later.rows(closer), ("final", "final_wrong", "final_margin", "loss"))
    unbroken = best["first_step"][rows] < 0
    takes = unbroken & (later["first_step"] >= 0)
    best.put(rows[takes], later.rows(takes), ("first", "first_step"))
    still = rows[unbroken & (later["first_step"] < 0)]
    best["first"][still] = best["final"][still]
    best["forwards"][rows] += later["forwards"]


def _directions(pgd: PGDAttack, loss: Loss, part: Problem) -> list[Tensor | None]:
    """Successive targets of the loss, each (N,); [None] for untargeted losses."""
    if part.targets is not None:
        return [part.targets]
    if not loss.per_rival:
        return [None]
    logits = part.clean_logits.scatter(1, part.labels[:, None], -torch.inf)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :-1]
    return list(order[:, : pgd.rivals].unbind(dim=1))


def _starts(pgd: PGDAttack, part: Problem, restart: int, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """The starts; with given starts, also the points that replace starts with zero gradient."""
    drawn = _drawn(pgd, part, restart, images)
    if part.starts is not None and restart == 0:
        return part.threat.project(part.starts.to(images), images), drawn
    return drawn, None


def _drawn(pgd: PGDAttack, part: Problem, restart: int, images: Tensor) -> Tensor:
    if not pgd.random_start or part.threat.eps == 0:
        return images
    size = images[0].numel()
    if part.threat.norm == "linf":
        unit = 2 * uniform(part.seed, part.ids, restart, size) - np.float32(1)
    else:
        unit = uniform_in_ball(part.seed, part.ids, restart, size)
    offsets = torch.from_numpy(unit).view(images.shape).to(images) * part.threat.eps
    return part.threat.project(images + offsets, images)
