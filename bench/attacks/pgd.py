"""Projected gradient ascent in the L_inf or L2 ball (Madry et al. 2018, eq. 4), with any loss.

Follows the attack of the GMMC and JEM papers by default: uniform start in the ball, clipped to [0, 1];
40 steps of eps/30; cross-entropy; final iterate. Deterministic, and independent of the batching up to
the last bits of the network's own kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.rng import uniform, uniform_in_ball

from .ascent import Ascent, Batch, Trace
from .catalogue import checked_bool, checked_int
from .losses import Loss, get_loss
from .problem import GradientHealth, Problem, Proposals
from .threat import StepSize, ThreatModel, format_eps, parse_step


@dataclass(frozen=True)
class PGD:
    """Parameters of projected gradient ascent.

    Attributes:
        threat: Ball and box.
        loss: What is maximised.
        steps: Gradient steps of each restart.
        step: Step size.
        restarts: Independent starts; an image that is broken is not attacked again.
        random_start: Uniform start in the ball, else at the image.
        iterate: ``"final"``: the last iterate decides; ``"any"``: one wrong iterate is enough.
        survivors_only: Drop an image once an iterate was wrong; only with ``iterate = "any"``.
        rivals: For losses that visit rivals: how many, by decreasing clean logit; None for all.
        targeted: Whether the images come with targets.
        halve_at: Shares of the steps after which the step size is halved.
        first_restart: Number of the first restart; the noise of a start depends on its number.
    """

    threat: ThreatModel
    loss: Loss
    steps: int
    step: StepSize
    restarts: int
    random_start: bool
    iterate: str
    survivors_only: bool
    rivals: int | None
    targeted: bool
    halve_at: tuple[float, ...] = ()
    first_restart: int = 0

    @property
    def own(self) -> bool:
        """True: leaving the threat model would be a bug."""
        return True

    @property
    def definition(self) -> str:
        """For example ``pgd-linf[40, 8/255, step=eps/30, ce, final iterate, 1 restart]``."""
        parts = [str(self.steps), format_eps(self.threat.eps), f"step={self.step.text}", self.loss.name]
        if self.targeted:
            parts.append("given targets")
        elif self.loss.per_rival:
            parts.append("all rivals" if self.rivals is None else f"top {self.rivals} rivals")
        parts.append(f"{self.iterate} iterate")
        parts.append(f"{self.restarts} restart{'s' if self.restarts > 1 else ''}")
        if not self.random_start:
            parts.append("start at the image")
        if self.survivors_only:
            parts.append("survivors only")
        return f"pgd-{self.threat.norm}[{', '.join(parts)}]"

    def propose(self, problem: Problem) -> Proposals:
        """Attack all images, batch by batch."""
        model, count = problem.model, len(problem.images)
        layout = model.memory_format(problem.images[:1].to(problem.device))
        centers = model.class_centers(problem.images[:1].to(problem.device)) if self.loss.needs_features else None
        step = self.step.resolve(self.threat.eps)
        ascent = Ascent(model, self.threat, self.loss, self.steps, step, centers, self.survivors_only, self.halve_at)
        traces = []
        for start in range(0, count, problem.batch_size):
            rows = slice(start, min(start + problem.batch_size, count))
            found = problem.remember(f"batch {start}", partial(self._batch_fields, ascent, problem, rows, layout))
            traces.append(Trace(**found))
        health = GradientHealth(
            *(
                torch.cat([getattr(trace, name) for trace in traces]).double().numpy()
                for name in ("start_gradient", "last_gradient", "start_probability", "last_probability")
            )
        )
        return Proposals(
            images=torch.cat([trace.final for trace in traces]),
            forwards=torch.cat([trace.forwards for trace in traces]).double().numpy(),
            steps=self.steps,
            loss=torch.cat([trace.loss for trace in traces]).double().numpy(),
            first_wrong=torch.cat([trace.first for trace in traces]),
            first_step=torch.cat([trace.first_step for trace in traces]).numpy(),
            has_final=not self.survivors_only,
            health=health,
        )

    def _batch_fields(
        self, ascent: Ascent, problem: Problem, rows: slice, layout: torch.memory_format
    ) -> dict[str, Tensor]:
        """The trace of a batch by the names of its fields."""
        return vars(self._attack_batch(ascent, problem, rows, layout))

    def _attack_batch(self, ascent: Ascent, problem: Problem, rows: slice, layout: torch.memory_format) -> Trace:
        """All restarts and rivals for one batch; the best trace of each image."""
        device = problem.device
        images = problem.images[rows].to(device).contiguous(memory_format=layout)
        labels = problem.labels[rows].to(device)
        goals = problem.targets[rows].to(device) if problem.targets is not None else None
        directions = self._directions(problem, rows)
        best: Trace | None = None
        for restart in range(self.first_restart, self.first_restart + self.restarts):
            starts, instead = self._starts(problem, rows, restart, images)
            for direction in directions:
                # What later runs cannot change: a wrong final iterate settles both ways of counting.
                open_rows = torch.arange(len(images), device=device)
                if best is not None:
                    settled = best.first_step >= 0 if self.survivors_only else best.final_wrong
                    open_rows = (~settled).nonzero().squeeze(1)
                if not len(open_rows):
                    continue
                pull = direction.to(device)[open_rows] if direction is not None else None
                batch = Batch(
                    images[open_rows],
                    labels[open_rows],
                    goals[open_rows] if goals is not None else None,
                    pull,
                )
                others = instead[open_rows] if instead is not None else None
                trace = ascent.run(batch, starts[open_rows], others)
                best = trace if best is None else best.merged(trace, open_rows)
        assert best is not None  # at least one restart and one direction
        return best

    def _directions(self, problem: Problem, rows: slice) -> list[Tensor | None]:
        """Targets that the loss pulls towards, one after the other; [None] for untargeted losses."""
        if problem.targets is not None:
            return [problem.targets[rows]]
        if not self.loss.per_rival:
            return [None]
        logits = problem.clean_logits[rows].scatter(1, problem.labels[rows][:, None], -torch.inf)
        order = logits.argsort(dim=1, descending=True, stable=True)[:, :-1]
        return list(order[:, : self.rivals].unbind(dim=1))

    def _starts(self, problem: Problem, rows: slice, restart: int, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where to start; and with given starts, where to go from those that have no gradient."""
        drawn = self._drawn(problem, rows, restart, images)
        if problem.starts is not None and restart == 0:
            return self.threat.project(problem.starts[rows].to(images), images), drawn
        return drawn, None

    def _drawn(self, problem: Problem, rows: slice, restart: int, images: Tensor) -> Tensor:
        if not self.random_start or self.threat.eps == 0:
            return images
        ids, size = problem.ids[rows], images[0].numel()
        if self.threat.norm == "linf":
            unit = 2 * uniform(problem.seed, ids, restart, size) - np.float32(1)
        else:
            unit = uniform_in_ball(problem.seed, ids, restart, size)
        offsets = torch.from_numpy(unit).view(images.shape).to(images) * self.threat.eps
        return self.threat.project(images + offsets, images)


