from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.attacks import run
from bench.attacks.chain import Chain, Member, attack_in_turn, eps_sweep
from bench.attacks.libraries import TorchattacksSquare
from bench.attacks.named import named_attack
from bench.attacks.result import Composition

OPTIONS: dict[str, Any] = {"steps": 15, "step": 0.1}


def chain(toy: Any, *losses: str, eps: float = 0.02, **more: Any) -> Chain:
    members = [Member(loss, named_attack("pgd", {**OPTIONS, "loss": loss}), eps) for loss in losses]
    return attack_in_turn(members, toy.model, toy.images, toy.labels, norm="linf", seed=0, **more)


def test_an_image_is_robust_if_every_attack_failed(make_linear: Any) -> None:
    toy = make_linear()
    losses = ("ce", "margin", "margin-targeted")
    worst = chain(toy, *losses)
    alone = [
        run("pgd", toy.model, toy.images, toy.labels, norm="linf", eps=0.02, seed=0, loss=loss, **OPTIONS)
        for loss in losses
    ]
    assert worst.robust.tolist() == np.logical_and.reduce([result.robust for result in alone]).tolist()
    assert (worst.robust == (worst.clean_correct & (worst.composition.winner < 0))).all()
    assert worst.won("ce").tolist() == alone[0].success.tolist()
    broken = worst.clean_correct & ~worst.robust
    assert broken.any()
    with torch.no_grad():
        seen = toy.model(torch.from_numpy(worst.adversarials[broken])).argmax(dim=1)
    assert (seen != toy.labels[torch.from_numpy(broken)]).all()


def test_each_member_attacks_what_is_left(make_linear: Any) -> None:
    worst = chain(make_linear(), "ce", "margin", "margin-targeted")
    left = np.arange(len(worst.ids))
    for name in worst.composition.members:
        if name not in worst.results:
            assert not len(left)
            continue
        rows, result = worst.results[name]
        assert rows.tolist() == left.tolist()
        left = rows[result.robust]
    assert np.flatnonzero(worst.robust).tolist() == left.tolist()


def test_who_was_first_and_who_was_alone() -> None:
    turns = Composition.of(["a", "b", "c"], 9)
    everyone = np.arange(9)
    for member, broken in enumerate([[0, 1, 2], [2, 3], [4]]):
        turns.took(everyone, member, np.isin(everyone, broken), turn=member)
    assert turns.winner.tolist() == [0, 0, 0, 1, 2, -1, -1, -1, -1]
    assert turns.alone.tolist() == [0, 0, -1, 1, 2, -1, -1, -1, -1]
    assert turns.left().tolist() == [5, 6, 7, 8]
    assert turns.left(1).tolist() == [0, 1, 4, 5, 6, 7, 8]
    assert turns.broken_at[2].tolist() == [0, 1, -1]
    spread = turns.spread(np.arange(9) + 1, 11)
    assert spread.winner.tolist() == [-1, *turns.winner.tolist(), -1]
    assert spread.tried.sum() == 27


def test_a_library_that_fails_takes_its_own_attack_away(make_linear: Any) -> None:
    toy = make_linear(count=12)

    class Broken(TorchattacksSquare):
        def attack(self, problem: Any) -> Any:
            raise ZeroDivisionError("the library\nfails")

    class Full(TorchattacksSquare):
        def attack(self, problem: Any) -> Any:
            raise OSError("no space")

    pgd = named_attack("pgd", {**OPTIONS, "loss": "margin"})
    members = [Member("a", pgd, 0.001), Member("b", Broken(), 0.001), Member("c", pgd, 0.02)]
    found = attack_in_turn(members, toy.model, toy.images, toy.labels, norm="linf", seed=0)
    assert found.left_out == {"b": "ZeroDivisionError in torchattacks.Square: the library"}
    assert list(found.results) == ["a", "c"]
    with pytest.raises(OSError, match="no space"):
        attack_in_turn([members[0], Member("d", Full(), 0.001)], toy.model, toy.images, toy.labels, norm="linf", seed=0)


def test_what_is_left_out_is_not_tried(make_linear: Any) -> None:
    found = chain(make_linear(count=12), "ce", "margin", eps=0.001, left_out={"margin": "for a reason"})
    assert found.left_out == {"margin": "for a reason"}
    assert "margin" not in found.results


def test_a_chain_of_which_nothing_was_made_says_why(make_linear: Any) -> None:
    with pytest.raises(ValueError, match=r"no attack was made: ce \(for a reason\)"):
        chain(make_linear(count=4), "ce", left_out={"ce": "for a reason"})


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
