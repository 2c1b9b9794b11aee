"""What the evaluations that minimise a perturbation have in common: their columns and their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.evaluate.base import Column, Number

if TYPE_CHECKING:
    from bench.attacks import AttackResult

__all__ = ["norm_columns", "norm_numbers"]


def norm_columns(group: str, attack: str) -> tuple[Column, ...]:
    """Mean over successes (primary), median with failures at infinity, and success rate of one attack.

    Args:
        group: Heading above the columns.
        attack: Definition of the attack.
    """
    return (
        Column(
            metric="l2",
            label="mean L2",
            group=group,
            unit="l2",
            direction="up",
            definition=f"mean L2 over successes, pixels in [0, 1]: {attack}",
            primary=True,
        ),
        Column(
            metric="median",
            label="median L2",
            group=group,
            unit="l2",
            direction="up",
            definition=f"median L2 with failures at infinity, pixels in [0, 1]: {attack}",
        ),
        Column(
            metric="success",
            label="success",
            group=group,
            unit="fraction",
            direction="down",
            definition=f"share of clean-correct items that were broken: {attack}",
        ),
    )


def norm_numbers(result: AttackResult, columns: Sequence[Column], seed: int) -> list[Number]:
    """The numbers of ``norm_columns``, over the items that were attacked: those with a correct clean prediction.

    Where some were not broken the norms are ``inconclusive`` (flag MINNORM): a longer attack may break them.

    Args:
        result: What the attack did, in L2 over pixels in [0, 1].
        columns: Of ``norm_columns``.
        seed: Of the bootstrap interval of the mean.
    """
    import math

    import numpy as np

    from bench.attacks.norms import summarise_norms
    from bench.metrics.intervals import bootstrap_mean, wilson

    norms = result.l2_with_failures[result.clean_correct]
    summary = summarise_norms(norms)
    finite = norms[np.isfinite(norms)]
    definition = {column.metric: column.definition for column in columns}
    failed = summary.attacked - summary.successes
    flags = {"MINNORM": f"{failed} of {summary.attacked} attacked items were not broken"} if failed else {}
    word = "inconclusive" if failed else "no warning"
    nothing = None if summary.attacked else "no item is classified correctly"
    median = summary.median if math.isfinite(summary.median) else None
    return [
        Number(
            metric="l2",
            value=float(finite.mean()) if len(finite) else None,
            n=len(finite),
            interval=bootstrap_mean(finite, seed) if len(finite) > 1 else None,
            definition=definition["l2"],
            reason=nothing or (None if len(finite) else "no attack succeeded"),
            verdict=word,
            flags=flags,
        ),
        Number(
            metric="median",
            value=median,
            n=summary.attacked,
            definition=definition["median"],
            reason=nothing or (None if median is not None else "fewer than half were broken"),
            verdict=word,
            flags=flags,
        ),
        Number(
            metric="success",
            value=summary.success_rate if summary.attacked else None,
            n=summary.attacked,
            interval=wilson(summary.successes, summary.attacked) if summary.attacked else None,
            definition=definition["success"],
            reason=nothing,
        ),
    ]
