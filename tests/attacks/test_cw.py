from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import run
from bench.attacks.library import load


def attack(toy: Any, **options: Any) -> Any:
    return run("cw", toy.model, toy.images, toy.labels, **{"norm": "l2", "seed": 0, "c": 5.0, **options})


def exact_l2(toy: Any) -> np.ndarray:
    """Distance to the nearest bisecting plane between centers (interior images)."""
    centers, flat = toy.model.centers.detach().double(), toy.images.flatten(1).double()
    squared = (flat[:, None] - centers).square().sum(dim=2)
    own = squared.gather(1, toy.labels[:, None])
    radii = (squared - own) / (2 * (centers[toy.labels][:, None] - centers).norm(dim=2))
    return radii.scatter(1, toy.labels[:, None], torch.inf).amin(dim=1).numpy()


def test_the_raw_library_fails_on_negative_logits_and_the_shifted_one_does_not(make_quadratic: Any) -> None:
    toy = make_quadratic()
    with torch.no_grad():
        assert toy.model(toy.images).max() <= 0
    raw = load("torchattacks").CW(toy.model, c=5, steps=100)(toy.images, toy.labels)
    assert torch.equal(toy.model(raw).argmax(dim=1), toy.labels)
    result = attack(toy)
    assert result.success.all()
    exact = exact_l2(toy)
    assert (result.l2 >= exact * (1 - 1e-5)).all()
    assert result.l2.mean() < 1.5 * exact.mean()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_targets_are_reached_from_every_rank_of_the_target(make_quadratic: Any, classes: int) -> None:
    # The least likely class has the row minimum, which a shift to zero would tie with masked entries.
    toy = make_quadratic(classes=classes)
    with torch.no_grad():
        targets = toy.model(toy.images).argmin(dim=1)
    result = attack(toy, targets=targets, steps=300, lr=0.05)
    assert result.success.all()
    assert (result.predictions == targets.numpy()).all()


def test_shifting_the_logits_does_not_change_the_attack(make_linear: Any) -> None:
    toy = make_linear(count=24)
    plain = attack(toy, steps=50)
    with torch.no_grad():
        toy.model.bias -= 100
    shifted = attack(toy, steps=50)
    assert plain.success.tolist() == shifted.success.tolist()
    np.testing.assert_allclose(plain.l2, shifted.l2, atol=1e-2)


def test_saturated_images_can_be_attacked(make_linear: Any) -> None:
    toy = make_linear(count=24)
    images = toy.images.round()
    with torch.no_grad():
        saturated = type(toy)(toy.model, images, toy.model(images).argmax(dim=1))
    raw = load("torchattacks").CW(toy.model, c=20, steps=600, lr=0.1)(images, saturated.labels)
    assert torch.equal(raw.nan_to_num(2), images) or raw.isnan().any()
    result = attack(saturated, c=20.0, steps=600, lr=0.1)
    assert result.success.mean() > 0.9


def test_failures_have_infinite_norms(make_quadratic: Any) -> None:
    toy = make_quadratic()
    result = attack(toy, c=0.0, steps=5)
    assert not result.success.any()
    assert (result.adversarials == toy.images.numpy()).all()
    norms = result.l2_with_failures[result.clean_correct]
    assert len(norms) == 32
    assert np.isinf(norms).all()


def test_a_budget_filters_successes(make_quadratic: Any) -> None:
    toy = make_quadratic()
    free = attack(toy)
    bound = float(np.median(free.l2))
    bounded = attack(toy, eps=bound)
    assert bounded.success.tolist() == (free.l2 <= bound * (1 + 1e-6) + 1e-7).tolist()


def test_binary_search_of_foolbox_finds_smaller_norms_than_one_constant(make_quadratic: Any) -> None:
    toy = make_quadratic(count=10)
    searched = run("foolbox.L2CarliniWagner", toy.model, toy.images, toy.labels, norm="l2", seed=0, steps=100)
    assert searched.success.all()
    exact = exact_l2(toy)
    assert searched.l2.mean() == pytest.approx(exact.mean(), rel=0.03)
    assert (searched.l2 >= exact * (1 - 1e-5)).all()
    assert searched.l2.mean() < attack(toy).l2.mean()


def test_a_black_image_with_another_class_is_no_success(of_images: Any) -> None:
    # Class 1 only for (nearly) black images; foolbox returns a black image where it finds nothing.
    def trap(images: torch.Tensor) -> torch.Tensor:
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([torch.ones_like(mean), torch.where(mean < 1e-3, 2.0, 0.0)], dim=1)

    images, labels = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    options: dict[str, Any] = {"steps": 5, "binary_search_steps": 2}
    result = run("foolbox.L2CarliniWagner", of_images(trap), images, labels, norm="l2", seed=0, **options)
    assert (result.predictions == 1).all()  # what the library would have called a success
    assert not result.success.any()
    assert result.robust.all()


def test_the_definition_is_derived(make_quadratic: Any) -> None:
    definition = attack(make_quadratic(count=2), steps=3, lr=0.02, kappa=0.5).definition
    assert definition.startswith(
        "cw-l2[3, c=5, kappa=0.5, lr=0.02, no binary search, early stop on the batch, torchattacks "
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"c": "1"}, "c must be a number from 0 to"),
        ({"lr": -1.0}, "lr must be a number > 0"),
        ({"iterations": 5}, "no parameter 'iterations'"),
        ({"norm": "linf"}, "knows norm l2"),
    ],
)
def test_wrong_parameters_are_refused(make_quadratic: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(make_quadratic(count=2), **params)
