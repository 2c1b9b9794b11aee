"""JEM++: proximal SGLD, starts of chains, and batch normalisation in the sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.jem_pp import JEMPP, JEMPPClassifier, proximal
from bench_models.replay import ReplayBuffer
from bench_models.successor_configs import JEMPPConfig, ProximalSGLDConfig
from bench_models.wide_resnet import build
from torch import Tensor, nn
from torch.nn import functional

from bench.family import Batch, Iteration
from bench.rng import derive_seed, indexed_noise, indexed_normal, indexed_uniform

SHAPE = (1, 2, 3)
K = 4
Make = Callable[..., nn.Module]


def still(step: int, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape)


def iteration(seed: int = 3) -> Iteration:
    return Iteration(0, 0, 10, torch.Generator().manual_seed(seed))


def clean(n: int = 24, shape: tuple[int, int, int] = SHAPE) -> Callable[[], list[Batch]]:
    images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(8))
    return lambda: [Batch(images, torch.arange(n) % K)]


def jem_pp(backbone: nn.Module, sampler: dict[str, Any] | None = None, **config: Any) -> tuple[JEMPP, JEMPPClassifier]:
    settings = {"steps": 3, "buffer": 40, **(sampler or {})}
    family = JEMPP(JEMPPConfig(sampler=ProximalSGLDConfig(**settings), **config))
    torch.manual_seed(2)
    model = family.build(backbone, K, SHAPE)
    family.before_training(model, clean())
    return family, model


def batches(pictures: Callable[..., Tensor], n: int = 8, shape: tuple[int, int, int] = SHAPE) -> dict[str, Batch]:
    labels = torch.arange(n) % K
    return {"density": Batch(pictures(n, shape, seed=1), labels), "train": Batch(pictures(n, shape, seed=2), labels)}


# --- the sampler ----------------------------------------------------------------------------------------------


def test_a_step_on_a_linear_energy_by_hand() -> None:
    """log p(x) = a x: the gradient is a, of which no component exceeds the bound."""
    slope = torch.tensor([0.4, -3.0, 0.0, 7.0, -0.1, 1.0])
    start = torch.tensor([[0.0, 0.5, -0.2, 0.3, -0.95, 0.99]]).view(1, *SHAPE)
    sampler = ProximalSGLDConfig(step_size=0.1, inner_steps=2, bound=1.5)
    out = proximal(lambda x: x.flatten(1) @ slope, start, sampler, 1, still)
    expected = [0.0 + 0.08, 0.5 - 0.3, -0.2, 0.3 + 0.3, -0.95 - 0.02, 1.0]
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert (out - start).abs().max() <= 0.1 * 2 * 1.5 + 1e-6


def test_it_is_pyld_with_a_convolution_as_the_first_layer() -> None:
    """The released code applies N gradients of H(x) = sum(first(x) p), with p the gradient behind the first layer."""
    torch.manual_seed(0)
    first = nn.Conv2d(2, 5, 3, padding=1)
    rest = nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(5, 3, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(12, 4))
    start = torch.rand(6, 2, 4, 4) * 2 - 1
    x = start.clone()
    for _ in range(3):
        behind = first(x).detach().requires_grad_()
        (p,) = torch.autograd.grad(torch.logsumexp(rest(behind), dim=1).sum(), behind)
        for _ in range(5):
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad((first(leaf) * p).sum(), leaf)
            x = (x + 0.2 * gradient.clamp(-0.005, 0.005)).clamp(-1, 1)
    sampler = ProximalSGLDConfig(step_size=0.2, inner_steps=5, bound=0.005)
    ours = proximal(lambda images: torch.logsumexp(rest(first(images)), dim=1), start, sampler, 3, still)
    torch.testing.assert_close(ours, x.detach())
    moved = (ours - start).abs()
    assert moved.max() == pytest.approx(3 * 5 * 0.2 * 0.005, rel=1e-4)  # the bound is reached …
    assert moved.median() < 0.99 * 3 * 5 * 0.2 * 0.005  # … but not everywhere


# --- starts ---------------------------------------------------------------------------------------------------


def test_samples_start_from_the_gaussian_of_their_class(flat: Make) -> None:
    _, model = jem_pp(flat())
    labels, index = torch.tensor([1, 3, 1]), torch.tensor([10, 4, 99])
    made = model.sample(labels, seed=5, index=index, steps=0)
    assert model.mixture is not None
    expected = model.mixture.draw(indexed_normal(5, index, SHAPE, "cpu"), labels)
    torch.testing.assert_close(made, (expected + 1) / 2)


def test_or_from_uniform_noise(flat: Make) -> None:
    family, model = jem_pp(flat(), {"start": "uniform"})
    assert model.mixture is None
    assert not any("mixture" in name for name in model.state_dict())
    index = torch.arange(3)
    made = model.sample(torch.tensor([0, 1, 2]), seed=5, index=index, steps=0)
    assert torch.equal(made, (indexed_uniform(5, index, SHAPE, "cpu") + 1) / 2)
    state = family.start(model, torch.Generator().manual_seed(0))
    plain = ReplayBuffer(40, SHAPE, K, seed=0, device="cpu")
    assert torch.equal(state.images, plain.images)


def test_the_buffer_starts_from_the_mixture_and_restarts_chains_from_it(flat: Make) -> None:
    family, model = jem_pp(flat())
    assert model.mixture is not None
    state = family.start(model, torch.Generator().manual_seed(0))
    noise = indexed_normal(0, torch.arange(40), SHAPE, "cpu")
    torch.testing.assert_close(state.images, model.mixture.draw(noise, torch.arange(40) // 10))
    model.mixture.factor.zero_()  # draws are means now
    drawn = state.draw(12, seed=1, reinit=1.0)
    torch.testing.assert_close(drawn.images.flatten(1), model.mixture.mean[drawn.labels])
    assert len(set(drawn.labels.tolist())) > 1


def test_a_mixture_that_was_not_fitted_is_told(flat: Make) -> None:
    family = JEMPP(JEMPPConfig())
    with pytest.raises(RuntimeError, match="not fitted"):
        family.start(family.build(flat(), K, SHAPE), torch.Generator())


def test_the_mixture_of_imported_weights_is_fitted_after_loading_and_that_of_training_stays(flat: Make) -> None:
    family, model = jem_pp(flat())
    assert model.mixture is not None
    trained = model.mixture.mean.clone()
    other = lambda: [Batch(torch.rand(9, *SHAPE), torch.arange(9) % K)]  # noqa: E731
    family.after_training(model, other)
    assert torch.equal(model.mixture.mean, trained)
    fresh = family.build(flat(), K, SHAPE)
    family.after_training(fresh, clean())
    assert fresh.mixture is not None
    torch.testing.assert_close(fresh.mixture.mean, trained)


@pytest.mark.parametrize("companions", [0, 3])
@pytest.mark.parametrize("backbone", ["wrn-10-1", "wrn-10-1-batch"])
def test_a_sample_depends_on_seed_and_index_alone(backbone: str, companions: int) -> None:
    torch.manual_seed(0)
    settings = ProximalSGLDConfig(steps=3, companions=companions, noise=0.01)
    model = JEMPPClassifier(build(backbone, 1), K, (1, 8, 8), settings)
    assert model.mixture is not None
    model.mixture.fit(clean(24, (1, 8, 8)))
    model.eval()
    labels, index = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([7, 2, 50, 3, 8])
    together = model.sample(labels, seed=4, index=index)
    torch.manual_seed(123)  # the global generator plays no part
    alone = torch.cat([model.sample(labels[i : i + 1], seed=4, index=index[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert torch.equal(together, model.sample(labels, seed=4, index=index))
    assert not torch.allclose(together, model.sample(labels, seed=5, index=index), atol=1e-2)


def test_a_sample_shares_its_statistics_with_its_companions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the chain and two others, of the next classes and other seeds, as a batch in training mode."""
    shape = (1, 8, 8)
    torch.manual_seed(0)
    model = JEMPPClassifier(build("wrn-10-1-batch", 1), K, shape, ProximalSGLDConfig(steps=3, companions=2))
    assert model.mixture is not None
    model.mixture.fit(clean(24, shape))
    model.eval()
    index, start = torch.tensor([7, 9, 5]), torch.rand(3, *shape)
    monkeypatch.setattr("bench_models.jem_pp._CHAINS", 6)  # two groups at a time
    made = model.sample(torch.tensor([3, 0, 1]), seed=4, index=index, start=start)
    free = model.sample(torch.tensor([3, 0, 1]), seed=4, index=index)
    model.train()
    seeds = [derive_seed(4, "companion", number) for number in (1, 2)]
    for row, label in enumerate([3, 0, 1]):
        labels = torch.tensor([label, (label + 1) % K, (label + 2) % K])
        draws = [model.starts(labels[i : i + 1], s, index[row : row + 1]) for i, s in enumerate([4, *seeds])]
        for own, found in ((2 * start[row : row + 1] - 1, made), (draws[0], free)):
            chains = model.run_sampler(torch.cat([own, *draws[1:]]), labels, still, None)
            torch.testing.assert_close(found[row], (chains[0] + 1) / 2, atol=1e-3, rtol=0)


