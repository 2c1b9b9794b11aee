"""Attacks that draw: how many independent seeds a number is a mean over, and what is kept of each.

With ``attack_seeds`` = A a robust accuracy is the mean over A seeds of the accuracy under *one* run of the attack: what
one run gives on average, known better than from one run. It is not the worst case over seeds: that is what ``restarts``
are for. The seeds are the same for all models, so that comparisons stay paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from bench.evaluate.base import EvaluationConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AttackSeedsConfig", "attack_seeds", "paired_test", "per_item", "per_seed", "repeated", "spread", "stacked"]


class AttackSeedsConfig(EvaluationConfig):
    """The parameter of evaluations whose attacks draw."""

    attack_seeds: PositiveInt = Field(
        1,
        le=1000,
        description="Independent seeds of the attack: the number is the mean over them of the accuracy under one run",
    )

    @model_serializer(mode="wrap")
    def _without_one(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """One seed is left out: it is what was measured before there was a choice, under the same key."""
        values: dict[str, Any] = handler(self)
        if values.get("attack_seeds") == 1:
            del values["attack_seeds"]
        return values


def attack_seeds(config: AttackSeedsConfig) -> tuple[int, ...]:
    """The seeds of the runs: the seed of the evaluation, then seeds derived from it.

    Another seed of the evaluation has others: counting on from it would share all but one with its neighbour.
    """
    from bench.rng import derived_seed

    more = (derived_seed(config.seed, "attack seed", run) for run in range(1, config.attack_seeds))
    return (config.seed, *more)


def repeated(config: AttackSeedsConfig, definition: str) -> str:
    """The definition of a number that is a mean over attack seeds, from that under one run."""
    return definition if config.attack_seeds == 1 else f"mean over {config.attack_seeds} attack seeds: {definition}"


def paired_test(config: AttackSeedsConfig) -> Literal["mcnemar", "permutation"]:
    """The test of the numbers of two models: of booleans an item, or of means over seeds an item."""
    return "mcnemar" if config.attack_seeds == 1 else "permutation"


def stacked(runs: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Flags (N,) of each run as one array: (N,) of a single run, else (N, A)."""
    import numpy as np

    return runs[0] if len(runs) == 1 else np.stack(runs, axis=1)


def per_item(flags: NDArray[np.bool_]) -> NDArray[Any]:
    """What paired tests compare: booleans (N,) of a single run, else the shares of the seeds (N,), in [0, 1]."""
    return flags if flags.ndim == 1 else flags.mean(axis=1)


def per_seed(name: str, flags: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The arrays to store: ``name`` as `per_item`, and with several seeds ``name.seeds``, the flags (N, A)."""
    arrays: dict[str, NDArray[Any]] = {name: per_item(flags)}
    return arrays if flags.ndim == 1 else {**arrays, f"{name}.seeds": flags}


def spread(flags: NDArray[np.bool_]) -> dict[str, Any]:
    """The value of each seed, in the order of the seeds, with standard deviation, least and largest.

    Args:
        flags: (N, A) with N >= 1 and A >= 2.
    """
    values = flags.mean(axis=0)
    return {
        "values": [float(value) for value in values],
        "sd": float(values.std(ddof=1)),
        "min": float(values.min()),
        "max": float(values.max()),
    }
