from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.attacks import run
from bench.attacks.worst_case import eps_sweep, worst_case

OPTIONS: dict[str, Any] = {"norm": "linf", "eps": 0.02, "seed": 0, "steps": 15, "step": 0.1}


def attacks(toy: Any, *losses: str) -> dict[str, Any]:
    return {loss: run("pgd", toy.model, toy.images, toy.labels, loss=loss, **OPTIONS) for loss in losses}


def test_an_image_is_robust_if_every_attack_failed(make_linear: Any) -> None:
    results = attacks(make_linear(), "ce", "margin", "margin-targeted")
    worst = worst_case(results)
    expected = np.logical_and.reduce([result.robust for result in results.values()])
    assert worst.robust.tolist() == expected.tolist()
    assert worst.robust_accuracy == expected.mean()
    assert all(worst.robust_accuracy <= result.robust_accuracy for result in results.values())
    assert (worst.broken_by.any(axis=1) == (worst.clean_correct & ~worst.robust)).all()
    assert worst.definition.startswith("worst case per image over {pgd-linf[15, 0.02")
    assert worst.definition.count("pgd-linf[") == 3


def test_who_was_first_and_who_was_alone(make_linear: Any) -> None:
    base = attacks(make_linear(count=9), "margin")["margin"]
    everyone = np.ones(9, dtype=np.bool_)
    rows = {"a": [0, 1, 2], "b": [2, 3], "c": [4]}
    results = {}
    for name, broken in rows.items():
        success = np.isin(np.arange(9), broken)
        results[name] = replace(base, clean_correct=everyone, success=success, robust=~success)
    worst = worst_case(results)
    assert worst.winner.tolist() == [0, 0, 0, 1, 2, -1, -1, -1, -1]
    assert worst.alone.tolist() == [0, 0, -1, 1, 2, -1, -1, -1, -1]
    assert worst.shares(worst.winner) == {"a": 3 / 9, "b": 1 / 9, "c": 1 / 9}
    assert worst.shares(worst.alone) == {"a": 2 / 9, "b": 1 / 9, "c": 1 / 9}


def test_the_strongest_adversarial_is_kept(make_linear: Any) -> None:
    toy = make_linear()
    results = attacks(toy, "ce", "margin")
    worst = worst_case(results)
    margins = np.stack([result.margin_after for result in results.values()], axis=1)
    success = worst.broken_by
    picked = worst.strongest
    for row in range(len(picked)):
        name = worst.names[picked[row]]
        assert (worst.adversarials[row] == results[name].adversarials[row]).all()
        if success[row].any():
            assert success[row, picked[row]]
            assert margins[row, picked[row]] == margins[row][success[row]].max()


def test_attacks_on_different_images_or_models_do_not_mix(make_linear: Any) -> None:
    one = attacks(make_linear(), "margin")["margin"]
    other = attacks(make_linear(seed=4), "margin")["margin"]
    with pytest.raises(ValueError, match="other: the clean predictions differ from those of one"):
        worst_case({"one": one, "other": other})
    with pytest.raises(ValueError, match="other: attacked other images than one"):
        worst_case({"one": one, "other": replace(one, ids=one.ids + 1)})
    with pytest.raises(ValueError, match="at least one attack"):
        worst_case({})


def test_a_sweep_is_nested_reaches_zero_and_is_exact(make_linear: Any, exact_linear_robustness: Any) -> None:
    toy = make_linear()
    budgets = ["1/255", "2/255", "4/255", "8/255", "128/255"]
    sweep = eps_sweep(
        "adaptive_pgd",
        toy.model,
        toy.images,
        toy.labels,
        norm="linf",
        eps=budgets,
        seed=0,
        steps=16,
        step=0.25,
        restarts=1,
    )
    for budget, robust in zip(sweep.eps, sweep.robust, strict=True):
        assert robust.tolist() == exact_linear_robustness(toy, budget).tolist()
    assert not (sweep.robust[1:] & ~sweep.robust[:-1]).any()
    assert not sweep.robust[-1].any()
    # An image keeps the adversarial of the smallest budget that broke it.
    norms = np.abs(sweep.adversarials - toy.images.numpy()).reshape(len(toy.images), -1).max(axis=1)
    broken_at = np.where(sweep.clean_correct, (~sweep.robust).argmax(axis=0), 0)
    allowed = np.where(sweep.clean_correct, np.array(sweep.eps)[broken_at], 0.0)
    assert (norms <= allowed * (1 + 1e-6) + 1e-7).all()
    assert (sweep.forwards[~sweep.clean_correct] == 0).all()


