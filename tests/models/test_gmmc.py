from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from bench_models.centers import max_mahalanobis_centers
from bench_models.configs import GMMCDisConfig, GMMCGenConfig, GMMCSamplerConfig
from bench_models.gmmc import GMMCClassifier, GMMCDis, GMMCGen, center_regression
from bench_models.wide_resnet import WideResNet
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.family import Batch, Iteration
from bench.rng import indexed_noise, indexed_uniform

SHAPE = (1, 2, 3)
K = 4


def classifier(backbone: nn.Module, scale: float = 10.0, **sampler: Any) -> GMMCClassifier:
    return GMMCClassifier(backbone, K, SHAPE, scale, GMMCSamplerConfig(**{"steps": 3, "buffer": 40, **sampler}))


class Fixed(nn.Module):
    """A backbone that gives no images a thought; for tests that start from features."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.feature_dim = dim


def wide(depth: int = 10, width: int = 1, channels: int = 1) -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(depth, width, in_channels=channels)


# --- logits, energy, density ------------------------------------------------------------------------------------


def test_logits_are_halved_squared_distances(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    model = classifier(flat(3.0))
    x = pictures(7)
    phi = 3 * (2 * x.double() - 1).flatten(1)
    centers = max_mahalanobis_centers(K, 6, 10.0)
    expected = -0.5 * torch.cdist(phi, centers).square()
    assert torch.allclose(model.logits(x).double(), expected, rtol=1e-6)
    assert torch.equal(model(x), model.logits(x))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert torch.allclose(model.energy(x, labels).double(), -expected[torch.arange(7), labels], rtol=1e-6)
    assert torch.allclose(center_regression(phi, centers[labels]), -expected[torch.arange(7), labels], rtol=1e-12)


def test_small_distances_beside_large_norms_keep_their_digits() -> None:
    """Expanding ||phi - mu||^2 would leave nothing of a distance of 1e-3 at norm 10 in float32."""
    model = GMMCClassifier(Fixed(640), 10, (3, 32, 32), 10.0)
    offset = torch.zeros(10, 640)
    offset[:, 600] = 1e-3
    logits = model.classify(model.centers + offset)
    assert torch.allclose(-2 * logits.diagonal(), torch.full((10,), 1e-6), rtol=1e-5)


def test_density_is_finite_far_away() -> None:
    """Protocol 10: the naive sum of exponentials is log 0 beyond a squared distance of 207."""
    model = GMMCClassifier(Fixed(64), 10, (1, 8, 8), 10.0)
    features = torch.zeros(3, 64)
    features[:, 63] = torch.tensor([0.0, 100.0, 1e4])
    log_density = model.evidence(features, model.classify(features))
    assert log_density.isfinite().all()
    # All ten centers are equally far: log p = log 10 - 0.5 (r^2 + S^2).
    expected = np.log(10) - 0.5 * (np.array([0, 1e4, 1e8]) + 100)
    assert log_density.numpy() == pytest.approx(expected, rel=1e-6)


def test_density_is_the_logsumexp_of_the_logits(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]
) -> None:
    model = classifier(flat())
    x = pictures(5)
    assert torch.allclose(model.log_density(x), torch.logsumexp(model.logits(x), dim=1))


def test_the_head_has_no_parameters_and_saves_its_centers_and_gamma() -> None:
    with torch.device("meta"):
        for classes in (10, 100):
            model = GMMCClassifier(WideResNet(28, 10), classes, (3, 32, 32), 10.0)
            assert sum(parameter.numel() for parameter in model.parameters()) == 36_464_928
    state = GMMCClassifier(wide(), 10, (1, 8, 8), 10.0).state_dict()
    assert {"centers", "gamma2"} <= set(state)
    assert torch.isnan(state["gamma2"])


def test_centers_are_those_of_algorithm_2(flat: Callable[..., nn.Module]) -> None:
    model = classifier(flat(), scale=3.0)
    centers = model.class_centers()
    gram = centers @ centers.T
    assert torch.allclose(gram, torch.full((K, K), -3.0) + 12 * torch.eye(K), atol=1e-5)


def test_too_few_features_for_the_classes() -> None:
    with pytest.raises(ValueError, match="100 max-Mahalanobis centers need at least 99"):
        GMMCDis(GMMCDisConfig()).build(wide(), 100, (1, 8, 8))


@pytest.mark.parametrize(("depth", "width", "shape"), [(10, 1, (1, 8, 8)), (16, 4, (3, 32, 32)), (10, 1, (3, 32, 32))])
def test_training_starts_at_a_loss_near_50(
    depth: int, width: int, shape: tuple[int, int, int], pictures: Callable[..., Tensor]
) -> None:
    """Protocol 10: an untrained network has features near 0, and 0.5 ||0 - mu||^2 = S^2 / 2 = 50."""
    family = GMMCDis(GMMCDisConfig())
    model = family.build(wide(depth, width, shape[0]), 10, shape)
    batch = Batch(pictures(16, shape), torch.arange(16) % 10)
    with torch.no_grad():
        step = family.training_step(model, {"train": batch}, None, Iteration(0, 0, 1, torch.Generator()))
    assert step.loss.item() == pytest.approx(50, abs=1.0)
    assert step.logs["fp"].item() == step.loss.item()


# --- read-outs --------------------------------------------------------------------------------------------------


def readouts(model: GMMCClassifier, features: Tensor, gamma2: float = 0.3) -> dict[str, Tensor]:
    model.gamma2.fill_(gamma2)
    return {name: readout(features) for name, readout in model.readouts().items()}


@given(st.integers(0, 2**31), st.floats(0.1, 100))
def test_readouts_are_normalised(seed: int, spread: float) -> None:
    model = GMMCClassifier(Fixed(12), 10, (1, 2, 6), 10.0)
    features = spread * torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for name, log_probs in readouts(model, features).items():
        assert log_probs.dtype == torch.float64, name
        assert not log_probs.isnan().any(), name
        assert torch.allclose(log_probs.exp().sum(1), torch.ones(6, dtype=torch.float64), atol=1e-9), name


def test_readout_code_is_the_softmax_of_the_logits_and_paper_divides_by_gamma2() -> None:
    model = GMMCClassifier(Fixed(12), 10, (1, 2, 6), 10.0)
    features = torch.randn(20, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = readouts(model, features, gamma2=0.25)
    logits = model.classify(features)
    assert torch.allclose(found["code"], torch.log_softmax(logits, dim=1), atol=1e-12)
    assert torch.allclose(found["paper"], torch.log_softmax(4 * logits, dim=1), atol=1e-12)
    # The densities of Eq. 11 themselves: N(phi; mu_y, gamma^2 I), by Bayes' rule with equal priors.
    distances = torch.cdist(features, model.centers.double()).square()
    density = torch.exp(-(distances - distances.min(1, keepdim=True).values) / (2 * 0.25))
    assert torch.allclose(found["paper"].exp(), density / density.sum(1, keepdim=True), atol=1e-9)


@given(st.lists(st.floats(0.01, 1), min_size=10, max_size=10))
def test_readout_linear_is_exact_for_the_regression_mean(weights: list[float]) -> None:
    """The regression's optimum is phi(x) = E[mu_y | x] = sum_y p(y|x) mu_y: there the read-out returns p."""
    model = GMMCClassifier(Fixed(12), 10, (1, 2, 6), 10.0)
    posterior = torch.tensor(weights, dtype=torch.float64)
    posterior /= posterior.sum()
    features = (posterior @ max_mahalanobis_centers(10, 12, 10.0))[None]
    assert torch.allclose(readouts(model, features)["linear"].exp()[0], posterior, atol=1e-6)


