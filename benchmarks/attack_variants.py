"""The compared attacks, each as a function that runs the attack and returns its result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from attack_rounds import Variant
from attack_subjects import Subject
from torch import Tensor
from torch.nn import functional

from bench import attacks
from bench.attacks.frozen import frozen
from bench.attacks.library import load
from bench.attacks.searching import searched

__all__ = ["BARE", "BOUND", "bare_variant", "channels_last_variant", "cw_variants", "pgd_variants", "sweep_variants"]

STEPS = 40
LOWERED = {"search_precision": "bf16"}
BOUND = f"{2 * STEPS} forward passes"
BARE = f"{STEPS} input gradients"


def library_variants(subject: Subject, budgets: Sequence[float]) -> dict[str, Variant]:
    """PGD-40 with cross-entropy of both libraries, final iterate, a run for each budget."""
    foolbox, torchattacks = load("foolbox"), load("torchattacks")
    images, labels = subject.images, subject.labels

    def torchattacks_pgd() -> list[float]:
        left = []
        for eps in budgets:
            attack = torchattacks.PGD(subject.plain, eps=eps, alpha=eps / 30, steps=STEPS)
            left.append(subject.survivors(attack(images, labels)))
        return left

    def foolbox_pgd() -> list[float]:
        attack = foolbox.attacks.LinfPGD(rel_stepsize=1 / 30, steps=STEPS)
        wrapped = foolbox.PyTorchModel(subject.plain, bounds=(0, 1), device="cpu")
        _, clipped, _ = attack(wrapped, images, labels, epsilons=list(budgets))
        return [subject.survivors(adversarials) for adversarials in clipped]

    return {"torchattacks.PGD": torchattacks_pgd, "foolbox.LinfPGD": foolbox_pgd}


def channels_last_variant(subject: Subject, eps: float) -> dict[str, Variant]:
    """Torchattacks on images in the layout that own attacks choose: the part of the difference due to the layout."""
    images = subject.images.contiguous(memory_format=torch.channels_last)

    def run() -> list[float]:
        attack = load("torchattacks").PGD(subject.plain, eps=eps, alpha=eps / 30, steps=STEPS)
        return [subject.survivors(attack(images, subject.labels))]

    return {"torchattacks.PGD, channels-last images": run}


def bare_variant(subject: Subject) -> dict[str, Variant]:
    """Nothing but forty input gradients of the cross-entropy: what of an attack's time is this machine's backward."""
    images, labels = subject.images.contiguous(memory_format=torch.channels_last), subject.labels

    def run(precision: str) -> list[float]:
        with frozen(subject.model) as view:
            model = searched(view, precision, images.device)
            for _ in range(STEPS):
                points = images.detach().requires_grad_()
                loss = functional.cross_entropy(model.logits(points), labels, reduction="sum")
                torch.autograd.grad(loss, points)
        return []

    return {BARE: partial(run, "float32"), f"{BARE} in bf16": partial(run, "bf16")}


def own_pgd(subject: Subject, eps: float, **params: Any) -> Variant:
    """Own PGD-40 at one budget."""

    def run() -> list[float]:
        result = attacks.run(
            "pgd", subject.model, subject.images, subject.labels, norm="linf", eps=eps, seed=0, steps=STEPS,
            batch_size=len(subject.images), **params,
        )  # fmt: skip
        return [result.robust_accuracy]

    return run


def bound(subject: Subject) -> Variant:
    """Eighty forward passes: the cost of 40 steps if a backward pass cost no more than a forward pass."""

    @torch.no_grad()
    def run() -> list[float]:
        images = subject.images.contiguous(memory_format=torch.channels_last)
        for _ in range(2 * STEPS):
            subject.model(images)
        return []

    return run


def pgd_variants(subject: Subject, eps: float) -> dict[str, Variant]:
    """PGD-40 at one budget."""
    survivors = {"iterate": "any", "survivors_only": True}
    return {
        **library_variants(subject, [eps]),
        "own, all images": own_pgd(subject, eps, iterate="any"),
        "own, survivors only": own_pgd(subject, eps, **survivors),
        "own in bf16, all images": own_pgd(subject, eps, iterate="any", **LOWERED),
        "own in bf16, survivors only": own_pgd(subject, eps, **survivors, **LOWERED),
        BOUND: bound(subject),
    }


def sweep_variants(subject: Subject, budgets: Sequence[float]) -> dict[str, Variant]:
    """Four budgets: four library runs, or one chained sweep."""

    def own(**more: Any) -> list[float]:
        sweep = attacks.eps_sweep(
            "pgd", subject.model, subject.images, subject.labels, norm="linf", eps=list(budgets), seed=0, steps=STEPS,
            batch_size=len(subject.images), iterate="any", survivors_only=True, **more,
        )  # fmt: skip
        return [float(share) for share in sweep.robust.mean(axis=1)]

    libraries = library_variants(subject, budgets)
    four = {f"{name}, four runs": variant for name, variant in libraries.items()}
    return {**four, "own, chained": own, "own in bf16, chained": partial(own, **LOWERED)}


def cw_variants(subject: Subject) -> tuple[dict[str, Variant], dict[str, Tensor]]:
    """C&W L2, 100 iterations at c = 1, no binary search; what they find is the share of successes and their mean L2.

    Returns:
        The variants; and, once they have run, the L2 norms (N,) that each found, infinite where it broke nothing.
    """
    foolbox, torchattacks = load("foolbox"), load("torchattacks")
    images, labels = subject.images, subject.labels

    norms: dict[str, Tensor] = {}

    def keep(name: str, broken: Tensor, l2: Tensor) -> list[float]:
        norms[name] = torch.where(broken, l2, torch.inf)
        return [float(broken.float().mean()), float(l2[broken].mean())]

    @torch.no_grad()
    def found(name: str, adversarials: Any) -> list[float]:
        broken = subject.plain(adversarials).argmax(dim=1) != labels
        # A library may return an all-zero image where it failed, which can have another class.
        broken &= (adversarials != 0).flatten(1).any(dim=1)
        return keep(name, broken, (adversarials - images).flatten(1).norm(dim=1))

    def torchattacks_cw() -> list[float]:
        return found("torchattacks.CW", torchattacks.CW(subject.plain, c=1, lr=0.01, steps=100)(images, labels))

    def foolbox_cw() -> list[float]:
        attack = foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=1, steps=100, stepsize=0.01, initial_const=1.0, abort_early=False
        )
        wrapped = foolbox.PyTorchModel(subject.plain, bounds=(0, 1), device="cpu")
        _, clipped, _ = attack(wrapped, images, labels, epsilons=None)
        return found("foolbox.L2CarliniWagner", clipped)

    def own(name: str, **more: Any) -> list[float]:
        result = attacks.run(
            "cw_l2", subject.model, images, labels, norm="l2", seed=0, batch_size=len(images), rounds=1, c0=1.0, **more
        )
        return keep(name, torch.from_numpy(result.success), torch.from_numpy(result.l2))

    variants: dict[str, Variant] = {"torchattacks.CW": torchattacks_cw, "foolbox.L2CarliniWagner": foolbox_cw}
    for name, more in (("own cw_l2", {}), ("own cw_l2 in bf16", LOWERED)):
        variants[name] = partial(own, name, **more)
    return variants, norms
