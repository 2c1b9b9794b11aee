"""The attacks by name. This module does not import torch.

Other packages register an instance of their subclass of `bench.attacks.spec.Attack` under the entry-point group
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
from .transfer import TransferAttack

__all__ = ["ATTACKS", "named_attack"]

OWN: tuple[Attack, ...] = (
    PGDAttack(),
    AdaptivePGD(),
    RandomPoints(),
    TransferAttack(),
    CarliniWagner(),
    *LIBRARY_ATTACKS,
)

ATTACKS: Registry[Attack] = Registry(
    "attack",
    "attacks",
    Attack,  # type: ignore[type-abstract]
    "bench.attacks",
    builtin=lambda: OWN,
    problems=when_asked("bench.plugins.descriptions:attack_problems"),
)


def named_attack(name: str | Attack, params: Mapping[str, object] | None = None) -> Attack:
    """An attack with these parameters.

    Args:
        name: A name, whose other parameters have their defaults; or an attack, which keeps its other parameters.
        params: Parameters by name.

    Raises:
        ValueError: The attack or a parameter is unknown (the nearest name is suggested), or a value is invalid.
    """
    if isinstance(name, Attack):
        return name.configured({**name.parameters, **(params or {})})
    try:
        attack = ATTACKS.get(name)
    except UnknownNameError as error:
        raise ValueError(str(error)) from None
    return attack.configured(params or {})