def test_a_sweep_says_that_it_is_chained(make_linear: Any) -> None:
    toy = make_linear(count=8)
    sweep = eps_sweep(
        "pgd", toy.model, toy.images, toy.labels, norm="linf", eps=["1/255", "2/255"], seed=0, loss="margin", steps=3
    )
    assert sweep.definition == (
        "chained eps sweep 1/255, 2/255: an image broken at one eps counts as broken at all larger ones, the others "
        "go on from their perturbation scaled to the new eps, or from a random start where the gradient there is zero: "
        "pgd-linf[3, eps, step=eps/30, margin, final iterate, 1 restart]"
    )


def test_a_sweep_goes_on_from_the_boundary_of_the_new_ball(of_images: Any) -> None:
    """Two steps of a tenth do not lead from the boundary of .1 to that of .2, where alone the image is wrong."""

    def logits(images: Tensor) -> Tensor:
        moved = images.flatten(1)[:, :1] - 0.5
        return torch.cat([torch.zeros_like(moved), moved - 0.195], dim=1)

    images, labels = torch.full((20, 1, 1, 1), 0.5), torch.zeros(20, dtype=torch.int64)
    options: dict[str, Any] = {"norm": "linf", "seed": 0, "loss": "margin", "steps": 20, "step": 0.1}
    options |= {"iterate": "any", "survivors_only": True}
    sweep = eps_sweep("pgd", of_images(logits), images, labels, eps=[0, 0.1, 0.2], **options)
    assert sweep.robust.mean(axis=1).tolist() == [1.0, 1.0, 0.0]
    small = eps_sweep("pgd", of_images(logits), images, labels, eps=[0, 0.1], **options)
    assert (sweep.forwards == small.forwards + 1).all()


def test_a_sweep_leaves_starts_without_a_gradient(of_images: Any) -> None:
    """A plateau of half-width .05 around each image hides the way out: whoever starts on it stays, and a chained start
    lies on it. A random start in a ball of .2 lies outside it in three of four cases.
    """

    def logits(images: Tensor) -> Tensor:
        beyond = ((images.flatten(1) - 0.5).abs() - 0.05).relu()
        return torch.cat([torch.zeros_like(beyond), 100 * beyond - 1], dim=1)

    images, labels = torch.full((200, 1, 1, 1), 0.5), torch.zeros(200, dtype=torch.int64)
    options: dict[str, Any] = {"norm": "linf", "seed": 0, "loss": "margin", "steps": 10, "step": 0.25}
    sweep = eps_sweep("pgd", of_images(logits), images, labels, eps=[0.04, 0.2], iterate="any", **options)
    assert sweep.robust[0].all()
    assert 0.15 < sweep.robust[1].mean() < 0.35
    alone = run("pgd", of_images(logits), images, labels, eps=0.2, iterate="any", **options)
    assert (sweep.robust[1] == alone.robust).all()


def test_what_is_broken_is_not_attacked_again(make_linear: Any) -> None:
    toy = make_linear()
    options: dict[str, Any] = {
        "norm": "linf",
        "seed": 0,
        "losses": ("margin-targeted",),
        "steps": 10,
        "step": 0.5,
        "restarts": 1,
    }
    small = eps_sweep("adaptive_pgd", toy.model, toy.images, toy.labels, eps=["4/255"], **options)
    both = eps_sweep("adaptive_pgd", toy.model, toy.images, toy.labels, eps=["4/255", "8/255"], **options)
    broken = small.clean_correct & ~small.robust[0]
    assert broken.any()
    assert (both.forwards[broken] == small.forwards[broken]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": ["2/255", "1/255"]}, "increasing budgets"),
        ({"eps": []}, "increasing budgets"),
        ({"name": "torchattacks.PGD"}, "cannot be given starts"),
        ({"name": "pdg"}, "did you mean 'pgd'"),
    ],
)
def test_wrong_requests_are_refused(make_linear: Any, change: dict[str, Any], message: str) -> None:
    toy = make_linear(count=8)
    request: dict[str, Any] = {"name": "pgd", "eps": ["1/255"], "norm": "linf", "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        eps_sweep(request.pop("name"), toy.model, toy.images, toy.labels, **request)
