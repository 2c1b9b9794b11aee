"""Judging adversarial images that somebody has kept: what is one is confirmed, and nothing else is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.attacks import run
from bench.attacks.check import Checked, check, clean_disagreements

OPTIONS: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {"steps": 6, "loss": "margin"},
    "adaptive_pgd": {"steps": 6, "step": "eps/2", "restarts": 1, "losses": ["ce@T", "margin-targeted"]},
    "transfer": {"steps": 6, "step": "eps/2"},
    "torchattacks.APGD": {"steps": 6},
    "cw_l2": {"steps": 12, "rounds": 2, "c0": 1.0},
}


def kept(toy: Any, result: Any, *, eps: Any, norm: Any, targets: Tensor | None = None, **options: Any) -> Checked:
    """The check of what an attack broke."""
    rows = torch.from_numpy(result.success)
    return check(
        toy.model,
        toy.images[rows],
        toy.labels[rows],
        torch.from_numpy(result.adversarials)[rows],
        norm=norm,
        eps=eps,
        targets=None if targets is None else targets[rows],
        **options,
    )


@settings(max_examples=15, **OPTIONS)
@given(
    name=st.sampled_from(sorted(ATTACKS)),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.sampled_from([0.001, 0.01, 0.05, 0.3, 1.0]),
    seed=st.integers(0, 50),
    classes=st.integers(2, 10),
    scale=st.sampled_from([0.01, 1.0, 1000.0]),
    batch_size=st.sampled_from([1, 7, 128]),
)
def test_what_an_attack_broke_is_confirmed(
    make_linear: Any, name: str, norm: Any, eps: float, seed: int, classes: int, scale: float, batch_size: int
) -> None:
    toy = make_linear(classes=classes, count=16, scale=scale, seed=seed)
    parameters = {"surrogate": toy.model, **ATTACKS[name]} if name == "transfer" else ATTACKS[name]
    norm = "l2" if name == "cw_l2" else norm
    budget = None if name == "cw_l2" else eps
    result = run(name, toy.model, toy.images, toy.labels, norm=norm, eps=budget, seed=seed, **parameters)
    found = kept(toy, result, eps=budget, norm=norm, batch_size=batch_size)
    norms = (result.linf if norm == "linf" else result.l2)[result.success]
    np.testing.assert_array_equal(found.norms, norms)
    # A batch of another size may see other last bits.
    assert (found.confirmed if batch_size == 128 else found.confirmed | found.rounding).all()


def test_some_of_these_attacks_break_something(make_linear: Any) -> None:
    """What the property above would hold of in vain."""
    for name, parameters in ATTACKS.items():
        toy = make_linear(count=24)
        norm: Any = "l2" if name == "cw_l2" else "linf"
        eps = None if name == "cw_l2" else 0.05
        given = {"surrogate": toy.model, **parameters} if name == "transfer" else parameters
        result = run(name, toy.model, toy.images, toy.labels, norm=norm, eps=eps, seed=0, **given)
        found = kept(toy, result, eps=eps, norm=norm)
        assert found.confirmed.sum() == result.success.sum() > 5, name
        # A smaller budget than the attack had: what used it is outside.
        smaller = float(np.median(found.norms)) * 0.99
        outside = found.norms > smaller * 1.00001
        narrow = kept(toy, result, eps=smaller, norm=norm)
        np.testing.assert_array_equal(narrow.confirmed, ~outside)
        assert not narrow.rounding.any()


@settings(max_examples=30, **OPTIONS)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.sampled_from([0.01, 0.1, 0.5]),
    seed=st.integers(0, 1000),
    sizes=st.lists(st.sampled_from([0.0, 0.5, 0.999, 1.001, 2.0, 20.0]), min_size=24, max_size=24),
)
def test_confirmed_is_within_the_budget_and_the_box_and_fools_and_nothing_else_is(
    make_linear: Any, norm: Any, eps: float, seed: int, sizes: list[float]
) -> None:
    """Random perturbations, against the definition written out in float64."""
    toy = make_linear(classes=3, count=24, seed=seed)
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=toy.images.shape)
    flat = noise.reshape(24, -1)
    length = np.abs(flat).max(axis=1) if norm == "linf" else np.linalg.norm(flat, axis=1)
    scaled = noise * (eps * np.array(sizes) / length)[:, None, None, None]
    adversarials = (toy.images.double().numpy() + scaled).astype(np.float32)
    found = check(toy.model, toy.images, toy.labels, torch.from_numpy(adversarials), norm=norm, eps=eps)

    weights, bias = toy.model.weights.detach().double().numpy(), toy.model.bias.detach().double().numpy()
    labels, images = toy.labels.numpy(), toy.images.double().numpy()
    clean = images.reshape(24, -1) @ weights.T + bias
    logits = adversarials.astype(np.float64).reshape(24, -1) @ weights.T + bias
    small = np.array(sizes) < 1
    box = (adversarials >= 0).all(axis=(1, 2, 3)) & (adversarials <= 1).all(axis=(1, 2, 3))
    moved = np.array(sizes) > 0
    fools = (clean.argmax(axis=1) == labels) & (logits.argmax(axis=1) != labels)
    np.testing.assert_array_equal(found.confirmed, small & box & moved & fools)
    # What is outside or untouched is no matter of rounding.
    assert not found.rounding[~small | ~box | ~moved].any()


@pytest.mark.parametrize("eps", [1.0, None])
def test_a_clean_image_is_never_confirmed_nor_within_rounding(make_linear: Any, eps: Any) -> None:
    toy = make_linear()
    for labels in (toy.labels, (toy.labels + 1) % 10):  # nearly all right, nearly all wrong
        found = check(toy.model, toy.images, labels, toy.images.clone(), norm="linf", eps=eps, rounding=10.0)
        assert not found.confirmed.any()
        assert not found.rounding.any()
        assert (found.norms == 0).all()


def by_brightness(images: Tensor) -> Tensor:
    """Class 1 where the mean is above 1/2."""
    mean = images.flatten(1).mean(dim=1)
    return torch.stack([torch.zeros_like(mean), mean - 0.5], dim=1)


def flat_images(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()


def test_a_black_image_within_the_ball_is_an_image_like_any_other(of_images: Any) -> None:
    """Our own attacks may end there; the judge refuses it from libraries, which return it where they gave up."""
    model = of_images(lambda images: by_brightness(images + 0.45))
    images, labels = flat_images(0.06, 0.2), torch.tensor([1, 1])
    result = run("pgd", model, images, labels, norm="linf", eps=0.1, seed=0, loss="margin")
    assert result.success.tolist() == [True, False]
    assert (result.adversarials[0] == 0).all()
    black = torch.zeros_like(images)
    assert check(model, images, labels, black, norm="linf", eps=0.1).confirmed.tolist() == [True, False]
    assert check(model, images, labels, black, norm="linf", eps=0.3).confirmed.all()


def test_a_miss_by_rounding_is_neither_confirmed_nor_denied(of_images: Any) -> None:
    """Largest clean logit .1, so rounding is 1e-5: at 1/2 - 1e-6 the decision is missed by less, at .49 by more."""
    model = of_images(by_brightness)
    images, labels = flat_images(0.4, 0.4, 0.4), torch.tensor([0, 0, 0])
    found = check(model, images, labels, flat_images(0.5 - 1e-6, 0.49, 0.51), norm="linf", eps=0.2)
    assert found.confirmed.tolist() == [False, False, True]
    assert found.rounding.tolist() == [True, False, False]
    none = check(model, images, labels, flat_images(0.5 - 1e-6, 0.49, 0.51), norm="linf", eps=0.2, rounding=0.0)
    assert not none.rounding.any()
    assert none.confirmed.tolist() == found.confirmed.tolist()


def test_a_clean_image_must_be_right_up_to_rounding(of_images: Any) -> None:
    """Wrong by 1e-7 of a logit of .5, and wrong by far."""
    model = of_images(lambda images: by_brightness(images) + 0.5)
    images, labels = flat_images(0.5 + 1e-7, 0.6), torch.tensor([0, 0])
    found = check(model, images, labels, flat_images(0.7, 0.7), norm="linf", eps=0.3)
    assert not found.confirmed.any()
    assert found.rounding.tolist() == [True, False]


def by_thirds(images: Tensor) -> Tensor:
    """Class of the nearest of 1/6, 1/2, 5/6."""
    mean = images.flatten(1).mean(dim=1, keepdim=True)
    return -(mean - torch.tensor([1 / 6, 1 / 2, 5 / 6])).square()


def test_only_its_target_confirms_a_targeted_image(of_images: Any) -> None:
    """From 0 to 2: at .9 there; at .5 in class 1, which is wrong but not it; at 2/3 - 1e-6 short of it by rounding."""
    model = of_images(by_thirds)
    images, labels = flat_images(0.1, 0.1, 0.1), torch.tensor([0, 0, 0])
    adversarials, targets = flat_images(0.9, 0.5, 2 / 3 - 1e-6), torch.tensor([2, 2, 2])
    found = check(model, images, labels, adversarials, norm="l2", eps=None, targets=targets)
    assert found.confirmed.tolist() == [True, False, False]
    assert found.rounding.tolist() == [False, False, True]
    untargeted = check(model, images, labels, adversarials, norm="l2", eps=None)
    assert untargeted.confirmed.all()


def test_what_is_no_image_is_not_confirmed(of_images: Any) -> None:
    images, labels = flat_images(0.4, 0.4, 0.4), torch.tensor([0, 0, 0])
    wrong = flat_images(math.nan, math.inf, 1.2)
    found = check(of_images(by_brightness), images, labels, wrong, norm="linf", eps=None)
    assert not found.confirmed.any()
    assert not found.rounding.any()


def test_nothing_to_check(make_linear: Any) -> None:
    toy = make_linear()
    found = check(toy.model, toy.images[:0], toy.labels[:0], toy.images[:0], norm="linf", eps=0.1)
    assert len(found.confirmed) == len(found.rounding) == len(found.norms) == 0


def test_gives_the_model_back_as_it_was(convolutional: Any) -> None:
    model = convolutional.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check(model, convolutional.images, convolutional.labels, convolutional.images, norm="linf", eps=0.1)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_clean_classifications_that_are_claimed_otherwise_are_counted(of_images: Any) -> None:
    images, labels = flat_images(0.3, 0.7, 0.2, 0.5 + 1e-7), torch.tensor([0, 1, 1, 0])
    model = of_images(lambda images: by_brightness(images) + 0.5)

    def disagreements(*claimed: bool) -> int:
        return clean_disagreements(model, images, labels, np.array(claimed))

    assert disagreements(True, True, False, False) == 0
    assert disagreements(True, True, False, True) == 0  # on the decision, up to rounding
    assert disagreements(False, True, False, False) == 1
    assert disagreements(False, False, True, False) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_another_device_denies_nothing(make_linear: Any) -> None:
    """C&W leaves nothing to spare: on the GPU all are confirmed, or miss by rounding."""
    toy = make_linear(classes=5)
    targets = (toy.labels + 1) % 5
    result = run("cw_l2", toy.model, toy.images, toy.labels, norm="l2", seed=0, targets=targets, **ATTACKS["cw_l2"])
    assert result.success.sum() > 10
    on_gpu = type(toy)(toy.model.to("cuda"), toy.images, toy.labels)
    found = kept(on_gpu, result, eps=None, norm="l2", targets=targets, device="cuda")
    assert (found.confirmed | found.rounding).all()
    assert found.confirmed.sum() > 0.5 * len(found.confirmed)
