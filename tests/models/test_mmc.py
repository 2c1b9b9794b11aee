"""MMC against the formulas of its authors' code, in NumPy and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from bench_models.configs import MMCConfig
from bench_models.mmc import MMC, MMCClassifier
from bench_models.mmc_spec import MMC as SPEC
from bench_models.wide_resnet import WideResNet
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from bench.family import Batch, Iteration, Update
from bench.optimizer import OptimizerConfig
from bench.report.deviations import deviations
from bench.spec import Task
from bench.train.update import optimizer_of

if TYPE_CHECKING:
    from tests.conftest import Project

SHAPE = (1, 2, 3)
K, D = 4, 5
ITERATION = Iteration(0, 0, 1, torch.Generator())

Array = NDArray[np.float64]


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def published_logits(features: Array, means: Array) -> Array:
    """``MMLDA_layer`` with ``use_ball``: both repeated to (N, K, d), the sum of squared differences, negated."""
    repeated = np.tile(features[:, None, :], (1, len(means), 1))
    return -np.sum((repeated - means[None]) ** 2, axis=-1)


def published_loss(labels: Array, logits: Array) -> float:
    """``dot_loss`` of one-hot labels, and the mean that Keras takes over a batch."""
    return float(np.mean(-np.sum(logits * labels, axis=-1)))


def simplex(classes: int, dim: int, scale: float) -> Array:
    """Corners of a regular simplex in the first coordinates, by the recursion of the authors' ``craft_MMcenters.m``."""
    means = np.zeros((classes, dim))
    means[0, 0] = 1
    for i in range(1, classes):
        for j in range(i):
            means[i, j] = -(1 + means[i] @ means[j] * (classes - 1)) / (means[j, j] * (classes - 1))
        if i < dim:
            means[i, i] = np.sqrt(abs(1 - means[i] @ means[i]))
    return scale * means


@pytest.fixture
def family() -> MMC:
    return MMC(MMCConfig(features=D))


@pytest.fixture
def model(family: MMC, flat: Callable[..., nn.Module]) -> MMCClassifier:
    torch.manual_seed(0)
    return family.build(flat(1.5), K, SHAPE)


def test_features_are_those_of_the_linear_layer(model: MMCClassifier, pictures: Callable[..., Tensor]) -> None:
    x = pictures(7)
    phi = 1.5 * (2 * array(x).reshape(7, 6) - 1)
    expected = phi @ array(model.linear.weight).T + array(model.linear.bias)
    assert array(model.features(x)) == pytest.approx(expected, rel=1e-5)
    assert model.features(x).shape == (7, D)


def test_logits_and_loss_are_those_of_the_published_code(
    family: MMC, model: MMCClassifier, pictures: Callable[..., Tensor]
) -> None:
    x, labels = pictures(8), torch.tensor([0, 1, 2, 3, 3, 2, 0, 0])
    logits = published_logits(array(model.features(x)), simplex(K, D, 10.0))
    assert array(model.logits(x)) == pytest.approx(logits, rel=1e-5)
    step = family.training_step(model, {"train": Batch(x, labels)}, None, ITERATION)
    assert step.loss.item() == pytest.approx(published_loss(np.eye(K)[labels.numpy()], logits), rel=1e-6)
    assert step.loss.item() == pytest.approx(model.energy(x, labels).mean().item(), rel=1e-6)


