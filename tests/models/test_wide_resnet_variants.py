from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from bench.spec import BACKBONES
from bench_models.wide_resnet import build
from bench_models.wide_resnet_shape import Variant, parse_variant

CASES = [
    ("wrn-28-10", Variant(28, 10, "none", 0.0)),
    ("wrn-10-1-batch", Variant(10, 1, "batch", 0.0)),
    ("wrn-10-1-layer", Variant(10, 1, "layer", 0.0)),
    ("wrn-10-1-drop0.3", Variant(10, 1, "none", 0.3)),
    ("wrn-16-4-layer-drop0.25", Variant(16, 4, "layer", 0.25)),
    ("wrn-16-4-batch-drop0.05", Variant(16, 4, "batch", 0.05)),
]
WRONG = [
    "wrn-10",
    "wrn-11-1",
    "wrn-10-0",
    "wrn-10-1-",
    "wrn-10-1-instance",
    "wrn-10-1-drop1.0",
    "wrn-10-1-drop0",
    "wrn-10-1-drop0.0",
    "wrn-10-1-drop0.30",  # two names of one network would be two keys of one result
    "wrn-10-1-drop.3",
    "wrn-10-1-drop0.3-batch",
    "wrn-10-1-batch-layer",
    "xwrn-10-1",
    "wrn-10-1-batch ",
]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_what_a_name_says(name: str, variant: Variant) -> None:
    assert parse_variant(name) == variant


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"Wide ResNet|depth|width"):
        parse_variant(name)
    with pytest.raises(ValueError, match=re.escape(name.strip()) if name != "wrn-10-0" else "."):
        build(name, 3)


@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-10-1-batch", "wrn-10-1-layer", "wrn-10-1-drop0.3"])
def test_layers_are_those_of_the_name(name: str) -> None:
    kinds = [type(module) for module in build(name, 3).modules()]
    blocks = 3
    assert kinds.count(nn.BatchNorm2d) == (2 * blocks + 1 if "batch" in name else 0)
    assert kinds.count(nn.GroupNorm) == (2 * blocks + 1 if "layer" in name else 0)
    assert kinds.count(nn.Dropout) == (blocks if "drop" in name else 0)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_norm_adds_a_scale_and_a_shift_a_channel(norm: str) -> None:
    def count(network: nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    # Before each convolution of a block, and behind the last block.
    channels = (16 + 16) + (16 + 32) + (32 + 64) + 64
    assert count(build(f"wrn-10-1-{norm}", 3)) - count(build("wrn-10-1", 3)) == 2 * channels


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_papers_network_with_a_norm(norm: str) -> None:
    with torch.device("meta"):
        network = build(f"wrn-28-10-{norm}", 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 36_464_928 + 17_952


def test_batch_norm_has_the_momentum_of_the_original_code() -> None:
    norms = [module for module in build("wrn-10-1-batch", 1).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.9}


def test_layer_norm_is_one_mean_and_variance_an_image() -> None:
    network = build("wrn-10-1-layer", 1).train()
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-6)
    norm = next(module for module in network.modules() if isinstance(module, nn.GroupNorm))
    values = norm(torch.randn(2, 16, 5, 5) * 3 + 7)
    assert torch.allclose(values.flatten(1).mean(1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(values.flatten(1).var(1, unbiased=False), torch.ones(2), atol=1e-3)


def test_dropout_drops_with_the_probability_of_the_name() -> None:
    dropout = next(module for module in build("wrn-10-1-drop0.3", 1).modules() if isinstance(module, nn.Dropout))
    assert dropout.p == 0.3
    torch.manual_seed(0)
    assert float((dropout(torch.ones(100_000)) == 0).double().mean()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("name", ["wrn-10-1-batch", "wrn-10-1-layer", "wrn-10-1-drop0.3"])
def test_any_image_and_its_gradient(name: str) -> None:
    network = build(name, 2)
    images = torch.rand(3, 2, 12, 9, requires_grad=True)
    features = network(images)
    assert features.shape == (3, network.feature_dim)
    features.sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize(("name", "_variant"), CASES)
def test_the_harness_knows_them_by_their_pattern(name: str, _variant: Variant) -> None:
    assert BACKBONES.get(name).name == name
