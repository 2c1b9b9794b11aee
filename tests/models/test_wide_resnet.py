from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench_models.wide_resnet import Norm, WideResNet, _mean_over_positions

NORMS: list[Norm] = ["none", "batch", "layer"]


def parameter_count(depth: int, width: int, **options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in WideResNet(depth, width, **options).parameters())


def trained_looking(norm: Norm) -> WideResNet:
    """A network in eval mode whose norms are not the identity."""
    torch.manual_seed(0)
    network = WideResNet(16, 1, norm=norm).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


def reference(network: WideResNet, norm: Norm, x: Tensor) -> Tensor:
    """Section 1.1 of the protocol written down once more, without in-place operations."""
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}

    def conv(name: str, h: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding)

    def normalise(name: str, h: Tensor) -> Tensor:
        if norm == "none":
            return h
        weight = state[f"{name}.weight"][:, None, None]
        bias = state[f"{name}.bias"][:, None, None]
        if norm == "batch":
            mean = state[f"{name}.running_mean"][:, None, None]
            variance = state[f"{name}.running_var"][:, None, None]
        else:
            mean = h.mean((1, 2, 3), keepdim=True)
            variance = h.var((1, 2, 3), unbiased=False, keepdim=True)
        return (h - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def activate(h: Tensor) -> Tensor:
        return torch.where(h > 0, h, 0.2 * h)

    x = conv("stem", x, 1, 1)
    for stage, stage_stride in ((1, 1), (2, 2), (3, 2)):
        for block in (1, 2):
            name = f"blocks.stage{stage}_block{block}"
            stride = stage_stride if block == 1 else 1
            h = conv(f"{name}.conv1", activate(normalise(f"{name}.norm1", x)), 1, 1)
            h = conv(f"{name}.conv2", activate(normalise(f"{name}.norm2", h)), stride, 1)
            widened = f"{name}.shortcut.weight" in state
            x = h + (conv(f"{name}.shortcut", x, stride, 0) if widened else x)
    return F.avg_pool2d(activate(normalise("norm", x)), 8).flatten(1)


def test_published_parameter_counts() -> None:
    assert parameter_count(28, 10) == 36_464_928
    assert parameter_count(28, 10, norm="batch") - parameter_count(28, 10) == 17_952
    assert parameter_count(28, 10, norm="layer") - parameter_count(28, 10) == 17_952
    assert round(parameter_count(10, 1, in_channels=1), -3) == 77_000


@pytest.mark.parametrize("norm", NORMS)
def test_values_and_gradients_match_a_second_implementation(norm: Norm) -> None:
    network = trained_looking(norm)
    images = (2 * torch.rand(2, 3, 32, 32, dtype=torch.float64) - 1).requires_grad_()
    direction = torch.randn(2, 64, dtype=torch.float64)
    inputs = [images, *network.parameters()]
    found = network(images)
    expected = reference(network, norm, images)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_in_training_mode(norm: Norm) -> None:
    torch.manual_seed(1)
    network = WideResNet(10, 1, in_channels=1, norm=norm).double()
    images = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: network(x)[:, :5], (images,))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 8), (39, 32)])
def test_any_size_gives_features(size: tuple[int, int], norm: Norm) -> None:
    network = WideResNet(10, 2, in_channels=1, norm=norm)
    features = network(torch.randn(2, 1, *size))
    assert features.shape == (2, 128) == (2, network.feature_dim)
    assert features.isfinite().all()


def test_the_input_is_left_alone() -> None:
    images = torch.randn(2, 3, 8, 8)
    before = images.clone()
    WideResNet(10, 1)(images)
    assert torch.equal(images, before)


def test_channels_last_stays_channels_last_and_means_the_same() -> None:
    network = WideResNet(10, 1).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = network(images)
    layouts: list[bool] = []
    network.to(memory_format=torch.channels_last)
    network.blocks.register_forward_hook(
        lambda _module, _inputs, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    found = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)
    assert layouts == [True]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_mean_over_positions_has_the_bits_of_torch_and_a_gradient_laid_out_as_its_input(
    layout: torch.memory_format, size: int
) -> None:
    h = torch.randn(5, 64, size, size).contiguous(memory_format=layout).requires_grad_()
    weights = torch.randn(5, 64)
    found, expected = _mean_over_positions(h), h.mean(dim=(2, 3))
    assert torch.equal(found, expected)
    gradients = [torch.autograd.grad(mean, h, weights)[0] for mean in (found, expected)]
    assert torch.equal(*gradients)
    assert gradients[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_without_batch_norm_images_do_not_see_each_other(norm: Norm) -> None:
    network = WideResNet(10, 1, norm=norm).double()
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone)


def test_batch_norm_momentum_is_that_of_the_original_code() -> None:
    network = WideResNet(10, 1, norm="batch")
    images = torch.randn(4, 3, 8, 8)
    mean = network.stem(images).mean((0, 2, 3))
    network(images)
    first = network.get_submodule("blocks.stage1_block1.norm1")
    assert isinstance(first, nn.BatchNorm2d)
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, 0.9 * mean)


def test_initial_weights_are_the_defaults_of_pytorch() -> None:
    torch.manual_seed(0)
    for name, module in WideResNet(10, 2).named_modules():
        if isinstance(module, nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert module.weight.abs().max() <= bound, name
            assert module.weight.abs().max() > 0.95 * bound, name
            assert module.bias is not None
            assert 0.5 * bound < module.bias.abs().max() <= bound, name


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    dropping, plain = WideResNet(10, 1, dropout=0.5), WideResNet(10, 1)
    plain.load_state_dict(dropping.state_dict())
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(dropping(images), dropping(images))
    assert torch.equal(dropping.eval()(images), plain(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 12}, r"6 n \+ 4 .* got 12; the nearest is 10"),
        ({"width": 0}, "width .* at least 1, got 0"),
        ({"norm": "instance"}, "norm must be one of none, batch, layer; got 'instance'"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
    ],
)
def test_errors_of_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WideResNet(**{"depth": 10, "width": 1, **options})


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 3, 3, 8)])
def test_wrong_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must have shape \(N, 3, H, W\) with H, W >= 4"):
        WideResNet(10, 1)(torch.zeros(shape))
