"""Storage of the adversarial images behind a robust accuracy, for ``bench verify``."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bench.evaluate.base import EvaluationConfig, Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Chain

__all__ = ["ADVERSARIALS", "AdversarialsConfig", "Broken", "broken_by_runs", "packed", "with_images"]

ADVERSARIALS = "adversarials.npz"


class AdversarialsConfig(EvaluationConfig):
    """The parameter of evaluations that can keep their adversarial images."""

    adversarials: bool = Field(
        False, description="Keep the adversarial image of every broken item, so that `bench verify` can check the claim"
    )


@dataclass(frozen=True)
class Broken:
    """The items behind one number that an attack broke in one run.

    Attributes:
        metric: Metric of the number that counts them.
        argument: Argument of the number.
        norm: ``"linf"`` or ``"l2"``.
        eps: Budget such as ``"8/255"``; None for attacks that minimise the norm.
        success: (N,) whether the item is broken.
        adversarials: (N, C, H, W) float32 in [0, 1].
        run: Number of the attack seed; None if there is only one run.
    """

    metric: str
    argument: str
    norm: str
    eps: str | None
    success: NDArray[np.bool_]
    adversarials: NDArray[np.floating]
    run: int | None = None


def broken_by_runs(metric: str, norm: str, eps: str, results: Sequence[AttackResult | Chain]) -> list[Broken]:
    """The broken items behind one number at a budget, which is its argument.

    Args:
        metric: Metric of the number.
        norm: ``"linf"`` or ``"l2"``.
        eps: Budget such as ``"8/255"``.
        results: One per attack seed, on the same N items.

    Returns:
        One entry per attack seed.
    """
    several = len(results) > 1
    return [
        Broken(
            metric, eps, norm, eps, result.clean_correct & ~result.robust, result.adversarials, run if several else None
        )
        for run, result in enumerate(results)
    ]


def with_images(outcome: Outcome, broken: Sequence[Broken] | None) -> Outcome:
    """An outcome with the adversarial images of broken items and the facts on them; None: without images."""
    if broken is None:
        return outcome
    files, kept = packed(outcome.items["ids"], broken)
    return replace(outcome, files=files, details={**outcome.details, "adversarials": kept})


def packed(ids: NDArray[Any], broken: Sequence[Broken]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The file with adversarial images, and the facts on it for the record.

    Args:
        ids: (N,) identities of the items.
        broken: Broken items by number; the runs of one number in the order of the attack seeds.

    Returns:
        Files by name, with arrays ``<metric>.ids`` (M,) and ``<metric>.images`` (M, C, H, W), and for repeated attacks
        ``<metric>.runs`` (M,), the numbers of the attack seeds; and the facts for the record: name and digest of the
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
