"""Models that return any floating type can be attacked; what is no number is refused in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.attacks import run
from bench.attacks.frozen import frozen
from bench.attacks.named import ATTACKS, named_attack

TYPES = [torch.float16, torch.bfloat16, torch.float64]


class InType(nn.Module):
    """A linear model whose outputs are of a type."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.kind = kind
        self.weights = nn.Parameter(torch.randn(4, 36, generator=torch.Generator().manual_seed(0)))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).to(self.kind)

    def class_centers(self) -> torch.Tensor:
        return self.weights.to(self.kind)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1).float() @ self.weights.T).to(self.kind)


def _given(name: str, norm: str, model: nn.Module) -> dict[str, Any]:
    entry = named_attack(name)
    wanted = {"steps": 4, "n_queries": 12, "rounds": 2, "binary_search_steps": 2, "draws": 2}
    given: dict[str, Any] = {key: value for key, value in wanted.items() if key in entry.parameters}
    if name in ("adaptive_pgd", "transfer"):
        given["step"] = 1.0
    if entry.needs_surrogate:
        given["surrogate"] = model
    return given | {"norm": norm, "seed": 0, "eps": None if entry.minimises_norm else 0.3}


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("pixels", [torch.float32, torch.float64], ids=str)
def test_every_attack_takes_every_floating_type(kind: torch.dtype, pixels: torch.dtype) -> None:
    model = InType(kind)
    images = torch.rand(6, 1, 6, 6, dtype=pixels, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    for name, entry in ((a.name, a) for a in ATTACKS.values()):
        for norm in entry.norms:
            found = run(name, model, images, labels, **_given(name, norm, model))
            assert found.clean_correct.all(), name
            assert found.adversarials.dtype == images.numpy().dtype, name


def test_more_digits_of_the_logits_change_nothing() -> None:
    images = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = InType(torch.float32)(images).argmax(dim=1)
    plain, double = (
        run("pgd", InType(kind), images, labels, norm="linf", eps=0.05, seed=0)
        for kind in (torch.float32, torch.float64)
    )
    assert plain.adversarials.tobytes() == double.adversarials.tobytes()
    np.testing.assert_array_equal(plain.robust, double.robust)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_model_with_weights_of_another_type_gets_images_of_its_own(convolutional: Any, kind: torch.dtype) -> None:
    model = convolutional.model.eval().to(kind)
    images = convolutional.images[:4]
    labels = model(images.to(kind)).argmax(dim=1)
    found = run("pgd", model, images, labels, norm="linf", eps=0.1, seed=0, steps=3)
    assert found.clean_correct.all()
    assert found.adversarials.dtype == np.float32
    assert found.health.start_gradient.min() > 0  # gradients come back through the other type


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_what_has_no_margin_is_refused(of_images: Any, kind: torch.dtype) -> None:
    model = of_images(lambda images: images.flatten(1)[:, :3].to(kind))
    with pytest.raises(ValueError, match="logits must be real floating values"), frozen(model) as view:
        view.logits(torch.rand(2, 1, 2, 2))


def test_errors_of_the_model_are_not_hidden_by_a_second_try() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.ones(2, dtype=torch.float64))
            self.calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            raise RuntimeError("shapes cannot be multiplied")

    model = Wrong()
    with pytest.raises(RuntimeError, match="multiplied"), frozen(model) as view:
        view.logits(torch.rand(1, 1, 2, 2))
    assert model.calls == 1
