"""What the worst case tries after the model's own gradients: adversarial images of other models, and random search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.attacks import catalogue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult
    from bench.evaluate.inputs import Inputs
    from bench.family import Classifier

__all__ = ["OF_ITSELF", "Search", "Searched", "impossible_searches", "search_on"]


OF_ITSELF = "it is this model"
"""Why a model is not tried on its own images."""


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
        won: By search (N,) what it broke first; None where the search was not made.
        absent: By search that was not made, why.
        definitions: By search, as the attack defines itself.
        forwards: (N,) forward passes, of the other model for transfers.
    """

    robust: NDArray[np.bool_]
    adversarials: NDArray[np.floating]
    won: dict[str, NDArray[np.bool_] | None]
    definitions: dict[str, str]
    forwards: NDArray[np.float64]
    absent: dict[str, str] = field(default_factory=dict)


def impossible_searches(
    searches: tuple[Search, ...], norm: str, shape: tuple[int, int, int], classes: int
) -> dict[str, str]:
    """By search that cannot be made of images of a shape (channels, height, width) and K classes, why."""
    found = {}
    for search in searches:
        entry = catalogue.find(search.attack)
        why = entry.impossible(norm, entry.resolve(search.params), shape, classes)
        if why is not None:
            found[search.name] = why
    return found


def search_on(
    searches: tuple[Search, ...],
    result: AttackResult,
    model: Classifier,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    inputs: Inputs,
    *,
    impossible: Mapping[str, str],
    done: Callable[[int], None],
    **common: Any,
) -> Searched:
    """Make every search on what the attacks before left.

    A library that ends in an error takes its own search away, not the rest: the error stands in ``absent``. Errors of
    the machine (memory, device, disk) and of our own attacks are raised.

    Args:
        searches: In their order.
        result: Of the attacks with gradients, on the same N items.
        model: Under attack.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
        inputs: For the other models and the journal.
        impossible: Of ``impossible_searches``: these are not tried.
        done: Told the number of searches made.
        **common: ``norm``, ``eps``, ``seed``, ``batch_size`` and ``clean`` of ``bench.attacks.run``.
    """
    import numpy as np

    from bench import attacks

    left = Searched(result.robust.copy(), result.adversarials.copy(), {}, {}, np.zeros(len(labels)))
    for number, search in enumerate(searches):
        left.won[search.name] = won = np.zeros(len(labels), dtype=np.bool_)
        if search.source is not None and search.source not in inputs.spec["others"]:
            left.won[search.name], left.absent[search.name] = None, OF_ITSELF
            continue
        if search.name in impossible:
            left.won[search.name], left.absent[search.name] = None, impossible[search.name]
            continue
        rows = np.flatnonzero(left.robust)
        if not len(rows):
            continue
        try:
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
        except Exception as error:
            if "." not in search.attack or _of_the_machine(error):
                raise
            told = (str(error).strip() or "no message").splitlines()[0]
            left.won[search.name], left.absent[search.name] = None, f"{type(error).__name__} in {search.attack}: {told}"
            continue
        broken = rows[found.success]
        won[broken], left.robust[broken] = True, False
        left.adversarials[broken] = found.adversarials[found.success]
        left.forwards[rows] += found.forwards
        left.definitions[search.name] = found.definition
        done(number + 1)
    return left


def _of_the_machine(error: Exception) -> bool:
    """Whether the same attack may end well elsewhere: such an error is no property of attack and model."""
    import torch

    machine = (MemoryError, OSError, ImportError, torch.OutOfMemoryError, torch.AcceleratorError)
    return isinstance(error, machine) or "not installed" in str(error)
