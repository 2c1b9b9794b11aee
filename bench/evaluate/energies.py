"""Energies of real and sampled images in the first iterations of training, as in the paper's Table 10."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome
from bench.evaluate.inputs import Inputs

if TYPE_CHECKING:
    from bench.metrics.intervals import Interval

__all__ = ["Energies", "EnergiesConfig"]

_WHICH = {"real": "training images", "sampled": "sampled images"}


class EnergiesConfig(EvaluationConfig):
    """Parameters of the energy log."""

    iterations: tuple[NonNegativeInt, ...] = Field(
        (0, 1, 2, 3, 4, 5, 6, 7), min_length=1, description="Iterations (from 0) to show"
    )


class Energies(Evaluation):
    """Mean E(x) = -log sum_y exp(-E(x, y)) of a batch before each update, from the log of training.

    For a model that starts from another one (``init_from``), iteration 0 is the switch. Training logs an iteration if
    ``log_iterations`` is larger than its number. The interval over the images of the batch is Student's; logs without
    a standard error give none.
    """

    name = "energies"
    version = 2
    summary = "Mean energies of real and sampled batches in the first iterations of training."
    source = "GMMC paper, Table 10"
    Config = EnergiesConfig
    classifies = False
    requires = frozenset({"samples"})
    reads_diverged = True  # the table shows explosions

    def columns(self, config: EnergiesConfig) -> tuple[Column, ...]:
        """Two numbers per iteration."""
        return tuple(
            Column(
                metric=which,
                argument=str(iteration),
                label=str(iteration),
                group=f"E(x) of {what}, iteration",
                unit="1",
                direction=None,
                definition=_definition(which, iteration),
            )
            for which, what in _WHICH.items()
            for iteration in config.iterations
        )

    def evaluate(self, config: EnergiesConfig, inputs: Inputs) -> Outcome:
        """Read the energies from the record of training."""
        log: dict[int, dict[str, Any]] = {entry["iteration"]: entry for entry in inputs.training()["iterations"]}
        numbers = []
        for which in _WHICH:
            for iteration in config.iterations:
                entry = log.get(iteration, {})
                value = entry.get(f"energy_{which}")
                reason = None if value is not None else "training kept no such iteration; raise log_iterations"
                if value is not None and not math.isfinite(float(value)):
                    value, reason = None, f"the energy is {value}"  # JSON has no NaN, so the record keeps a text
                numbers.append(
                    Number(
                        metric=which,
                        argument=str(iteration),
                        value=None if value is None else float(value),
                        n=int(entry.get(f"energy_{which}_items", 1)),
                        interval=None if value is None else _interval(float(value), entry, which),
                        definition=_definition(which, iteration),
                        reason=reason,
                    )
                )
        return Outcome(numbers)


def _interval(value: float, entry: Mapping[str, Any], which: str) -> Interval | None:
    """The interval of the mean energy of a batch; None if its log has no finite standard error above 0."""
    from scipy.special import stdtrit

    from bench.metrics.intervals import symmetric

    error, items = (entry.get(f"energy_{which}_{part}") for part in ("error", "items"))
    if error is None or items is None or not 0 < float(error) < math.inf:
        return None
    return symmetric(value, float(stdtrit(float(items) - 1, 0.975)) * float(error), 0.95, "t over the batch")


def _definition(which: str, iteration: int) -> str:
    return f"mean E(x) of a batch of {_WHICH[which]} before update {iteration}"
