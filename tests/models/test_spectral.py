from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from bench_models.spectral import constant_weights, iterated, normalise
from bench_models.wide_resnet import WideResNet
from torch import Tensor, nn
from torch.nn.utils import parametrize


def network(seed: int = 0) -> WideResNet:
    torch.manual_seed(seed)
    made = WideResNet(10, 1, in_channels=1)
    normalise(made)
    return made


def layers(of: nn.Module) -> list[Any]:
    return [module for module in of.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def sigmas(of: nn.Module) -> list[float]:
    """The largest singular value of each layer's weight, by a full decomposition."""
    return [float(torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]) for layer in layers(of)]


def vectors(of: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in of.state_dict().items() if name.endswith(("_u", "_v"))}


def test_the_largest_singular_value_of_every_layer_is_one() -> None:
    made = network().eval()
    assert len(layers(made)) == 9
    assert sigmas(made) == pytest.approx([1.0] * 9, abs=0.05)


def test_iterations_keep_it_there_while_the_weights_move() -> None:
    made = network().train()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(20):
        with iterated(made):
            optimizer.zero_grad()
            made(images).square().sum().backward()
        optimizer.step()
    assert sigmas(made.eval()) == pytest.approx([1.0] * 9, abs=0.1)


def test_one_power_iteration_by_hand() -> None:
    torch.manual_seed(3)
    layer: Any = nn.Conv2d(2, 4, 3)
    normalise(layer)
    own = layer.parametrizations.weight[0]
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    u, matrix = own._u.clone(), layer.parametrizations.weight.original.detach().flatten(1)
    u = nn.functional.normalize(matrix @ own._v, dim=0)
    v = nn.functional.normalize(matrix.T @ u, dim=0)
    with iterated(layer.train()):
        pass
    assert torch.allclose(own._u, u, atol=1e-6)
    assert torch.allclose(own._v, v, atol=1e-6)
    weight = layer.eval().weight.detach().flatten(1)
    assert torch.allclose(weight, matrix / (u @ matrix @ v), atol=1e-6)


def test_a_step_iterates_once_whatever_it_computes_and_restores_the_modes() -> None:
    once, often = network().train(), network().train()
    images = torch.randn(2, 1, 8, 8)
    before = vectors(once)
    modes = [module.training for module in often.modules()]
    with iterated(once):
        pass
    with iterated(often):
        for _ in range(3):
            often(images)
    assert [module.training for module in often.modules()] == modes
    for name, value in vectors(once).items():
        assert torch.equal(value, vectors(often)[name])
    assert any(not torch.equal(value, before[name]) for name, value in vectors(once).items())


def test_in_evaluation_nothing_changes() -> None:
    made = network().eval()
    before, images = vectors(made), torch.randn(3, 1, 8, 8)
    first = made(images)
    with iterated(made):
        made(images)
    assert torch.equal(made(images), first)
    assert all(torch.equal(value, before[name]) for name, value in vectors(made).items())


def test_constant_weights_are_the_same_ones_without_a_gradient() -> None:
    made = network().eval()
    images = torch.randn(3, 1, 8, 8)
    expected = made(images)
    with torch.inference_mode(), constant_weights(made):
        weight = layers(made)[0].weight
        assert weight is layers(made)[0].weight
        assert not weight.requires_grad
        assert not weight.is_inference()
        assert torch.equal(made(images), expected)
    assert layers(made)[0].weight is not weight
    assert made(images).requires_grad


def test_gradients_go_through_the_norm() -> None:
    """d/dW of u^T (W / sigma) v is zero, because this is 1 whatever W."""
    torch.manual_seed(0)
    layer: Any = nn.Linear(5, 3)
    normalise(layer).eval()
    own = layer.parametrizations.weight
    (own[0]._u @ layer.weight @ own[0]._v).backward()
    assert own.original.grad.abs().max() < 1e-6


def test_state_dicts_hold_all_of_it() -> None:
    trained, other = network(0), network(1)
    for _ in range(3):
        with iterated(trained.train()), torch.no_grad():
            layers(trained)[0].parametrizations.weight.original.add_(0.1)
    other.load_state_dict(trained.state_dict())
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(other.eval()(images), trained.eval()(images))
    assert torch.equal(copy.deepcopy(trained)(images), trained(images))


def test_channels_last_gives_the_same_features() -> None:
    made = network().eval()
    images = torch.randn(2, 1, 8, 8)
    expected = made(images)
    moved = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = moved(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-6)


def test_networks_that_cannot_be_normalised_are_refused() -> None:
    with pytest.raises(ValueError, match="no convolution and no linear layer to normalise; set spectral_norm = false"):
        normalise(nn.LayerNorm(3))
    with pytest.raises(ValueError, match="parametrised already"):
        normalise(network())


def test_a_network_without_normalisation_is_left_alone() -> None:
    plain = WideResNet(10, 1, in_channels=1).train()
    before = copy.deepcopy(plain.state_dict())
    with iterated(plain), constant_weights(plain):
        assert not any(parametrize.is_parametrized(module) for module in plain.modules())
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