def test_two_updates_by_hand(family: MMC, model: MMCClassifier, pictures: Callable[..., Tensor]) -> None:
    """dL/dz = 2 (z - mu) / N;  v = 0.9 v + g + decay w;  w = w - lr v. The second update needs the momentum."""
    lr, decay = 0.003, 0.02
    config = OptimizerConfig(kind="sgd", momentum=0.9, weight_decay=decay)
    optimizer = optimizer_of(config, model, lr)
    weight, bias, factor = array(model.linear.weight), array(model.linear.bias), 1.5
    velocity: list[Any] = [0.0, 0.0, 0.0]
    for seed in (1, 2):
        x, labels = pictures(8, seed=seed), (torch.arange(8) * 3 + seed) % K
        pixels = 2 * array(x).reshape(8, 6) - 1
        z = factor * pixels @ weight.T + bias
        pull = 2 * (z - simplex(K, D, 10.0)[labels.numpy()]) / 8
        gradients = [pull.T @ (factor * pixels), pull.sum(axis=0), float(np.sum(pull * (pixels @ weight.T)))]
        found = [weight, bias, factor]
        velocity = [0.9 * v + g + decay * w for v, g, w in zip(velocity, gradients, found, strict=True)]
        weight, bias, factor = (w - lr * v for w, v in zip(found, velocity, strict=True))

        step = family.training_step(model, {"train": Batch(x, labels)}, None, ITERATION)
        family.update(model, Update(step, model, optimizer))
        assert array(model.linear.weight.grad) == pytest.approx(gradients[0], rel=1e-4, abs=1e-4)  # type: ignore[arg-type]
        assert array(model.linear.weight) == pytest.approx(weight, rel=1e-4, abs=1e-5)
        assert array(model.linear.bias) == pytest.approx(bias, rel=1e-4, abs=1e-5)
        assert model.backbone.factor.item() == pytest.approx(factor, rel=1e-5)  # type: ignore[union-attr]
    assert torch.allclose(model.centers.double(), torch.from_numpy(simplex(K, D, 10.0)), atol=1e-5)


@given(st.integers(2, 40), st.integers(0, 30), st.floats(0.1, 100))
def test_centers_are_a_simplex_in_the_space_of_the_linear_layer(classes: int, more: int, scale: float) -> None:
    """Norms C_MM, inner products -C_MM^2 / (K - 1), whatever the width of the backbone."""
    backbone = nn.Identity()
    backbone.feature_dim = 3  # type: ignore[assignment]
    centers = array(MMCClassifier(backbone, classes, SHAPE, scale, classes - 1 + more).class_centers())
    assert centers.shape == (classes, classes - 1 + more)
    expected = scale**2 * (np.eye(classes) * classes - 1) / (classes - 1)
    assert centers @ centers.T == pytest.approx(expected, rel=1e-5, abs=1e-5 * scale**2)


def test_probabilities_and_density_are_those_of_a_mixture_of_gaussians(
    model: MMCClassifier, pictures: Callable[..., Tensor]
) -> None:
    """Logits without a half are a variance of 1/2; the read-out ``paper`` has the estimated one."""
    x = pictures(9)
    z, means = array(model.features(x)), simplex(K, D, 10.0)
    model.gamma2.fill_(3.0)

    def joint(variance: float) -> Array:
        return np.stack([multivariate_normal.logpdf(z, mean, variance * np.eye(D)) for mean in means], axis=1)

    for name, variance in (("code", 0.5), ("paper", 3.0)):
        expected = joint(variance) - logsumexp(joint(variance), axis=1, keepdims=True)
        found = model.readouts()[name](model.features(x).double())
        assert array(found) == pytest.approx(expected, rel=1e-5, abs=1e-5), name
    constant = 0.5 * D * np.log(np.pi)  # and a prior of 1/K, which every class has
    assert array(model.log_density(x)) == pytest.approx(logsumexp(joint(0.5), axis=1) + constant, rel=1e-5)


def test_the_variance_is_estimated_on_clean_images(
    family: MMC, model: MMCClassifier, pictures: Callable[..., Tensor]
) -> None:
    x, labels = pictures(10), torch.arange(10) % K
    halves = [Batch(x[:7], labels[:7]), Batch(x[7:], labels[7:])]
    family.after_training(model, lambda: halves)
    distances = ((array(model.features(x)) - simplex(K, D, 10.0)[labels.numpy()]) ** 2).sum(axis=1)
    assert model.gamma2.item() == pytest.approx(distances.mean() / D, rel=1e-6)


