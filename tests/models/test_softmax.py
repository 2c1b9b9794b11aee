from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.family import Batch, Iteration
from bench_models.configs import SoftmaxConfig
from bench_models.softmax import LinearClassifier, Softmax
from bench_models.wide_resnet import WideResNet

ITERATION = Iteration(0, 0, 1, torch.Generator())


@pytest.fixture
def classifier(flat: Callable[..., nn.Module]) -> LinearClassifier:
    torch.manual_seed(1)
    return LinearClassifier(flat(2.0), 4, (1, 2, 3))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_features_and_logits_of_images_in_the_unit_box(
    classifier: LinearClassifier, pictures: Callable[..., Tensor]
) -> None:
    x = pictures(5)
    phi = 2 * (2 * x - 1).flatten(1)
    assert torch.allclose(classifier.features(x), phi)
    by_hand = phi @ classifier.head.weight.T + classifier.head.bias
    assert torch.allclose(classifier.logits(x), by_hand, atol=1e-6)
    assert torch.equal(classifier(x), classifier.logits(x))
    assert torch.equal(classifier.classify(classifier.features(x)), classifier.logits(x))


def test_density_energy_and_posterior_belong_together(
    classifier: LinearClassifier, pictures: Callable[..., Tensor]
) -> None:
    """Log p(y|x) = -E(x, y) - log p(x), with -E(x) = logsumexp f(x) (Grathwohl et al. 2020, Eqs. 5-8)."""
    x, labels = pictures(6), torch.tensor([0, 1, 2, 3, 0, 2])
    logits = classifier.logits(x)
    assert torch.allclose(classifier.log_density(x), torch.log(torch.exp(logits.double()).sum(1)).float())
    joint = -classifier.energy(x, labels)
    assert torch.equal(joint, logits[torch.arange(6), labels])
    posterior = torch.log_softmax(logits, dim=1)[torch.arange(6), labels]
    assert torch.allclose(joint - classifier.log_density(x), posterior, atol=1e-6)


def test_its_one_readout_is_the_softmax_of_the_logits(
    classifier: LinearClassifier, pictures: Callable[..., Tensor]
) -> None:
    x = pictures(5)
    (name, readout), *others = classifier.readouts().items()
    assert name == "native"
    assert not others
    log_probs = readout(classifier.features(x).double())
    assert log_probs.dtype == torch.float64
    assert torch.allclose(log_probs.exp().sum(1), torch.ones(5, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(log_probs.float(), torch.log_softmax(classifier.logits(x), dim=1), atol=1e-6)


def test_it_has_no_centers_and_no_samples(classifier: LinearClassifier) -> None:
    assert classifier.class_centers() is None
    assert classifier.stored_samples() is None
    with pytest.raises(NotImplementedError, match="cannot generate"):
        classifier.sample(torch.tensor([0]), seed=0, index=torch.tensor([0]))


@pytest.mark.parametrize(("classes", "count"), [(10, 36_471_338), (100, 36_529_028)])
def test_parameters_of_the_full_network_with_its_head(classes: int, count: int) -> None:
    """Protocol 1.1. On the meta device: nothing is allocated and nothing is run."""
    with torch.device("meta"):
        model = LinearClassifier(WideResNet(28, 10), classes, (3, 32, 32))
    assert parameters(model) == count


def test_a_step_is_the_mean_cross_entropy(classifier: LinearClassifier, pictures: Callable[..., Tensor]) -> None:
    x, labels = pictures(8), torch.arange(8) % 4
    family = Softmax(SoftmaxConfig())
    step = family.training_step(classifier, {"train": Batch(x, labels)}, None, ITERATION)
    log_probs = torch.log_softmax(classifier.logits(x).double(), dim=1)
    assert step.loss.item() == pytest.approx(-log_probs[torch.arange(8), labels].mean().item(), rel=1e-6)
    step.loss.backward()  # type: ignore[no-untyped-call]
    # d CE / d logits = (p - onehot) / n, so the bias's gradient is its sum.
    expected = (log_probs.exp() - functional.one_hot(labels, 4)).mean(0).float()
    assert torch.allclose(
        classifier.head.bias.grad if classifier.head.bias.grad is not None else x, expected, atol=1e-6
    )


def test_its_stream_is_augmented_and_noisy_as_configured() -> None:
    family = Softmax(SoftmaxConfig(augment=False, sigma=0.1))
    assert {name: (spec.augment, spec.sigma) for name, spec in family.streams().items()} == {"train": (False, 0.1)}
    assert next(iter(Softmax(SoftmaxConfig()).streams().values())).augment


def test_training_keeps_no_state(classifier: LinearClassifier) -> None:
    family = Softmax(SoftmaxConfig())
    assert family.start(classifier, torch.Generator()) is None
