from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.igebm import IGEBM, ConditionalIGEBM, clip_by_second_moments, langevin
from bench_models.igebm_spec import (
    ConditionalIGEBMConfig,
    ConditionalSamplerConfig,
    IGEBMConfig,
    IGEBMSamplerConfig,
)
from bench_models.replay import ReplayBuffer
from bench_models.wide_resnet import WideResNet
from torch import Tensor, nn

from bench.family import Batch, Iteration, Update
from bench.rng import indexed_noise, indexed_uniform

SHAPE = (1, 2, 3)
K = 4
SHORT = {"steps": 3, "buffer": 40, "step_size": 2.0, "gradient_clip": 0.1, "noise": 0.02, "reinit": 0.25}


def unconditional(backbone: nn.Module, sampler: dict[str, Any] | None = None, **config: Any) -> tuple[IGEBM, Any]:
    values = {"spectral_norm": False, **config}
    family = IGEBM(IGEBMConfig(sampler=IGEBMSamplerConfig(**{**SHORT, **(sampler or {})}), **values))
    torch.manual_seed(2)
    return family, family.build(backbone, K, SHAPE)


def conditional(
    backbone: nn.Module, sampler: dict[str, Any] | None = None, **config: Any
) -> tuple[ConditionalIGEBM, Any]:
    values = {"spectral_norm": False, **config}
    family = ConditionalIGEBM(
        ConditionalIGEBMConfig(sampler=ConditionalSamplerConfig(**{**SHORT, **(sampler or {})}), **values)
    )
    torch.manual_seed(2)
    return family, family.build(backbone, K, SHAPE)


def batches(pictures: Callable[..., Tensor], n: int = 8) -> dict[str, Batch]:
    return {"train": Batch(pictures(n, seed=1), torch.arange(n) % K)}


def iteration(seed: int = 3, index: int = 0) -> Iteration:
    return Iteration(index, 0, 10, torch.Generator().manual_seed(seed))


# --- the energy -----------------------------------------------------------------------------------------------


def test_the_energy_is_linear_in_the_features(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    _, model = unconditional(flat())
    x = pictures(5)
    expected = (2 * x - 1).flatten(1) @ model.head.weight[0] + model.head.bias
    assert model.log_density(x).shape == (5,)
    assert torch.allclose(model.log_density(x), expected, atol=1e-6)


def test_the_class_is_that_of_lowest_energy(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    _, model = conditional(flat())
    x = pictures(20)
    energies = torch.stack([model.energy(x, torch.full((20,), y)) for y in range(K)], dim=1)
    assert torch.equal(model.logits(x).argmax(dim=1), energies.argmin(dim=1))
    assert len(energies.argmin(dim=1).unique()) > 1
    assert torch.allclose(model.log_density(x), torch.logsumexp(-energies, dim=1), atol=1e-6)


# --- the sampler ----------------------------------------------------------------------------------------------


def by_hand(
    start: Tensor, slopes: Tensor, noise: list[Tensor], *, step_size: float, clip: float, sd: float, clamp: bool
) -> Tensor:
    """Of log p(x) = slopes x: noise, then a step along the gradient, whose elements are clipped."""
    x = start.double().flatten(1)
    for eps in noise:
        x = x + sd * eps.double().flatten(1)
        x = x + step_size * (slopes.clamp(-clip, clip) if clip else slopes)
        x = x.clamp(-1, 1) if clamp else x
    return x.view_as(start)


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(("clip", "clamp"), [(0.1, True), (0.0, True), (0.1, False)])
def test_a_chain_by_hand(steps: int, clip: float, clamp: bool) -> None:
    slopes = torch.tensor([[0.02, -0.05, 0.5, -3.0, 0.1, 0.0]], dtype=torch.float64)
    start = 2 * torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0)) - 1
    kept = start.clone()
    sampler = IGEBMSamplerConfig(step_size=2.0, gradient_clip=clip, noise=0.02, clamp=clamp)
    source = indexed_noise(5, torch.arange(3), "cpu")
    noise = [source(step, (3, *SHAPE)) for step in range(steps)]
    made = langevin(lambda x: x.flatten(1) @ slopes[0].float(), start, sampler, steps, source)
    expected = by_hand(start, slopes, noise, step_size=2.0, clip=clip, sd=0.02, clamp=clamp)
    assert torch.allclose(made.double(), expected, atol=1e-6)
    assert torch.equal(start, kept)
    assert not made.requires_grad


def test_the_gradient_is_taken_after_the_noise() -> None:
    """Of log p(x) = x^2 / 2 the gradient is x itself, that of the noisy point."""
    sampler = IGEBMSamplerConfig(step_size=0.5, gradient_clip=0.0, noise=1.0, clamp=False)
    start, eps = torch.full((1, 1, 1, 1), 0.2), torch.full((1, 1, 1, 1), 0.3)
    made = langevin(lambda x: 0.5 * x.flatten(1).square().sum(dim=1), start, sampler, 1, lambda _step, _shape: eps)
    assert made.item() == pytest.approx(0.5 + 0.5 * 0.5)