def test_training_starts_from_zeros_and_the_published_variance(pictures: Callable[..., Tensor]) -> None:
    """he_normal: variance 2 / fan-in. With features near 0 the first loss is near C_MM^2 = 100."""
    torch.manual_seed(0)
    family = MMC(MMCConfig())
    model = family.build(WideResNet(10, 1, in_channels=1), 10, (1, 8, 8))
    assert model.linear.weight.shape == (256, 64)
    assert model.linear.weight.var().item() == pytest.approx(2 / 64, rel=0.05)
    assert not model.linear.bias.any()
    batch = Batch(pictures(16, (1, 8, 8)), torch.arange(16) % 10)
    loss = family.training_step(model, {"train": batch}, None, ITERATION).loss.item()
    assert loss == pytest.approx(100, abs=5)


def test_too_few_features_for_the_classes(flat: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="10 max-Mahalanobis centers need at least 9"):
        MMC(MMCConfig(features=8)).build(flat(), 10, SHAPE)
    task = Task(num_classes=10, image_shape=SHAPE, train=100, features=3)
    assert SPEC.unfit(MMCConfig(features=9), task) == {}
    assert "at least 9 feature dimensions, got 8" in SPEC.unfit(MMCConfig(features=8), task)["features"]


# --- configuration ----------------------------------------------------------------------------------------------


def test_the_default_is_the_published_training() -> None:
    config = MMCConfig()
    assert config.optimizer == OptimizerConfig(kind="sgd", momentum=0.9, weight_decay=2e-4)
    assert (config.epochs, config.batch_size, config.lr, config.warmup, config.sigma) == (200, 50, 0.01, 0, 0)
    assert (config.decay_epochs, config.decay_rate, config.scale, config.features) == ((100, 150), 0.1, 10, 256)


def test_presets() -> None:
    made = {name: MMCConfig.model_validate(values) for name, values in SPEC.presets.items()}
    assert made["paper"].optimizer == OptimizerConfig(kind="sgd", momentum=0.9)
    assert made["code"] == MMCConfig(decay_epochs=(101, 151))


def test_a_table_without_a_kind_changes_the_default_optimiser() -> None:
    found = MMCConfig.model_validate({"optimizer": {"weight_decay": 5e-4}}).optimizer
    assert found == OptimizerConfig(kind="sgd", momentum=0.9, weight_decay=5e-4)
    assert MMCConfig.model_validate({"optimizer": {"kind": "sgd"}}).optimizer == OptimizerConfig(kind="sgd")
    assert MMCConfig.model_validate({"optimizer": "adam"}).optimizer == OptimizerConfig()


SUITE = """
[suite]
name = "mmc"
[data]
dataset = "digits"
[[evaluation]]
kind = "accuracy"
[[model]]
family = "mmc"
backbone = "wrn-10-1-batch"
"""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ('preset = "paper"', "[paper: not stated; its code: 0.0002]"),
        ("lr = 0.1", "lr: 0.1 [paper: 0.01]"),
        ('preset = "code"', "decay epochs: 101, 151 [paper: 100, 150]"),
        ('optimizer = "adam"', "optimizer.kind: adam [paper: sgd]"),
        ("features = 64", "features: 64 [paper: 256]"),
    ],
)
def test_what_differs_from_the_paper_of_mmc_is_told(project: Project, changed: str, told: str) -> None:
    """And nothing is compared with the data and attacks of the GMMC paper."""
    plain = deviations(project.plan(SUITE).suite)
    assert plain == (
        "network: wrn-10-1-batch [paper: ResNet-32]",
        "optimiser: sgd, momentum 0.9, weight decay 0.0002 (MMC) [default: adam]",
    )
    lines = deviations(project.plan(f"{SUITE}{changed}\n").suite)
    assert any(line.endswith(told) for line in set(lines) - set(plain)), lines
