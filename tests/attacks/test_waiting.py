"""Images that are settled wait in the batch for the next look, and nothing that is recorded of them changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import ascent, descent, eps_sweep, run
from bench.attacks.result import AttackResult
from bench.attacks.waiting import CHECK_EVERY, check_every, known_empty

ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "survivors": (
        "pgd",
        {"steps": 10, "step": 0.2, "iterate": "any", "survivors_only": True, "restarts": 2, "norm": "linf"},
    ),
    "rivals": (
        "pgd",
        {"steps": 6, "step": 0.5, "iterate": "any", "survivors_only": True, "loss": "margin-targeted", "norm": "l2"},
    ),
    "adaptive": ("adaptive_pgd", {"steps": 10, "step": 0.5, "restarts": 2, "rivals": 2, "norm": "linf"}),
    "given targets": (
        "pgd",
        {"steps": 9, "step": 0.5, "iterate": "any", "survivors_only": True, "norm": "l2", "targets": True},
    ),
    "patience": ("cw_l2", {"steps": 400, "rounds": 2, "c0": 1.0, "lr": 0.1, "norm": "l2"}),
}


def attacked(toy: Any, name: str, options: dict[str, Any]) -> AttackResult:
    given = dict(options)
    eps = None if name == "cw_l2" else 0.18 if given["norm"] == "linf" else 1.15
    targets = (toy.labels + 1) % 10 if given.pop("targets", False) else None
    return run(name, toy.model, toy.images, toy.labels, eps=eps, seed=0, targets=targets, batch_size=16, **given)


def looks_every(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    for module in (ascent, descent):
        monkeypatch.setattr(module, "check_every", lambda _: steps)


@pytest.mark.parametrize("every", [2, CHECK_EVERY, 7])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_bit_depends_on_how_often_an_attack_looks(
    make_quadratic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, attack: str, every: int
) -> None:
    """The toy computes every row by itself, so the size of a batch changes no bit either."""
    toy, (name, options) = make_quadratic(), ATTACKS[attack]
    expected = attacked(toy, name, options)
    assert expected.success.sum() > 0
    assert expected.forwards.min() < expected.forwards.max()  # some images were dropped
    looks_every(monkeypatch, every)
    found = attacked(toy, name, options)
    for field in ("adversarials", "success", "success_any", "first_step", "loss", "margin_after", "forwards", "l2"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), err_msg=field)
    for health in vars(expected.health):
        np.testing.assert_array_equal(getattr(found.health, health), getattr(expected.health, health), err_msg=health)


def test_a_sweep_breaks_the_same_images_however_often_it_looks(
    make_quadratic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_quadratic()
    options: dict[str, Any] = {"norm": "linf", "seed": 0, "steps": 8, "step": 0.5, "restarts": 1, "rivals": 2}
    sweeps = []
    for every in (1, CHECK_EVERY):
        looks_every(monkeypatch, every)
        sweeps.append(eps_sweep("adaptive_pgd", toy.model, toy.images, toy.labels, eps=[0.12, 0.17, 0.19], **options))
    once, seldom = sweeps
    assert 0 < once.robust.sum() < once.robust.size
    for field in ("robust", "adversarials", "forwards"):
        np.testing.assert_array_equal(getattr(seldom, field), getattr(once, field), err_msg=field)


def test_settled_images_pass_the_network_until_the_next_look_and_no_longer(
    make_linear: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images break within two steps of a step as large as the ball; the next look is after four."""
    toy = make_linear(count=16)
    passed: list[int] = []
    handle = toy.model.register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    looks_every(monkeypatch, 4)
    options: dict[str, Any] = {"norm": "linf", "eps": 0.5, "step": 1.0, "steps": 40, "random_start": False}
    run("pgd", toy.model, toy.images, toy.labels, seed=0, iterate="any", survivors_only=True, batch_size=16, **options)
    handle.remove()
    attacked = int((toy.model(toy.images).argmax(dim=1) == toy.labels).sum())
    assert passed.count(attacked) == 5  # steps 0 to 4
    assert sum(passed) < 41 * attacked


def test_values_on_a_cpu_are_read_at_every_step() -> None:
    assert check_every(torch.device("cpu")) == 1
    assert check_every(torch.device("cuda")) == check_every(torch.device("lazy")) == CHECK_EVERY
    assert known_empty(torch.tensor([False, False]))
    assert not known_empty(torch.tensor([False, True]))
    assert not known_empty(torch.zeros(2, dtype=torch.bool, device="meta"))
