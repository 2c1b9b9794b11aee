"""The attacks of torchattacks and foolbox that the catalogue offers, one builder each.

A builder checks parameters against the library's constructor; nothing is computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .catalogue import checked_int
from .library import Call, LibraryAttack, constructor_of, load
from .threat import ThreatModel, parse_eps, parse_step

# atanh is infinite at pixels of exactly 0 or 1, which would never move again (the factor of Carlini's code).
_TANH_SHRINK = 0.999999

_TORCHATTACKS_NORMS = {"linf": "Linf", "l2": "L2"}


def _split(params: Mapping[str, object], name: str) -> tuple[dict[str, object], int]:
    own = {key: value for key, value in params.items() if key != "restarts"}
    return own, checked_int(name, params, "restarts")


def _torchattacks(
    name: str, params: Mapping[str, object], threat: ThreatModel, targeted: bool, fixed: Mapping[str, object]
) -> LibraryAttack:
    own, restarts = _split(params, name)
    constructor = constructor_of("torchattacks", name.partition(".")[2], {**own, **fixed})
    seeded = "seed" in inspect.signature(constructor).parameters

    def run(call: Call) -> Tensor:
        seed = {"seed": call.seed} if seeded else {}
        attack = constructor(call.model, **own, **fixed, **seed)
        if call.targets is None:
            proposals: Tensor = attack(call.images, call.labels)
        else:
            attack.set_mode_targeted_by_label(quiet=True)
            proposals = attack(call.images, call.targets)
        return proposals

    return LibraryAttack(name, threat, own, restarts, targeted, run)


def build_torchattacks_pgd(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> LibraryAttack:
    """torchattacks.PGD; ``alpha`` is absolute as in the library, or a string such as ``"eps/30"``."""
    alpha = params["alpha"]
    step = parse_step(alpha).resolve(threat.eps) if isinstance(alpha, str) else parse_eps(alpha)  # type: ignore[arg-type]
    resolved = {**params, "alpha": step}
    return _torchattacks("torchattacks.PGD", resolved, threat, targeted, {"eps": threat.eps})


def build_torchattacks_cw(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> LibraryAttack:
    """torchattacks.CW on shifted logits, with pixels kept off exact 0 and 1."""
    attack = _torchattacks("torchattacks.CW", params, threat, targeted, {})

    def run(call: Call) -> Tensor:
        inside = 0.5 + (call.images - 0.5) * _TANH_SHRINK
        proposals = attack.run(Call(call.model, inside, call.labels, call.targets, call.seed, call.classes))
        # The library hands its input back where it failed: make that the clean image again.
        unchanged = (proposals == inside).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return torch.where(unchanged, call.images, proposals)

    note = "no binary search, early stop on the batch"
    return LibraryAttack(attack.name, threat, attack.params, attack.restarts, targeted, run, note)


def _autoattack_part(name: str, params: Mapping[str, object], threat: ThreatModel, targeted: bool) -> LibraryAttack:
    fixed = {"eps": threat.eps, "norm": _TORCHATTACKS_NORMS[threat.norm]}
    return _torchattacks(name, params, threat, targeted, fixed)


def build_torchattacks_apgd(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> LibraryAttack:
    """torchattacks.APGD, untargeted."""
    return _autoattack_part("torchattacks.APGD", params, threat, targeted)


def build_torchattacks_fab(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> LibraryAttack:
    """torchattacks.FAB, untargeted."""
    return _autoattack_part("torchattacks.FAB", params, threat, targeted)


def build_torchattacks_square(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> LibraryAttack:
    """torchattacks.Square, untargeted."""
    return _autoattack_part("torchattacks.Square", params, threat, targeted)


def _foolbox(name: str, path: str, params: Mapping[str, object], threat: ThreatModel, targeted: bool) -> LibraryAttack:
    own, restarts = _split(params, name)
    constructor = constructor_of("foolbox", path, own)

    def run(call: Call) -> Tensor:
        foolbox = load("foolbox")
        model = foolbox.PyTorchModel(call.model, bounds=(0, 1), device=call.images.device)
        if call.targets is None:
            criterion = foolbox.criteria.Misclassification(call.labels)
        else:
            criterion = foolbox.criteria.TargetedMisclassification(call.targets)
        budget = threat.eps if np.isfinite(threat.eps) else None
        _, clipped, _ = constructor(**own)(model, call.images, criterion, epsilons=budget)
        proposals: Tensor = clipped
        return proposals

    return LibraryAttack(name, threat, own, restarts, targeted, run)


def build_foolbox_linf_pgd(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> LibraryAttack:
    """foolbox.attacks.LinfProjectedGradientDescentAttack."""
    path = "attacks.LinfProjectedGradientDescentAttack"
    return _foolbox("foolbox.LinfPGD", path, params, threat, targeted)


def build_foolbox_l2_carlini_wagner(
    params: Mapping[str, object], threat: ThreatModel, *, targeted: bool
) -> LibraryAttack:
    """foolbox.attacks.L2CarliniWagnerAttack."""
    path = "attacks.L2CarliniWagnerAttack"
    return _foolbox("foolbox.L2CarliniWagner", path, params, threat, targeted)
