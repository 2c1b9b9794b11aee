from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from bench_models.wide_resnet import WideResNet, build
from bench_models.wide_resnet_shape import macs, parameters, parse_name
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.spec import BACKBONES


@given(blocks=st.integers(1, 100), width=st.integers(1, 1000))
def test_names_round_trip(blocks: int, width: int) -> None:
    depth = 6 * blocks + 4
    assert parse_name(f"wrn-{depth}-{width}") == (depth, width)


@pytest.mark.parametrize(
    "name",
    [
        "wrn-28",
        "resnet-18",
        "WRN-28-10",
        "wrn-28-10x",
        "wrn-28-0",
        "wrn-028-10",
        "wrn--28-10",
        "",
        "wrn-28-10\n",
    ],
)
def test_other_names_are_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="wrn-DEPTH-WIDTH, for example wrn-28-10"):
        parse_name(name)


@pytest.mark.parametrize(("name", "nearest"), [("wrn-27-10", 28), ("wrn-4-1", 10), ("wrn-1-1", 10), ("wrn-20-2", 22)])
def test_impossible_depths_name_the_nearest(name: str, nearest: int) -> None:
    with pytest.raises(ValueError, match=rf"{name}.* 6 n \+ 4 .*the nearest is {nearest}"):
        parse_name(name)


def test_macs_of_the_paper_backbone() -> None:
    assert macs(28, 10, (3, 32, 32)) / 1e9 == pytest.approx(5.95, abs=0.005)
    assert macs(28, 2, (3, 32, 32)) / 1e9 == pytest.approx(0.24, abs=0.005)


@settings(deadline=None, max_examples=25)
@given(
    depth=st.sampled_from([10, 16]),
    width=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 4), st.integers(4, 19), st.integers(4, 19)),
)
def test_macs_count_what_the_network_does(depth: int, width: int, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        network = WideResNet(depth, width, in_channels=shape[0])
        images = torch.empty(1, *shape)
    counted = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        counted += module.weight.numel() * output.shape[2] * output.shape[3]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(images)
    assert macs(depth, width, shape) == counted


@pytest.mark.parametrize("shape", [(3, 3, 32), (3, 32, 3), (0, 32, 32)])
def test_macs_refuse_images_that_the_network_refuses(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="image_shape must be"):
        macs(10, 1, shape)


def test_planning_needs_no_torch() -> None:
    program = "import sys, bench_models.wide_resnet_shape; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", ["", "-batch", "-layer", "-drop0.3", "-batch-drop0.3"])
@pytest.mark.parametrize("size", ["wrn-10-1", "wrn-10-2", "wrn-16-1", "wrn-28-10"])
def test_described_parameters_are_those_of_the_network(size: str, options: str, channels: int) -> None:
    name = size + options
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in build(name, channels).parameters())
    assert BACKBONES.get(name).describe(name, (channels, 32, 32))["parameters"] == built


def test_parameters_of_the_papers_network() -> None:
    assert parameters(28, 10, 3) == pytest.approx(36.5e6, rel=5e-3)


@pytest.mark.parametrize("name", ["wrn-10-1001", "wrn-6004-1", "wrn-10-" + "9" * 5000, "wrn-" + "9" * 5000 + "-1"])
def test_names_that_ask_for_more_than_any_machine_has(name: str) -> None:
    with pytest.raises(ValueError, match="depth and width of a Wide ResNet are at most 1000"):
        parse_name(name)
