"""The distribution from which chains start: mean and covariance of each class, and draws of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from bench_models.mixture import GaussianMixture
from bench_models.mixture_size import MOST_BYTES, matrix_bytes
from torch import Tensor

from bench.family import Batch

SHAPE = (1, 2, 3)
K = 3


def of(images: Tensor, labels: Tensor, size: int = 7) -> Callable[[], Iterable[Batch]]:
    """Iterates over batches of ``size`` images, as a trainer does."""
    return lambda: [Batch(images[i : i + size], labels[i : i + size]) for i in range(0, len(images), size)]


def data(n: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    images = 0.5 + 0.1 * torch.randn(n, *SHAPE, generator=draw)
    return images, torch.randint(0, K, (n,), generator=draw)


def fitted(images: Tensor, labels: Tensor, *, jitter: float = 1e-4, size: int = 7) -> GaussianMixture:
    mixture = GaussianMixture(K, SHAPE, jitter)
    mixture.fit(of(images, labels, size))
    return mixture


def test_means_and_covariances_are_those_of_each_class() -> None:
    images, labels = data()
    mixture = fitted(images, labels, jitter=0.01)
    pixels = 2 * images.flatten(1).double().numpy() - 1
    for label in range(K):
        own = pixels[labels.numpy() == label]
        assert mixture.mean[label].numpy() == pytest.approx(own.mean(axis=0), abs=1e-6)
        covariance = (mixture.factors[label] @ mixture.factors[label].T).numpy()
        assert covariance == pytest.approx(np.cov(own.T, ddof=0) + 0.01 * np.eye(6), abs=1e-6)


def test_the_size_of_batches_does_not_matter() -> None:
    images, labels = data()
    one, other = fitted(images, labels, size=7), fitted(images, labels, size=50)
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.factor, other.factor)


def test_a_class_without_images_gets_the_gaussian_of_all() -> None:
    images, labels = data()
    mixture = fitted(images, labels * 0 + 2)
    for label in range(K):
        torch.testing.assert_close(mixture.mean[label], mixture.mean[2])
        torch.testing.assert_close(mixture.factors[label], mixture.factors[2])
    assert mixture.mean[0].numpy() == pytest.approx((2 * images - 1).flatten(1).mean(dim=0).numpy(), abs=1e-6)


def test_a_class_of_one_image_is_that_image_and_the_jitter() -> None:
    images, labels = data()
    labels[:] = 0
    labels[4] = 1
    mixture = fitted(images, labels, jitter=0.04)
    torch.testing.assert_close(mixture.mean[1], (2 * images[4] - 1).flatten())
    torch.testing.assert_close(mixture.factors[1], 0.2 * torch.eye(6))


def test_a_draw_is_the_mean_and_the_factor_times_the_noise_of_its_class() -> None:
    mixture = fitted(*data())
    labels = torch.tensor([2, 0, 2, 1])
    noise = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    drawn = mixture.draw(noise, labels)
    assert drawn.shape == noise.shape
    for row, label in enumerate(labels.tolist()):
        expected = mixture.mean[label] + mixture.factors[label] @ noise[row].flatten()
        torch.testing.assert_close(drawn[row].flatten(), expected)
    torch.testing.assert_close(mixture.draw(noise[1:2], labels[1:2]), drawn[1:2])


def test_draws_have_the_mean_and_the_covariance_of_the_class() -> None:
    """50,000 draws: six standard errors."""
    mixture = fitted(*data())
    n = 50_000
    noise = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(1))
    drawn = mixture.draw(noise, torch.ones(n, dtype=torch.int64)).flatten(1).double().numpy()
    covariance = (mixture.factors[1] @ mixture.factors[1].T).double().numpy()
    deviations = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(axis=0) - mixture.mean[1].numpy()) < 6 * deviations / n**0.5).all()
    assert (np.abs(np.cov(drawn.T) - covariance) < 6 * np.outer(deviations, deviations) * (2 / n) ** 0.5).all()


def test_draws_stay_in_the_box() -> None:
    mixture = fitted(*data())
    drawn = mixture.draw(100 * torch.randn(8, *SHAPE, generator=torch.Generator()), torch.zeros(8, dtype=torch.int64))
    assert drawn.min() == -1
    assert drawn.max() == 1


def test_it_is_fitted_once_it_has_a_fit_or_one_is_loaded() -> None:
    mixture = GaussianMixture(K, SHAPE, 1e-4)
    assert not mixture.fitted
    mixture.load_state_dict(fitted(*data()).state_dict())
    assert mixture.fitted


def test_matrices_that_no_memory_holds_are_refused_before_they_are_made() -> None:
    assert matrix_bytes(10, (3, 32, 32)) == 377_487_360
    assert matrix_bytes(200, (3, 64, 64)) > MOST_BYTES
    with pytest.raises(ValueError, match="covariances of 200 classes of images of 12288 values are too large"):
        GaussianMixture(200, (3, 64, 64), 1e-4)


def test_checkpoints_share_the_matrices_of_color_images() -> None:
    from bench.train.rows import is_large

    with torch.device("meta"):
        mixture = GaussianMixture(10, (3, 32, 32), 1e-4)
    assert mixture.factors.shape == (10, 3072, 3072)
    assert is_large(mixture.factor)