def test_no_pixel_moves_further_than_a_step(pictures: Callable[..., Tensor]) -> None:
    sampler = IGEBMSamplerConfig(noise=0.0)
    start = 2 * pictures(4) - 1
    made = langevin(lambda x: 1e4 * x.flatten(1).sin().sum(dim=1), start, sampler, 1, lambda *_: start)
    assert (made - start).abs().max().item() <= 40 * 0.005 + 1e-6


def test_samples_of_a_class_follow_its_energy(flat: Callable[..., nn.Module]) -> None:
    _, model = conditional(flat())
    labels, index = torch.tensor([1, 3, 0]), torch.tensor([10, 4, 99])
    draw = indexed_noise(5, index, "cpu")
    noise = [draw(step, (3, *SHAPE)) for step in range(2)]
    start = indexed_uniform(5, index, SHAPE, "cpu")
    slopes = model.head.weight.detach().double()[labels]
    expected = by_hand(start, slopes, noise, step_size=2.0, clip=0.1, sd=0.02, clamp=True)
    made = model.sample(labels, seed=5, index=index, steps=2)
    assert torch.allclose(made.double(), (expected + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("make", [unconditional, conditional])
def test_a_sample_depends_on_seed_and_index_alone(make: Callable[..., Any]) -> None:
    family, _ = make(_net(), spectral_norm=True)
    model = family.build(_net(), K, (1, 8, 8)).eval()
    labels, index = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([7, 2, 50, 3, 8])
    together = model.sample(labels, seed=4, index=index)
    torch.manual_seed(123)  # the global generator plays no part
    alone = torch.cat([model.sample(labels[i : i + 1], seed=4, index=index[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(together, model.sample(labels, seed=4, index=index))
    assert not torch.allclose(together, model.sample(labels, seed=5, index=index), atol=1e-2)
    if make is unconditional:
        assert torch.equal(together, model.sample(labels.flip(0), seed=4, index=index))


def _net() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1, in_channels=1)


# --- the training step ----------------------------------------------------------------------------------------


def loss_by_hand(real: Tensor, sampled: Tensor, alpha: float) -> Tensor:
    """Algorithm 1, with energies (n,)."""
    return (alpha * (real**2 + sampled**2) + real - sampled).mean()


def test_an_unconditional_step_by_hand(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    family, model = unconditional(flat(), energy_weight=0.7)
    given = batches(pictures)
    state, twin = (family.start(model, torch.Generator().manual_seed(7)) for _ in range(2))
    step = family.training_step(model, given, state, iteration())

    draw = twin.draw(8, seed=iteration().seed("draw"), reinit=0.25)
    noise_of = indexed_noise(iteration().seed("sampler"), torch.arange(8), "cpu")
    noise = [noise_of(index, (8, *SHAPE)) for index in range(3)]
    slopes = model.head.weight.detach().double()
    samples = by_hand(draw.images, slopes, noise, step_size=2.0, clip=0.1, sd=0.02, clamp=True).float()
    twin.write_back(draw, samples)
    assert torch.allclose(state.images, twin.images, atol=1e-6)
    assert torch.equal(state.age, twin.age)

    real, sampled = -model.log_density(given["train"].images), -model.log_density((samples + 1) / 2)
    loss = loss_by_hand(real, sampled, 0.7)
    assert step.loss.item() == pytest.approx(loss.item(), abs=1e-5)
    assert step.logs["fp"].item() == pytest.approx(-real.mean().item(), abs=1e-5)
    assert step.logs["fq"].item() == pytest.approx(-sampled.mean().item(), abs=1e-5)
    assert step.logs["energy-size"].item() == pytest.approx((real**2 + sampled**2).mean().item(), abs=1e-5)
    assert not any(value.requires_grad for value in step.logs.values())
    _same_gradients(model, step.loss, loss)


@pytest.mark.parametrize("chains", ["any", "class"])
def test_a_conditional_step_by_hand(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor], chains: str
) -> None:
    family, model = conditional(flat(), {"chains": chains})
    given = batches(pictures)
    labels = given["train"].labels
    state, twin = (family.start(model, torch.Generator().manual_seed(7)) for _ in range(2))
    step = family.training_step(model, given, state, iteration())

    draw = twin.draw(8, seed=iteration().seed("draw"), labels=None if chains == "any" else labels, reinit=0.25)
    noise_of = indexed_noise(iteration().seed("sampler"), torch.arange(8), "cpu")
    noise = [noise_of(index, (8, *SHAPE)) for index in range(3)]
    slopes = model.head.weight.detach().double()[labels]
    samples = by_hand(draw.images, slopes, noise, step_size=2.0, clip=0.1, sd=0.02, clamp=True).float()
    for slot, label, image in zip(draw.indices, labels, samples, strict=True):  # the last one of a slot stays
        twin.images[slot], twin.labels[slot] = image, label
    assert torch.allclose(state.images, twin.images, atol=1e-6)
    assert torch.equal(state.labels, twin.labels)

    real = model.energy(given["train"].images, labels)
    loss = loss_by_hand(real, model.energy((samples + 1) / 2, labels), 1.0)
    assert step.loss.item() == pytest.approx(loss.item(), abs=1e-5)
    _same_gradients(model, step.loss, loss)


def _same_gradients(model: nn.Module, *losses: Tensor) -> None:
    """Samples are data: no gradient goes through the chains."""
    found = []
    for loss in losses:
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == 3
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_weight_of_the_energies_is_that_of_their_squares(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]
) -> None:
    losses, size = [], 0.0
    for alpha in (0.0, 2.0):
        family, model = unconditional(flat(), energy_weight=alpha)
        state = family.start(model, torch.Generator().manual_seed(7))
        step = family.training_step(model, batches(pictures), state, iteration())
        losses.append(step.loss.item())
        size = step.logs["energy-size"].item()
    assert losses[1] - losses[0] == pytest.approx(2 * size, abs=1e-5)
    assert size > 0.01


def test_energies_of_first_iterations_are_logged(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]
) -> None:
    family, model = unconditional(flat(), log_iterations=2)
    state = family.start(model, torch.Generator().manual_seed(7))
    first = family.training_step(model, batches(pictures), state, iteration(index=0)).logs
    later = family.training_step(model, batches(pictures), state, iteration(index=2)).logs
    assert first["energy_real"].item() == pytest.approx(-first["fp"].item())
    assert "energy_real" not in later


@pytest.mark.parametrize("make", [unconditional, conditional])
def test_a_step_leaves_modes_and_flags_alone(make: Callable[..., Any], pictures: Callable[..., Tensor]) -> None:
    family, _ = make(_net(), spectral_norm=True)
    model = family.build(_net(), K, (1, 8, 8)).train()
    model.head.bias.requires_grad_(False)
    before = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    state = family.start(model, torch.Generator())
    images = pictures(4, (1, 8, 8))
    step = family.training_step(model, {"train": Batch(images, torch.arange(4))}, state, iteration())
    assert [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    step.loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name != "head.bias")


def test_chains_belong_to_their_class_or_to_none(flat: Callable[..., nn.Module]) -> None:
    for make, labels in ((unconditional, torch.full((40,), -1)), (conditional, torch.arange(40) // 10)):
        family, model = make(flat())
        family.attach(model, family.start(model, torch.Generator()).state_dict())
        assert torch.equal(model.stored_samples().labels, labels)


# --- the clip of Adam ------------------------------------------------------------------------------------------


def test_the_clip_by_second_moments_by_hand() -> None:
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, betas=(0.0, 0.9))
    moments = torch.zeros(3)
    for t, gradient in enumerate(torch.tensor([[0.05, 2.0, -2.0], [0.05, 2.0, -0.2], [-0.05, -9.0, 1.0]])):
        weight.grad = gradient.clone()
        clip_by_second_moments(optimizer, 3.0)
        # With v after t updates: v_0 is 0, and so is the bound without its 0.1.
        bound = 0.1 if t == 0 else 3 * (moments / (1 - 0.9**t)).sqrt() + 0.1
        expected = torch.maximum(torch.minimum(gradient, torch.as_tensor(bound)), -torch.as_tensor(bound))
        assert torch.allclose(weight.grad, expected, atol=1e-6)
        moments = 0.9 * moments + 0.1 * expected**2
        optimizer.step()
    assert expected.abs().max() < 9


@pytest.mark.parametrize(("deviations", "clipped"), [(3.0, True), (0.0, False)])
def test_an_update_clips_before_the_optimiser_steps(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor], deviations: float, clipped: bool
) -> None:
    family, model = unconditional(flat(), adam_clip=deviations)
    state = family.start(model, torch.Generator().manual_seed(7))
    step = family.training_step(model, batches(pictures), state, iteration())
    step = type(step)(100 * step.loss)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.0, 0.999))
    before = copy.deepcopy(model.state_dict())
    family.update(model, Update(step, model, optimizer))
    largest = max(p.grad.abs().max().item() for p in model.parameters())
    assert (largest <= 0.1 + 1e-6) == clipped
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- the unconditional buffer ----------------------------------------------------------------------------------


def test_a_buffer_without_classes_may_be_smaller_than_their_number(flat: Callable[..., nn.Module]) -> None:
    family, model = unconditional(flat(), {"buffer": 2})
    state = family.start(model, torch.Generator())
    assert isinstance(state, ReplayBuffer)
    assert state.size == 2


def test_networks_without_layers_need_spectral_norm_off(flat: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="spectral_norm = false"):
        unconditional(flat(), spectral_norm=True)
