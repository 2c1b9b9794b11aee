"""Runs an attack on a model and lets the judge decide."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from .frozen import FrozenModel, frozen
from .journal import Journal
from .judge import CleanPass, Judge, Judgement
from .named import named_attack
from .problem import Problem, Surrogate
from .result import AttackResult, GradientHealth
from .searching import chosen_precision, searched
from .spec import GIVEN_TARGETS, Attack
from .table import HEALTH, Found
from .threat import Norm, ThreatModel, parse_eps


def run(
    name: str | Attack,
    model: nn.Module,
    images: Tensor | NDArray[np.floating],
    labels: Tensor | NDArray[np.integer],
    *,
    norm: Norm,
    eps: str | float | None = None,
    seed: int,
    ids: ArrayLike | None = None,
    targets: Tensor | NDArray[np.integer] | None = None,
    starts: Tensor | NDArray[np.floating] | None = None,
    surrogate: nn.Module | None = None,
    batch_size: int = 64,
    journal: Journal | None = None,
    clean: CleanPass | None = None,
    **params: object,
) -> AttackResult:
    """Attack a model.

    The model is frozen during the attack and restored afterwards; see `bench.attacks.frozen`.

    Args:
        name: A name of `bench.attacks.named`, such as ``"pgd"``; or an attack with its parameters.
        model: Any module from images (N, C, H, W) in [0, 1] to logits (N, K), on one device. Losses on
            distances also need ``features(x)`` and ``class_centers()``.
        images: (N, C, H, W), float32 (float64 for a float64 model), in [0, 1].
        labels: (N,) classes.
        norm: ``"linf"`` or ``"l2"``.
        eps: Budget in pixel units, a number or ``"8/255"``. May be None for attacks that minimise the norm.
        seed: Seed of all noise.
        ids: (N,) integers on which the noise depends, instead of on positions; positions if None.
        targets: (N,) classes to reach; None: any wrong class is a success.
        starts: (N, C, H, W) in [0, 1], starts of the first restart in place of random ones.
        surrogate: The other model of ``"transfer"``, with the same classes, on the device of ``model``.
        batch_size: Images per forward pass.
        journal: Keeps finished pieces of the attack, so that the same call can resume a killed one.
        clean: A clean pass of ``model`` and ``batch_size`` that several attacks share.
        **params: Parameters of the attack; the others have their defaults.

    Returns:
        One row per image, in the given order.

    Raises:
        ValueError: The attack or a parameter is unknown, or data have a wrong shape, type or range.
        RuntimeError: An attack of our own left its threat model, which is a bug.
    """
    attack = named_attack(name, params)
    called = f"attack {attack.name!r}"
    if eps is None and not attack.minimises_norm:
        raise ValueError(f"{called} needs eps")
    if norm not in attack.norms:
        raise ValueError(f"{called} knows norm {' and '.join(attack.norms)}, got {norm!r}")
    threat = ThreatModel(norm, math.inf if eps is None else parse_eps(eps))
    attack.check(threat, targeted=targets is not None)
    if starts is not None and not attack.startable:
        raise ValueError(f"{called} takes no starts")
    if (surrogate is not None) != attack.needs_surrogate:
        raise ValueError(f"{called} {'needs a' if attack.needs_surrogate else 'takes no'} surrogate")
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    if clean is not None:
        clean.check(model, batch_size)
    pictures = _checked_images(images)
    beginnings = None if starts is None else _checked_images(starts)
    if beginnings is not None and beginnings.shape != pictures.shape:
        raise ValueError(f"starts must have the shape {tuple(pictures.shape)} of images, got {tuple(beginnings.shape)}")
    classes = _checked_integers(labels, len(pictures), "labels")
    goals = None if targets is None else _checked_integers(targets, len(pictures), "targets")
    identities = torch.arange(len(pictures)) if ids is None else np.asarray(ids)
    numbers = _checked_integers(identities, len(pictures), "ids").numpy()

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    searcher = model if surrogate is None else surrogate
    precision = chosen_precision(getattr(attack, "search_precision", "float32"), searcher, pictures, device)
    if "search_precision" in attack.parameters:
        attack = attack.configured({**attack.parameters, "search_precision": precision})
    definition = attack.definition(threat, None if targets is None else GIVEN_TARGETS)
    with frozen(model) as view, frozen(surrogate) if surrogate is not None else nullcontext() as other:
        judge = Judge(
            view, pictures, classes, goals, threat, device=device, batch_size=batch_size, own=attack.own, clean=clean
        )
        _, channels, height, width = pictures.shape
        impossible = attack.impossible(norm, (channels, height, width), judge.clean_logits.shape[1])
        if impossible is not None:
            raise ValueError(impossible)
        attacked = np.flatnonzero(judge.clean_correct)
        found = None
        if len(attacked):
            rows = torch.from_numpy(attacked)
            problem = Problem(
                model=view if surrogate is not None else searched(view, precision, device),
                images=pictures[rows],
                labels=classes[rows],
                ids=numbers[attacked],
                targets=None if goals is None else goals[rows],
                clean_logits=judge.clean_logits[rows],
                threat=threat,
                seed=seed,
                batch_size=batch_size,
                device=device,
                judge=lambda candidates, index: judge.judge(candidates, attacked[index]),
                starts=None if beginnings is None else beginnings[rows],
                surrogate=None
                if other is None
                else _surrogate(other, pictures[rows], judge, batch_size, device, precision),
            )
            if journal is not None:
                problem = replace(problem, pages=journal.pages(*_identity(definition, problem)))
            found = attack.attack(problem)
            if not isinstance(found, Found):
                raise TypeError(f"{called} returned a {type(found).__name__}, expected a bench.attacks.table.Found")
        return _assembled(attack, definition, judge, numbers, pictures, attacked, found, precision)


def _surrogate(
    view: FrozenModel, images: Tensor, judge: Judge, batch_size: int, device: torch.device, precision: str
) -> Surrogate:
    """The surrogate in the precision of the search, with its logits of the clean images in float32.

    Raises:
        ValueError: It has another number of classes.
    """
    with torch.no_grad():
        parts = [
            view.logits(images[start : start + batch_size].to(device)).cpu()
            for start in range(0, len(images), batch_size)
        ]
    logits = torch.cat(parts)
    if logits.shape[1] != judge.clean_logits.shape[1]:
        raise ValueError(f"the surrogate has {logits.shape[1]} classes, the model {judge.clean_logits.shape[1]}")
    return Surrogate(searched(view, precision, device), logits)


def _identity(definition: str, problem: Problem) -> list[bytes | str]:
    """Everything that determines the result of an attack; the clean logits stand for the weights of the model."""
    other = None if problem.surrogate is None else problem.surrogate.clean_logits
    tensors = (problem.images, problem.labels, problem.targets, problem.clean_logits, problem.starts, other)
    return [
        "columns of bench.attacks.table",  # pieces of another form are not found
        definition,
        f"{problem.threat} {problem.seed} {problem.batch_size} {problem.device}",
        *(b"" if tensor is None else tensor.contiguous().numpy().tobytes() for tensor in tensors),
        problem.ids.tobytes(),
    ]


def _checked_images(images: Tensor | NDArray[np.floating]) -> Tensor:
    pictures = torch.as_tensor(images).detach().to("cpu", copy=True).contiguous()
    if pictures.ndim != 4 or not len(pictures) or pictures.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"images must be float32 or float64 of shape (N, C, H, W) with N >= 1, "
            f"got {pictures.dtype} {tuple(pictures.shape)}"
        )
    # Written so that NaN fails too.
    if not bool(((pictures >= 0) & (pictures <= 1)).all()):
        raise ValueError(
            f"images must be in [0, 1], got {float(pictures.min()):g}..{float(pictures.max()):g}; "
            "any other scaling belongs inside the model"
        )
    return pictures


def _checked_integers(values: Tensor | NDArray[np.integer], count: int, name: str) -> Tensor:
    integers = torch.as_tensor(values).detach().cpu()
    if integers.shape != (count,) or integers.is_floating_point() or integers.dtype == torch.bool:
        raise ValueError(f"{name} must be integers of shape ({count},), got {integers.dtype} {tuple(integers.shape)}")
    return integers.to(torch.int64)


def _assembled(
    attack: Attack,
    definition: str,
    judge: Judge,
    ids: NDArray[np.int64],
    images: Tensor,
    attacked: NDArray[np.int64],
    found: Found | None,
    precision: str,
) -> AttackResult:
    """Judge the proposals for the attacked images, and merge them with the images that were not attacked."""
    count = len(images)
    clean_predictions = judge.clean_logits.argmax(dim=1).numpy()
    columns: dict[str, NDArray[Any]] = {
        "adversarials": images.numpy().copy(),
        "predictions": clean_predictions.copy(),
        "success": np.zeros(count, dtype=np.bool_),
        "valid": np.ones(count, dtype=np.bool_),
        "linf": np.zeros(count),
        "l2": np.zeros(count),
        "margin_after": judge.clean_margin(),
        "first_step": np.full(count, -1, dtype=np.int64),
        "forwards": np.zeros(count),
        **{name: np.full(count, np.nan) for name in ("loss", *HEALTH)},
    }
    success_final = np.zeros(count, dtype=np.bool_)
    success_any = np.zeros(count, dtype=np.bool_) if attack.own else None
    if found is not None:
        table, chosen = found.table, found.table["final"]
        judgement = judge.judge(chosen, attacked)
        success_final[attacked] = judgement.success
        if "first" in table and success_any is not None:
            first_step = table["first_step"].numpy()
            crossed = np.flatnonzero(first_step >= 0)
            early = judge.judge(table["first"][torch.from_numpy(crossed)], attacked[crossed])
            broken = judgement.success.copy()
            broken[crossed] |= early.success
            success_any[attacked] = broken
            steps = np.where(first_step < 0, found.steps, first_step)
            columns["first_step"][attacked] = np.where(broken, steps, -1)
            if attack.decided_by == "any":
                taken = crossed[early.success]
                chosen = chosen.clone()
                chosen[torch.from_numpy(taken)] = table["first"][torch.from_numpy(taken)]
                judgement = _overlaid(judgement, early, taken, early.success)
        judged = {"adversarials": chosen.numpy(), "margin_after": judgement.margin}
        judged |= {name: getattr(judgement, name) for name in ("predictions", "success", "valid", "linf", "l2")}
        judged |= {name: table[name].double().numpy() for name in ("loss", "forwards", *HEALTH)}
        for name, values in judged.items():
            columns[name][attacked] = values
    composition = None if found is None or found.composition is None else found.composition.spread(attacked, count)
    return AttackResult(
        definition=definition,
        ids=ids,
        clean_predictions=clean_predictions,
        clean_correct=judge.clean_correct,
        clean_finite=judge.clean_finite,
        success_final=success_final if found is None or found.has_final else None,
        success_any=success_any,
        robust=judge.clean_correct & ~columns["success"],
        margin_before=judge.clean_margin(),
        health=GradientHealth(**{name: columns.pop(name) for name in HEALTH}),
        composition=composition,
        search_precision=precision,
        **columns,
    )


def _overlaid(judgement: Judgement, early: Judgement, rows: NDArray[np.int64], taken: NDArray[np.bool_]) -> Judgement:
    """A judgement with its ``rows`` replaced by the entries ``taken`` of another one."""
    merged = {}
    for field in fields(Judgement):
        values = getattr(judgement, field.name).copy()
        values[rows] = getattr(early, field.name)[taken]
        merged[field.name] = values
    return Judgement(**merged)
