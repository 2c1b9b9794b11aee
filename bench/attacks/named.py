"""The attacks by name. Imports no torch.

Others register an instance of their subclass of `bench.attacks.spec.Attack` under the entry-point group
``bench.attacks``.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.registry import Registry, UnknownNameError, when_asked

from .adaptive import AdaptivePGD
from .carlini_wagner import CarliniWagner
from .libraries import LIBRARY_ATTACKS
from .pgd import PGDAttack
from .random_points import RandomPoints
from .spec import Attack
from .transfer import Transfer

__all__ = ["ATTACKS", "named_attack"]

OWN: tuple[Attack, ...] = (PGDAttack(), AdaptivePGD(), RandomPoints(), Transfer(), CarliniWagner(), *LIBRARY_ATTACKS)

ATTACKS: Registry[Attack] = Registry(
    "attack",
    "attacks",
    Attack,  # type: ignore[type-abstract]
    "bench.attacks",
    builtin=lambda: OWN,
    problems=when_asked("bench.plugins.attack_contract:attack_problems"),
)


def named_attack(name: str, params: Mapping[str, object] | None = None) -> Attack:
    """An attack with these parameters; others have defaults.

    Raises:
        ValueError: Unknown attack or parameter (the nearest name is suggested), or a value that has no meaning.
    """
    try:
        attack = ATTACKS.get(name)
    except UnknownNameError as error:
        raise ValueError(f"{error} (known: {', '.join(ATTACKS.names())})") from None
    return attack.configured(params or {})
