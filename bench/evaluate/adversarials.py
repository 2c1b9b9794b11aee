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

__all__ = ["ADVERSARIALS", "AdversarialsConfig", "Broken", "packed"]

ADVERSARIALS = "adversarials.npz"


class AdversarialsConfig(EvaluationConfig):
    """The parameter of evaluations that can keep their adversarial images."""

    adversarials: bool = Field(
        False, description="Keep the adversarial image of every broken item, so that `bench verify` can check the claim"
    )


@dataclass(frozen=True)
class Broken:
    """The items that an attack broke, behind one number.

    Attributes:
        metric: Of the number that counts them.
        argument: Of the number.
        norm: ``"linf"`` or ``"l2"``.
        eps: Budget such as ``"8/255"``; None for attacks that minimise the norm.
        success: (N,) which of the items.
        adversarials: (N, C, H, W) float32 in [0, 1].
    """

    metric: str
    argument: str
    norm: str
    eps: str | None
    success: NDArray[np.bool_]
    adversarials: NDArray[np.floating]


def packed(ids: NDArray[np.int64], broken: Sequence[Broken]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The file to keep, and what the record says of it.

    Args:
        ids: (N,) identities of the items.
        broken: What was broken, number by number.

    Returns:
        Files by name: arrays ``<metric>.ids`` (M,) and ``<metric>.images`` (M, C, H, W); and the record's facts:
        name and digest of the file, threat model and count of each number.
    """
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    entries = []
    for one in broken:
        arrays[f"{one.metric}.ids"] = ids[one.success]
        arrays[f"{one.metric}.images"] = one.adversarials[one.success].astype(np.float32)
        entries.append(
            {
                "metric": one.metric,
                "argument": one.argument,
                "norm": one.norm,
                "eps": one.eps,
                "broken": int(one.success.sum()),
            }
        )
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    data = content.getvalue()
    facts = {"file": ADVERSARIALS, "sha256": hashlib.sha256(data).hexdigest(), "entries": entries}
    return {ADVERSARIALS: data}, facts