def build(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> PGD:
    """Check the parameters of a catalogue entry (see `bench.attacks.catalogue`).

    Raises:
        ValueError: A parameter has a wrong value.
    """
    iterate = params["iterate"]
    if iterate not in ("final", "any"):
        raise ValueError(f"pgd: iterate must be 'final' or 'any', got {iterate!r}")
    survivors_only = checked_bool("pgd", params, "survivors_only")
    if survivors_only and iterate != "any":
        raise ValueError("pgd: survivors_only drops images at their first wrong iterate, so it needs iterate = 'any'")
    if not np.isfinite(threat.eps):
        raise ValueError("pgd needs a finite eps")
    step = params["step"]
    if not isinstance(step, str | float | int):
        raise ValueError(f"pgd: step must be a number or a string, got {step!r}")
    loss = get_loss(str(params["loss"]))
    if targeted and not loss.targetable:
        raise ValueError(f"pgd: loss {loss.name!r} has no targeted form; use 'margin' or 'ce' with targets")
    rivals = params["rivals"]
    if rivals is not None and not loss.per_rival:
        raise ValueError(f"pgd: rivals has no meaning for loss {loss.name!r}, only for losses '...-targeted'")
    return PGD(
        threat=threat,
        loss=loss,
        steps=checked_int("pgd", params, "steps"),
        step=parse_step(step),
        restarts=checked_int("pgd", params, "restarts"),
        random_start=checked_bool("pgd", params, "random_start"),
        iterate=iterate,
        survivors_only=survivors_only,
        rivals=None if rivals is None else checked_int("pgd", params, "rivals"),
        targeted=targeted,
    )