# --- the training step ----------------------------------------------------------------------------------------


def test_a_step_by_hand(flat: Make, pictures: Callable[..., Tensor]) -> None:
    """Draws of the mixture, three proximal steps with W^T softmax(W x + b) as gradient, and the loss of JEM."""
    settings = {"step_size": 0.3, "inner_steps": 2, "bound": 0.05, "reinit": 0.25, "noise": 0.02}
    family, model = jem_pp(flat(), settings, px_weight=0.7, pyx_weight=1.3)
    given = batches(pictures)
    state, twin = (family.start(model, torch.Generator().manual_seed(7)) for _ in range(2))
    step = family.training_step(model, given, state, iteration())

    draw = twin.draw(8, seed=iteration().seed("draw"), reinit=0.25)
    noise = indexed_noise(iteration().seed("sampler"), torch.arange(8), "cpu")
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    x = draw.images.flatten(1)
    bound = False
    for number in range(3):
        gradient = torch.softmax(x @ weight.T + bias, dim=1) @ weight
        bound |= bool((gradient.abs() > 0.05).any())
        x = x + 0.6 * gradient.clamp(-0.05, 0.05) + 0.02 * noise(number, (8, 6))
        x = x.clamp(-1, 1)
    assert bound
    samples = x.view(8, *SHAPE)
    twin.write_back(draw, samples)
    torch.testing.assert_close(state.images, twin.images)

    fp = model.log_density(given["density"].images).mean()
    fq = model.log_density_of_scaled(samples).mean()
    entropy = functional.cross_entropy(model.logits(given["train"].images), given["train"].labels)
    assert step.loss.item() == pytest.approx((0.7 * (fq - fp) + 1.3 * entropy).item(), abs=1e-5)
    assert step.again is not None
    assert step.again().item() == pytest.approx(step.loss.item(), abs=1e-6)


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_chains_are_normalised_by_their_own_batch_or_by_running_means(
    batch_statistics: bool, pictures: Callable[..., Tensor]
) -> None:
    """With them, every step of the sampler is a pass in training mode, which the running statistics count."""
    shape = (1, 8, 8)
    settings = ProximalSGLDConfig(steps=3, buffer=12, batch_statistics=batch_statistics, noise=0.0)
    family = JEMPP(JEMPPConfig(sampler=settings))
    torch.manual_seed(0)
    model = family.build(build("wrn-10-1-batch", 1), K, shape).train()
    family.before_training(model, clean(24, shape))
    state = family.start(model, torch.Generator().manual_seed(0))
    before = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    start = state.images[:4].clone()
    moved = family.advanced(model, start, still)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(m.num_batches_tracked) for m in norms if m.num_batches_tracked is not None} == {3 * batch_statistics}
    alone = torch.cat([family.advanced(model, start[i : i + 1], still) for i in range(4)])
    assert torch.allclose(moved, alone, atol=1e-5) != batch_statistics
    assert [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()] == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_density_stream_drives_the_epoch_and_is_augmented(flat: Make) -> None:
    family, _ = jem_pp(flat())
    assert list(family.streams()) == ["density", "train"]
    assert {(spec.augment, spec.sigma) for spec in family.streams().values()} == {(True, 0.03)}
