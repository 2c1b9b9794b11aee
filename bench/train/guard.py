"""Rules that detect divergence, which is recorded as a result, and the changes that a restart makes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any, TypeVar

from bench.spec import GuardConfig, TrainingConfig

__all__ = ["Guard", "adjusted"]

C = TypeVar("C", bound=TrainingConfig)

MEMORY = 200
"""Number of iterations in the running median of |fp - fq|."""
MOST_STEPS = 80
"""Largest number of sampler steps that doubling reaches."""


class Guard:
    """Watches every iteration of one training run.

    It trips at once on a value that is not finite or on |loss| beyond the limit (the code of JEM and GMMC misses NaN,
    for which every comparison is false). With samples, it also trips when |fp - fq| stays above a limit, or earlier
    when it stays above both an absolute bound and a multiple of its running median. The earlier rule does not apply to
    the first iterations with samples, because the gap is large right after a switch.

    Args:
        config: The limits.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._gaps: deque[float] = deque(maxlen=MEMORY)
        self._sampled = 0
        self._above_limit = 0
        self._above_early = 0

    def observe(self, loss: float, logs: Mapping[str, float]) -> str | None:
        """Why training has diverged with this iteration, or None.

        Args:
            loss: The minimised scalar.
            logs: Further scalars of the step; ``fp`` and ``fq`` are the energies or densities of real and sampled
                images.
        """
        for name, value in {"loss": loss, **logs}.items():
            if not math.isfinite(value):
                return f"{name} is {value}"
        if abs(loss) > self._config.loss_limit:
            return f"|loss| is {abs(loss):.3g}, more than {self._config.loss_limit:.0e}"
        if "fp" in logs and "fq" in logs:
            return self._gap(abs(logs["fp"] - logs["fq"]))
        return None

    def _gap(self, gap: float) -> str | None:
        config = self._config
        usual = median(self._gaps) if self._gaps else math.inf
        self._gaps.append(gap)
        self._sampled += 1
        self._above_limit = self._above_limit + 1 if gap > config.gap_limit else 0
        early = self._sampled > config.arm_after and gap > max(config.early_gap, config.early_ratio * usual)
        self._above_early = self._above_early + 1 if early else 0
        if self._above_limit >= config.gap_patience:
            return f"|fp - fq| above {config.gap_limit:.0e} for {config.gap_patience} iterations"
        if self._above_early >= config.early_patience:
            return (
                f"|fp - fq| is {gap:.3g}, above {config.early_gap:g} and {config.early_ratio:g} times its median "
                f"for {config.early_patience} iterations"
            )
        return None

    def state(self) -> dict[str, Any]:
        """The state that ``load`` restores, as JSON values."""
        return {
            "gaps": list(self._gaps),
            "sampled": self._sampled,
            "above_limit": self._above_limit,
            "above_early": self._above_early,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state that ``state`` returned."""
        self._gaps = deque(state["gaps"], maxlen=MEMORY)
        self._sampled = state["sampled"]
        self._above_limit = state["above_limit"]
        self._above_early = state["above_early"]


def adjusted(config: C, measures: list[str]) -> C:
    """The configuration after the measures of restarts; measures that do not apply to a family are ignored.

    Args:
        config: The configuration of the suite.
        measures: ``seed`` (nothing but the new seed), ``steps`` (sampler steps x 2, at most 80), ``step-size``
            (sampler step size / 4), ``lr`` (learning rate x 0.5), in order.
    """
    for measure in measures:
        sampler: Any = getattr(config, "sampler", None)
        if measure == "lr":
            config = config.model_copy(update={"lr": config.lr * 0.5})
        elif measure == "steps" and sampler is not None:
            steps = max(sampler.steps, min(MOST_STEPS, 2 * sampler.steps))
            config = config.model_copy(update={"sampler": sampler.model_copy(update={"steps": steps})})
        elif measure == "step-size" and sampler is not None:
            smaller = sampler.model_copy(update={"step_size": sampler.step_size / 4})
            config = config.model_copy(update={"sampler": smaller})
    return config
