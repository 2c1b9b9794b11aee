"""Projected gradient ascent: one run on one batch, and all restarts and rivals of an attack on all batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.rng import uniform, uniform_in_ball

from .frozen import FrozenModel
from .gradients import input_gradient, per_image, steepest, true_probability
from .losses import Goal, Loss, LossInputs
from .problem import Problem
from .table import HEALTH, Table
from .threat import ThreatModel, parse_step
from .waiting import check_every, known_empty

__all__ = ["Ascent", "AscentBatch", "climb"]


@dataclass(frozen=True)
class AscentBatch:
    """Images of one run.

    Attributes:
        images: (N, C, H, W) clean images.
        goal: What is a success.
        pull: (N,) targets of the loss; None: the loss is untargeted. Differs from the targets of the goal where a loss
            visits the rivals in turn although any wrong class is a success.
    """

    images: Tensor
    goal: Goal
    pull: Tensor | None

    def rows(self, index: Tensor) -> AscentBatch:
        """The images of an index (M,); the batch itself if these are all of its images."""
        if len(index) == len(self.images):
            return self
        return AscentBatch(self.images[index], self.goal.rows(index), None if self.pull is None else self.pull[index])


@dataclass(frozen=True)
class Ascent:
    """A loss, a ball and a step size, ready to run.

    Attributes:
        model: The frozen model, in the precision of the search. In bfloat16, the final iterate is evaluated in float32,
            and a first wrong iterate counts only if float32 confirms it; on a device other than the CPU only iterates
            at a look (`bench.attacks.waiting`) can be the first one then.
        threat: Ball and box.
        loss: The loss that is maximised.
        steps: Gradient steps.
        step: Step size in pixel units.
        centers: (K, d) class centers, for losses that need them.
        survivors_only: Whether an image is done once it reached the goal. It is dropped at the next look
            (`bench.attacks.waiting`), and nothing of it is recorded in between, not even its forward passes.
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

    def in_float32(self) -> Ascent:
        """The same with every pass in float32."""
        return replace(self, model=self.model.exact)

    def run(self, batch: AscentBatch, starts: Tensor, instead: Tensor | None = None, *, measured: bool = True) -> Table:
        """Climb from the starts (N, C, H, W).

        Args:
            batch: The images.
            starts: (N, C, H, W) in the ball.
            instead: (N, C, H, W) points to which the first step moves images whose start has a gradient of exactly
                zero; None: such images stay.
            measured: Whether the gradient at the start is to be that of float32, in any precision of the search.
        """
        count, device = len(starts), starts.device
        current = starts.clone()
        found = Table(
            {
                "first": starts.clone(),
                "first_step": torch.full((count,), -1, dtype=torch.int64, device=device),
                "forwards": torch.zeros(count, dtype=torch.int64, device=device),
                "final_wrong": torch.zeros(count, dtype=torch.bool, device=device),
                **{
                    name: torch.full((count,), torch.nan, device=device, dtype=starts.dtype)
                    for name in ("loss", "final_margin", *HEALTH)
                },
            }
        )
        active = torch.arange(count, device=device)
        every = check_every(device)
        for number in range(self.steps + 1):
            # Gathering and scattering are skipped while no image has been dropped.
            whole = len(active) == count
            points, part = current if whole else current[active], batch.rows(active)
            more = number < self.steps
            model = self.model.exact if not more or (measured and number == 0) else self.model
            logits, losses, following, passes = self._evaluate(model, points, part, with_gradient=more)
            # Logits that are not finite never reach the goal.
            finite = logits.isfinite().all(dim=1)
            closeness = torch.where(finite, part.goal.margin(logits), -torch.inf)
            wrong = part.goal.reached(logits.argmax(dim=1)) & finite
            unbroken = found["first_step"][active] < 0
            live = unbroken if self.survivors_only else torch.ones_like(unbroken)
            spent = found["forwards"][active] + passes
            found.overlay(
                active, live, {"forwards": spent, "loss": losses, "final_margin": closeness, "final_wrong": wrong}
            )
            newly = wrong & unbroken
            if model is not self.model.exact:
                newly = self._confirmed(newly, points, part, found, active, look=number % every == 0)
            if not known_empty(newly):
                found.overlay(active, newly, {"first": points, "first_step": number})
            if following is None:
                break
            gradient, size = following
            probability = true_probability(logits, part.goal.labels)
            if number == 0:
                found.overlay(active, live, {"start_gradient": size, "start_probability": probability})
            found.overlay(active, live, {"last_gradient": size, "last_probability": probability})
            if self.survivors_only and number % every == 0:
                kept = (found["first_step"][active] < 0).nonzero().squeeze(1)
                if len(kept) < len(active):
                    active, points, gradient = active[kept], points[kept], gradient[kept]
                    part, whole = batch.rows(active), False
                if not len(active):
                    break
            stepped = self._stepped(points, gradient, part.images, number)
            if number == 0 and instead is not None:
                stuck = (gradient == 0).flatten(1).all(dim=1)
                stepped = torch.where(per_image(stuck, stepped), instead[active], stepped)
            if self.survivors_only and every > 1:
                stepped = torch.where(per_image(found["first_step"][active] < 0, stepped), stepped, points)
            if whole:
                current = stepped
            else:
                current[active] = stepped
        everyone = torch.arange(count, device=device)
        found.overlay(everyone, found["first_step"] < 0, {"first": current})
        return Table({"final": current, **found.columns})

    def _stepped(self, points: Tensor, gradient: Tensor, images: Tensor, number: int) -> Tensor:
        size = self.step * 0.5 ** sum(number >= share * self.steps for share in self.halve_at)
        return self.threat.project(points + size * steepest(gradient, self.threat.norm), images)

    def _confirmed(
        self, seemingly: Tensor, points: Tensor, part: AscentBatch, found: Table, active: Tensor, *, look: bool
    ) -> Tensor:
        """Of the images that seem to be broken first (N,), those that float32 confirms; none between two looks."""
        if not look:
            return torch.zeros_like(seemingly)
        if known_empty(seemingly) or not len(rows := seemingly.nonzero().squeeze(1)):
            return seemingly
        with torch.no_grad():
            logits = self.model.exact.logits(points[rows])
        found["forwards"][active[rows]] += 1
        broken = part.goal.rows(rows).reached(logits.argmax(dim=1)) & logits.isfinite().all(dim=1)
        return seemingly.index_put((rows,), broken)

    def _evaluate(
        self, model: FrozenModel, points: Tensor, batch: AscentBatch, *, with_gradient: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None, int]:
        """Logits (N, K), losses (N,), the input gradient of each loss with its size, and the number of passes."""
        points = points.detach().requires_grad_(with_gradient)
        features, passes = None, 1
        with torch.set_grad_enabled(with_gradient):
            if self.loss.needs_centers:
                logits, features, passes = model.logits_and_features(points)
            else:
                logits = model.logits(points)
            losses = self.loss(LossInputs(logits, batch.goal.labels, batch.pull, features, self.centers))
        gradient = input_gradient(losses, points) if with_gradient else None
        return logits.detach(), losses.detach(), gradient, passes


