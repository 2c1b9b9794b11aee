"""What libraries cannot take is known before they are called, and exactly that."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from bench.attacks import run
from bench.attacks.named import ATTACKS, named_attack
from bench.attacks.spec import Attack

SHAPES = [(1, 8, 16), (3, 4, 4), (1, 1, 20), (2, 14, 14)]


class OfShape(nn.Module):
    """A linear model of images of any shape."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        size = shape[0] * shape[1] * shape[2]
        self.weights = nn.Parameter(torch.randn(classes, size, generator=generator))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)

    def class_centers(self) -> torch.Tensor:
        return self.weights

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weights.T


def _short(entry: Attack) -> dict[str, Any]:
    wanted = {"steps": 4, "n_queries": 12, "rounds": 2, "binary_search_steps": 2, "draws": 2}
    short: dict[str, Any] = {name: value for name, value in wanted.items() if name in entry.parameters}
    return short | ({"step": 1.0} if entry.name in ("adaptive_pgd", "transfer") else {})


@pytest.mark.parametrize("name", ATTACKS.names())
def test_an_attack_runs_on_images_of_any_shape_or_says_before_why_not(name: str) -> None:
    entry = named_attack(name)
    losses = ("ce", "dlr") if name in ("torchattacks.APGD", "pgd", "transfer") else (None,)
    for shape in SHAPES:
        for classes in (2, 3):
            model = OfShape(shape, classes)
            images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
            labels = model(images).argmax(dim=1)
            for norm in entry.norms:
                for loss in losses:
                    params = _short(entry) | ({} if loss is None else {"loss": loss})
                    given: dict[str, Any] = {"norm": norm, "seed": 0, **params}
                    given["eps"] = None if entry.minimises_norm else 0.1
                    if entry.needs_surrogate:
                        given["surrogate"] = model
                    reason = named_attack(name, params).impossible(norm, shape, classes)
                    if reason is None:
                        assert len(run(name, model, images, labels, **given).robust) == 3
                    else:
                        with pytest.raises(ValueError, match=r"needs|tiles") as raised:
                            run(name, model, images, labels, **given)
                        assert str(raised.value) == reason


def test_the_condition_of_square_is_that_of_the_library() -> None:
    torchattacks = pytest.importorskip("torchattacks")

    def forward(images: torch.Tensor) -> torch.Tensor:
        zero = images.new_zeros(len(images))
        return torch.stack([zero + 1 + 1e-3 * images.flatten(1)[:, 0], zero, zero], dim=1)

    class Firm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.marker = nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return forward(images)

    sizes = [(side, side) for side in (*range(1, 12), 14, 19)] + [
        (5, 9),
        (9, 5),
        (8, 16),
        (16, 8),
        (28, 36),
        (12, 13),
        (13, 12),
    ]
    for height, width in sizes:
        for start in (0.8, 1.0):
            reason = named_attack("torchattacks.Square", {"p_init": start}).impossible("l2", (1, height, width), 3)
            attack = torchattacks.Square(Firm(), norm="L2", eps=0.5, n_queries=12, p_init=start, seed=0)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    attack(torch.rand(2, 1, height, width), torch.zeros(2, dtype=torch.long))
            except (RuntimeError, ZeroDivisionError):
                assert reason is not None, (height, width, start)
            else:
                assert reason is None, (height, width, start, reason)


def test_which_attacks_draw() -> None:
    def draws(name: str, **params: object) -> bool:
        return named_attack(name, params).is_random

    assert draws("pgd")
    assert not draws("pgd", random_start=False)
    assert draws("torchattacks.Square")
    assert draws("foolbox.LinfPGD")
    assert not draws("torchattacks.FAB")
    assert draws("torchattacks.FAB", n_restarts=2)
    assert not any(draws(name) for name in ("cw", "cw_l2", "torchattacks.CW", "foolbox.L2CarliniWagner"))
