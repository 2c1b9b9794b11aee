"""The adversarial images behind a robust accuracy, kept for whoever wants to check it (``bench verify``)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bench.evaluate.base import EvaluationConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult

__all__ = ["ADVERSARIALS", "AdversarialsConfig", "Broken", "broken_by_runs", "packed"]

ADVERSARIALS = "adversarials.npz"


class AdversarialsConfig(EvaluationConfig):
    """The parameter of evaluations that can keep their adversarial images."""

    adversarials: bool = Field(
        False, description="Keep the adversarial image of every broken item, so that `bench verify` can check the claim"
    )


@dataclass(frozen=True)
class Broken:
    """The items that an attack broke, behind one number, in one run of it.

    Attributes:
        metric: Of the number that counts them.
        argument: Of the number.
        norm: ``"linf"`` or ``"l2"``.
        eps: Budget such as ``"8/255"``; None for attacks that minimise the norm.
        success: (N,) which of the items.
        adversarials: (N, C, H, W) float32 in [0, 1].
        run: Number of the attack seed; None where there is one run.
    """

    metric: str
    argument: str
    norm: str
    eps: str | None
    success: NDArray[np.bool_]
    adversarials: NDArray[np.floating]
    run: int | None = None


def broken_by_runs(
    metric: str, argument: str, norm: str, eps: str | None, results: Sequence[AttackResult]
) -> list[Broken]:
    """What an attack broke behind one number, one entry an attack seed; arguments as in `Broken`."""
    several = len(results) > 1
    return [
        Broken(metric, argument, norm, eps, result.success, result.adversarials, run if several else None)
        for run, result in enumerate(results)
    ]


def packed(ids: NDArray[np.int64], broken: Sequence[Broken]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The file to keep, and what the record says of it.

    Args:
        ids: (N,) identities of the items.
        broken: What was broken, number by number; the runs of one number in the order of the attack seeds.

    Returns:
        Files by name: arrays ``<metric>.ids`` (M,) and ``<metric>.images`` (M, C, H, W), and where the attack was
        repeated ``<metric>.runs`` (M,), the number of the attack seed; and the record's facts: name and digest of the
        file, threat model and count of each number over all runs.
    """
    import numpy as np

    metrics: dict[str, list[Broken]] = {}
    for one in broken:
        metrics.setdefault(one.metric, []).append(one)
    arrays: dict[str, NDArray[Any]] = {}
    entries = []
    for metric, runs in metrics.items():
        arrays[f"{metric}.ids"] = np.concatenate([ids[one.success] for one in runs])
        arrays[f"{metric}.images"] = np.concatenate([one.adversarials[one.success].astype(np.float32) for one in runs])
        first = runs[0]
        entry: dict[str, Any] = {
            "metric": metric,
            "argument": first.argument,
            "norm": first.norm,
            "eps": first.eps,
            "broken": sum(int(one.success.sum()) for one in runs),
        }
        if first.run is not None:
            numbers = [np.full(int(one.success.sum()), one.run, dtype=np.int64) for one in runs]
            arrays[f"{metric}.runs"] = np.concatenate(numbers)
            entry["attack_seeds"] = len(runs)
        entries.append(entry)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    data = content.getvalue()
    facts = {"file": ADVERSARIALS, "sha256": hashlib.sha256(data).hexdigest(), "entries": entries}
    return {ADVERSARIALS: data}, facts
