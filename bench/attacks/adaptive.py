"""Adaptive PGD: several losses in turn, so that no single one decides what "robust" means (Tramèr et al. 2020).

In every restart each loss attacks what is left by all losses and restarts before it. Steps are halved after half
and after three quarters of a run; one wrong iterate is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from . import definitions
from .catalogue import checked_bool, checked_int
from .definitions import HALVE_AT, TYPICAL_GAP
from .losses import Loss, get_loss
from .pgd import PGD
from .problem import Composition, GradientHealth, Problem, Proposals
from .threat import StepSize, ThreatModel, parse_step

AUTOMATIC = "ce@T"
"""The cross-entropy of z / T with T chosen by `temperature`."""


def temperature(clean_gaps: NDArray[np.floating]) -> float:
    """T such that the median of clean_gaps / T is 5.5, to three digits; 1 where that is zero.

    Args:
        clean_gaps: (N,) z_y - max_{k != y} z_k of correctly classified images.
    """
    found = float(f"{float(np.median(clean_gaps)) / TYPICAL_GAP:.3g}")
    return found if np.isfinite(found) and found > 0 else 1.0


@dataclass(frozen=True)
class AdaptivePGD:
    """Parameters of the attack.

    Attributes:
        threat: Ball and box.
        losses: Names in the order of attack.
        steps: Gradient steps of each run.
        step: First step size.
        restarts: Rounds over all losses, each from other starts.
        rivals: How many rivals the losses ``...-targeted`` visit, by decreasing clean logit.
        complete: Every loss attacks every image until it breaks it itself, so that sole wins are known.
    """

    threat: ThreatModel
    losses: tuple[str, ...]
    steps: int
    step: StepSize
    restarts: int
    rivals: int
    complete: bool

    @property
    def own(self) -> bool:
        """True: leaving the threat model would be a bug."""
        return True

    @property
    def iterate(self) -> str:
        """One wrong iterate is enough."""
        return "any"

    @property
    def definition(self) -> str:
        """For example ``adaptive-pgd-linf[100, 8/255, step=eps/10 halved at 50% and 75%, losses …]``."""
        return definitions.adaptive_pgd(
            norm=self.threat.norm,
            eps=self.threat.eps,
            steps=self.steps,
            step=self.step.text,
            losses=self.losses,
            rivals=self.rivals,
            restarts=self.restarts,
            complete=self.complete,
        )

    def propose(self, problem: Problem) -> Proposals:
        """Attack with every loss that the model admits.

        Raises:
            ValueError: The model admits none of them.
        """
        losses, facts = self._applicable(problem)
        state = _State(problem, len(losses))
        for restart in range(self.restarts):
            for number, (name, loss) in enumerate(zip(facts, losses, strict=True)):
                broken = state.broken_at[:, number] >= 0 if self.complete else (state.broken_at >= 0).any(axis=1)
                rows = np.flatnonzero(~broken)
                if not len(rows):
                    continue
                # Other losses start elsewhere: equal starts would find equal corners.
                start = restart * len(losses) + number
                part = problem.part(rows).within(f"restart {restart}, {name}")
                found = self._run(loss, start).propose(part)
                state.take(part, rows, number, restart, found)
                if restart == 0:
                    facts[name] |= {
                        "attacked": float(len(rows)),
                        "zero_gradient_share": found.health.zero_gradient_share,
                        "certain_share": found.health.certain_share,
                    }
        composition = Composition(tuple(facts), state.broken_at, state.tried, state.winner, facts)
        return Proposals(
            images=state.images,
            forwards=state.forwards,
            steps=self.steps,
            # Losses differ in scale: a mixture of them would say nothing.
            loss=np.full(len(problem.images), np.nan),
            first_wrong=state.images,
            first_step=state.first_step,
            has_final=False,
            health=state.health,
            composition=composition,
        )

    def _run(self, loss: Loss, start: int) -> PGD:
        return PGD(
            threat=self.threat,
            loss=loss,
            steps=self.steps,
            step=self.step,
            restarts=1,
            random_start=True,
            iterate="any",
            survivors_only=True,
            rivals=self.rivals if loss.per_rival else None,
            targeted=False,
            halve_at=HALVE_AT,
            first_restart=start,
        )

    def _applicable(self, problem: Problem) -> tuple[list[Loss], dict[str, dict[str, float]]]:
        """The losses that the model admits, and what is known of each before the attack."""
        logits, classes = problem.clean_logits, problem.clean_logits.shape[1]
        losses: list[Loss] = []
        facts: dict[str, dict[str, float]] = {}
        for name in self.losses:
            if name == AUTOMATIC:
                own = logits.gather(1, problem.labels[:, None]).squeeze(1)
                others = logits.scatter(1, problem.labels[:, None], -torch.inf).amax(dim=1)
                chosen = temperature((own - others).double().numpy())
                losses.append(get_loss(f"ce@{chosen!r}"))
                facts[name] = {"T": chosen}
                continue
            loss = get_loss(name)
            if classes < loss.min_classes or (loss.needs_features and not _has_centers(problem)):
                continue
            losses.append(loss)
            facts[name] = {}
        if not losses:
            raise ValueError(
                f"adaptive_pgd: none of the losses {', '.join(self.losses)} applies to a model with {classes} classes "
                f"and {'' if _has_centers(problem) else 'no '}class centers"
            )
        return losses, facts


class _State:
    """What the runs so far left for each image."""

    def __init__(self, problem: Problem, losses: int) -> None:
        count = len(problem.images)
        self.images = problem.images.clone()
        self.margin = np.full(count, -np.inf)
        self.first_step = np.full(count, -1, dtype=np.int64)
        self.forwards = np.zeros(count)
        self.broken_at = np.full((count, losses), -1, dtype=np.int64)
        self.tried = np.zeros((count, losses), dtype=np.bool_)
        self.winner = np.full(count, -1, dtype=np.int64)
        self.health = GradientHealth.unmeasured(count)
        self._measured = np.zeros(count, dtype=np.bool_)

    def take(self, part: Problem, rows: NDArray[np.int64], number: int, restart: int, found: Proposals) -> None:
        """Merge a run of one loss on the images in ``rows``; the judge says what it broke."""
        assert found.first_wrong is not None  # PGD tracks it
        judgement = part.judge(found.first_wrong, np.arange(len(rows)))
        self.forwards[rows] += found.forwards
        self.tried[rows, number] = True
        broken = judgement.success
        before = (self.broken_at[rows] >= 0).any(axis=1)
        self.broken_at[rows[broken], number] = restart
        new = broken & ~before
        self.winner[rows[new]] = number
        self.first_step[rows[new]] = found.first_step[new]
        # Of an image that nothing has broken the closest miss is kept.
        closer = new | (~before & judgement.valid & (judgement.margin > self.margin[rows]))
        self.images[torch.from_numpy(rows[closer])] = found.first_wrong[torch.from_numpy(closer)]
        self.margin[rows[closer]] = judgement.margin[closer]
        fresh = ~self._measured[rows]
        for name in ("start_gradient", "last_gradient", "start_probability", "last_probability"):
            getattr(self.health, name)[rows[fresh]] = getattr(found.health, name)[fresh]
        self._measured[rows] = True


def _has_centers(problem: Problem) -> bool:
    try:
        problem.model.class_centers()
    except ValueError:
        return False
    return True


def checked_losses(names: object) -> tuple[str, ...]:
    """Losses of a list, each once, under the names that definitions print.

    Raises:
        ValueError: Not a list, empty, an unknown loss, or one that is listed twice.
    """
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"adaptive_pgd: losses must be a list of at least one loss, got {names!r}")
    losses = tuple(name if name == AUTOMATIC else get_loss(str(name)).name for name in names)
    if len(set(losses)) != len(losses):
        raise ValueError(f"adaptive_pgd: a loss is listed twice in {', '.join(losses)}")
    return losses


def build(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> AdaptivePGD:
    """Check the parameters of a catalogue entry (see `bench.attacks.catalogue`).

    Raises:
        ValueError: A parameter has a wrong value.
    """
    assert not targeted  # the catalogue says so
    if not np.isfinite(threat.eps):
        raise ValueError("adaptive_pgd needs a finite eps")
    step = params["step"]
    if not isinstance(step, str | float | int):
        raise ValueError(f"adaptive_pgd: step must be a number or a string, got {step!r}")
    size, steps = parse_step(step), checked_int("adaptive_pgd", params, "steps")
    try:
        definitions.checked_reach(steps, size, threat.eps)
    except ValueError as error:
        raise ValueError(f"adaptive_pgd: {error}") from None
    return AdaptivePGD(
        threat=threat,
        losses=checked_losses(params["losses"]),
        steps=steps,
        step=size,
        restarts=checked_int("adaptive_pgd", params, "restarts"),
        rivals=checked_int("adaptive_pgd", params, "rivals"),
        complete=checked_bool("adaptive_pgd", params, "complete"),
    )