def test_readout_linear_stays_finite_at_a_center_and_beyond() -> None:
    model = GMMCClassifier(Fixed(12), 10, (1, 2, 6), 10.0)
    found = readouts(model, torch.cat([model.centers, 3 * model.centers]).double())["linear"]
    assert found.isfinite().all()
    assert torch.equal(found.argmax(1), torch.arange(20) % 10)
    assert torch.allclose(found.exp().max(1).values, torch.ones(20, dtype=torch.float64), atol=1e-6)


# --- gamma^2 ----------------------------------------------------------------------------------------------------


def test_gamma2_by_hand(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    """Mean of ||phi - mu_y||^2 / d over items, not over batches of unequal size."""
    model = classifier(flat(2.0))
    x, labels = pictures(7), torch.tensor([0, 3, 2, 1, 0, 0, 2])

    def clean() -> list[Batch]:
        return [Batch(x[:5], labels[:5]), Batch(x[5:], labels[5:])]

    GMMCDis(GMMCDisConfig()).after_training(model, clean)
    phi = 2 * (2 * x.double() - 1).flatten(1)
    centers = max_mahalanobis_centers(K, 6, 10.0)
    expected = np.mean([((phi[i] - centers[labels[i]]) ** 2).sum().item() / 6 for i in range(7)])
    assert model.gamma2.item() == pytest.approx(expected, rel=1e-6)
    assert model.gamma2.dtype == torch.float64


def test_gamma2_of_gaussian_features_is_their_variance(flat: Callable[..., nn.Module]) -> None:
    model = classifier(flat())
    labels = torch.arange(4000) % K
    noise = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    scaled = model.centers[labels] + 0.7 * noise
    images = ((scaled + 1) / 2).view(4000, *SHAPE)  # "images" far outside the box, as phi is the identity
    GMMCDis(GMMCDisConfig()).after_training(model, lambda: [Batch(images, labels)])
    assert model.gamma2.item() == pytest.approx(0.49, rel=0.03)


def test_estimating_gamma2_keeps_no_graph(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    model = classifier(flat())
    GMMCDis(GMMCDisConfig()).after_training(model, lambda: [Batch(pictures(4), torch.arange(4))])
    assert not model.gamma2.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


# --- samples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["staged", "inject"])
def test_samples_by_hand(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor], mode: str) -> None:
    """For phi(x) = a x the gradient of 0.5 ||phi - z||^2 is a (a x - z); z once a chain, or anew in every step."""
    a, step_size, gamma, steps = 1.5, 0.01, 2.0, 4
    model = classifier(flat(a), mode=mode, step_size=step_size, gamma=gamma)
    labels, index, start = torch.tensor([2, 0, 1]), torch.tensor([11, 5, 8]), pictures(3)
    noise = indexed_noise(3, index, "cpu")
    x = (2 * start.double() - 1).flatten(1)
    for step in range(steps):
        z = model.centers[labels].double() + gamma * noise(0 if mode == "staged" else step, (3, 6)).double()
        x = (x - step_size * a * (a * x - z)).clamp(-1, 1)
    made = model.sample(labels, seed=3, index=index, steps=steps, start=start)
    assert torch.allclose(made.double().flatten(1), (x + 1) / 2, atol=1e-6)


def test_staged_and_injected_sampling_agree_at_the_small_gamma_of_the_code(
    flat: Callable[..., nn.Module],
) -> None:
    """Protocol 3.4: noise of norm 0.025 beside centers of norm 10; with a large gamma they differ."""
    labels, index = torch.tensor([0, 1, 2, 3]), torch.arange(4)

    def difference(gamma: float) -> float:
        one, other = (
            classifier(flat(), mode=mode, gamma=gamma).sample(labels, seed=0, index=index)
            for mode in ("staged", "inject")
        )
        return float((one - other).abs().max())

    assert 0 < difference(0.001) < 1e-3
    assert difference(5.0) > 0.05


def test_samples_start_from_noise_that_belongs_to_the_index(flat: Callable[..., nn.Module]) -> None:
    index = torch.tensor([3, 1, 4])
    made = classifier(flat()).sample(torch.tensor([0, 0, 1]), seed=9, index=index, steps=0)
    assert torch.allclose(made, (indexed_uniform(9, index, SHAPE, "cpu") + 1) / 2)


@pytest.mark.parametrize("mode", ["staged", "inject"])
def test_a_sample_depends_on_seed_and_index_alone(mode: Literal["staged", "inject"]) -> None:
    sampler = GMMCSamplerConfig(steps=4, mode=mode, gamma=0.5)
    model = GMMCClassifier(wide(), 10, (1, 8, 8), 10.0, sampler).eval()
    labels, index = torch.tensor([0, 9, 2, 3, 9]), torch.tensor([7, 2, 50, 3, 8])
    together = model.sample(labels, seed=4, index=index)
    torch.manual_seed(123)  # the global generator plays no part
    alone = torch.cat([model.sample(labels[i : i + 1], seed=4, index=index[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(model.sample(labels[shuffled], seed=4, index=index[shuffled]), together[shuffled], atol=1e-5)
    assert torch.equal(together, model.sample(labels, seed=4, index=index))
    assert not torch.allclose(together, model.sample(labels, seed=5, index=index), atol=1e-2)
    assert together.min() >= 0
    assert together.max() <= 1


def test_sampling_brings_features_nearer_to_their_center() -> None:
    model = GMMCClassifier(wide(), 10, (1, 8, 8), 10.0, GMMCSamplerConfig(steps=30, step_size=0.3)).eval()
    labels, index = torch.arange(10), torch.arange(10)
    energies = [
        model.energy(model.sample(labels, seed=0, index=index, steps=steps), labels).mean().item()
        for steps in (0, 10, 30)
    ]
    assert energies[0] > energies[1] > energies[2]


def test_a_discriminative_classifier_says_that_it_cannot_generate() -> None:
    model = GMMCDis(GMMCDisConfig()).build(wide(), 10, (1, 8, 8))
    with pytest.raises(NotImplementedError, match=r"GMMC \(Dis\)"):
        model.sample(torch.tensor([0]), seed=0, index=torch.tensor([0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["staged", "inject"])
def test_samples_on_the_gpu_are_those_of_the_cpu(mode: Literal["staged", "inject"]) -> None:
    model = GMMCClassifier(wide(), 10, (1, 8, 8), 10.0, GMMCSamplerConfig(steps=3, mode=mode)).eval()
    labels, index = torch.arange(10), torch.arange(10)
    on_cpu = model.sample(labels, seed=1, index=index)
    on_gpu = model.to("cuda").sample(labels.cuda(), seed=1, index=index.cuda())
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-3)


# --- what a saved model holds -----------------------------------------------------------------------------------


def test_weights_go_through_a_state_dict(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    first, second = classifier(flat(2.0)), classifier(flat(1.0))
    first.gamma2.fill_(0.5)
    second.load_state_dict(first.state_dict())
    x = pictures(3)
    for (name, one), (_, other) in zip(first.readouts().items(), second.readouts().items(), strict=True):
        assert torch.equal(one(first.features(x)), other(second.features(x))), name


def test_gen_builds_a_classifier_with_its_own_settings() -> None:
    family = GMMCGen(GMMCGenConfig(scale=5.0, sampler=GMMCSamplerConfig(steps=7, buffer=20)))
    model = family.build(wide(), 10, (1, 8, 8))
    assert model.sampler is not None
    assert model.sampler.steps == 7
    assert torch.allclose(model.centers.norm(dim=1), torch.full((10,), 5.0))


def test_every_class_is_the_nearest_of_its_own_center() -> None:
    for classes, dim in itertools.product((2, 10, 64), (64,)):
        model = GMMCClassifier(Fixed(dim), classes, (1, 8, 8), 10.0)
        assert torch.equal(model.classify(model.centers).argmax(1), torch.arange(classes))