def climb(
    problem: Problem,
    loss: Loss,
    *,
    steps: int,
    step: str | float,
    restarts: range,
    halve_at: tuple[float, ...] = (),
    random_start: bool = True,
    survivors_only: bool = False,
    rivals: int | None = None,
) -> Table:
    """Attack all images of a problem, batch by batch.

    Args:
        problem: The images.
        loss: The loss that is maximised.
        steps: Gradient steps of each run.
        step: Step size; see `bench.attacks.threat.parse_step`.
        restarts: Numbers of the restarts; the noise of a start depends on its number.
        halve_at: Increasing shares of the steps; the step size is halved after each of them.
        random_start: Whether to start uniformly in the ball, else at the image.
        survivors_only: Whether to drop an image once an iterate was wrong.
        rivals: Number of rivals, by decreasing clean logit, for losses that visit rivals; None: all.

    Returns:
        A table on the CPU with all columns of `bench.attacks.table`.
    """
    model, like = problem.model, problem.images[:1].to(problem.device)
    layout = model.memory_format(like)
    centers = model.class_centers(like) if loss.needs_centers else None
    size = parse_step(step).resolve(problem.threat.eps)
    ascent = Ascent(model, problem.threat, loss, steps, size, centers, survivors_only, halve_at)
    attack = partial(_attack_batch, ascent, layout, restarts, random_start, rivals)
    return Table.joined([problem.remember(name, partial(attack, part)) for name, part in problem.batches()])


def _attack_batch(
    ascent: Ascent, layout: torch.memory_format, restarts: range, random_start: bool, rivals: int | None, part: Problem
) -> Table:
    """All restarts and rivals for one batch; the best run of each image."""
    device = part.device
    images = part.images.to(device).contiguous(memory_format=layout)
    goal = part.goal.to(device)
    best: Table | None = None
    for restart in restarts:
        starts, instead = _starts(part, restart, images, random_start)
        for direction in _directions(rivals, ascent.loss, part):
            # Later runs cannot change a settled image: a wrong final iterate settles both ways of counting.
            left = torch.arange(len(images), device=device)
            if best is not None:
                settled = best["first_step"] >= 0 if ascent.survivors_only else best["final_wrong"]
                left = (~settled).nonzero().squeeze(1)
            if not len(left):
                continue
            pull = direction.to(device)[left] if direction is not None else None
            batch = AscentBatch(images[left], goal.rows(left), pull)
            last = restart > restarts[0] and restart == restarts[-1]
            climber = ascent.in_float32() if last else ascent
            run = climber.run(
                batch, starts[left], instead[left] if instead is not None else None, measured=best is None
            )
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
    best.overlay(rows, closer, {name: later[name] for name in ("final", "final_wrong", "final_margin", "loss")})
    unbroken = best["first_step"][rows] < 0
    takes = unbroken & (later["first_step"] >= 0)
    best.overlay(rows, takes, {name: later[name] for name in ("first", "first_step")})
    best.overlay(rows, unbroken & ~takes, {"first": best["final"][rows]})
    best["forwards"][rows] += later["forwards"]


def _directions(rivals: int | None, loss: Loss, part: Problem) -> list[Tensor | None]:
    """Successive targets of the loss, each (N,); [None] for untargeted losses."""
    if part.targets is not None:
        return [part.targets]
    if not loss.per_rival:
        return [None]
    logits = part.clean_logits.scatter(1, part.labels[:, None], -torch.inf)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :-1]
    return list(order[:, :rivals].unbind(dim=1))


def _starts(part: Problem, restart: int, images: Tensor, random_start: bool) -> tuple[Tensor, Tensor | None]:
    """The starts; with given starts, also the points that replace starts with zero gradient."""
    drawn = _drawn(part, restart, images) if random_start and part.threat.eps > 0 else images
    if part.starts is not None and restart == 0:
        return part.threat.project(part.starts.to(images), images), drawn
    return drawn, None


def _drawn(part: Problem, restart: int, images: Tensor) -> Tensor:
    """Uniform points of the ball, projected onto the box."""
    size = images[0].numel()
    if part.threat.norm == "linf":
        unit = 2 * uniform(part.seed, part.ids, restart, size) - np.float32(1)
    else:
        unit = uniform_in_ball(part.seed, part.ids, restart, size)
    return part.perturbed(unit, images)
