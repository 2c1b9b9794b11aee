"""What the worst case tries after the model's own gradients: adversarial images of other models, and random search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult
    from bench.evaluate.inputs import Inputs
    from bench.family import Classifier

__all__ = ["Search", "Searched", "search_on"]


@dataclass(frozen=True)
class Search:
    """One attack that needs no gradient of the model.

    Attributes:
        name: In columns: ``"from-softmax"``, ``"square"``.
        described: In sentences.
        attack: Entry of ``bench.attacks.catalogue``.
        params: Its parameters.
        source: The other model that it takes its gradients from, or None.
    """

    name: str
    described: str
    attack: str
    params: dict[str, Any]
    source: str | None = None


@dataclass
class Searched:
    """What the searches left, for N items.

    Attributes:
        robust: (N,) what neither gradients nor searches broke.
        adversarials: (N, C, H, W) of what was broken.
        won: By search (N,) what it broke first; None where the search is not made for the model.
        definitions: By search, as the attack defines itself.
        forwards: (N,) forward passes, of the other model for transfers.
    """

    robust: NDArray[np.bool_]
    adversarials: NDArray[np.floating]
    won: dict[str, NDArray[np.bool_] | None]
    definitions: dict[str, str]
    forwards: NDArray[np.float64]


def search_on(
    searches: tuple[Search, ...],
    result: AttackResult,
    model: Classifier,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    inputs: Inputs,
    *,
    done: Callable[[int], None],
    **common: Any,
) -> Searched:
    """Make every search on what the attacks before left.

    Args:
        searches: In their order.
        result: Of the attacks with gradients, on the same N items.
        model: Under attack.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
        inputs: For the other models and the journal.
        done: Told the number of searches made.
        **common: ``norm``, ``eps``, ``seed``, ``batch_size`` and ``clean`` of ``bench.attacks.run``.
    """
    import numpy as np

    from bench import attacks

    left = Searched(result.robust.copy(), result.adversarials.copy(), {}, {}, np.zeros(len(labels)))
    for number, search in enumerate(searches):
        left.won[search.name] = won = np.zeros(len(labels), dtype=np.bool_)
        if search.source is not None and search.source not in inputs.spec["others"]:
            left.won[search.name] = None  # it is the model under attack
            continue
        rows = np.flatnonzero(left.robust)
        if not len(rows):
            continue
        found = attacks.run(
            search.attack,
            model,
            images[rows],
            labels[rows],
            ids=result.ids[rows],
            surrogate=None if search.source is None else inputs.other(search.source),
            journal=inputs.journal,
            **common,
            **search.params,
        )
        broken = rows[found.success]
        won[broken], left.robust[broken] = True, False
        left.adversarials[broken] = found.adversarials[found.success]
        left.forwards[rows] += found.forwards
        left.definitions[search.name] = found.definition
        done(number + 1)
    return left
