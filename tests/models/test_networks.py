from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.configs import GMMCGenConfig, JEMConfig
from bench_models.gmmc import GMMCGen
from bench_models.jem import JEM
from bench_models.networks import (
    constant_statistics,
    evaluating,
    features_of,
    from_model,
    grouped_statistics,
    mixes_items,
    sampling,
    to_model,
)
from bench_models.replay import ReplayBuffer
from bench_models.wide_resnet import build
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.family import Batch, Iteration

NAMES = ["wrn-10-1", "wrn-10-1-batch", "wrn-10-1-layer", "wrn-10-1-drop0.3", "wrn-10-1-batch-drop0.3"]


def flags(network: nn.Module) -> list[bool]:
    return [module.training for module in network.modules()]


def test_the_ends_and_the_middle() -> None:
    assert torch.equal(to_model(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.equal(from_model(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([0.0, 0.5, 1.0]))


def test_training_noise_outside_the_box_keeps_its_size() -> None:
    assert torch.equal(to_model(torch.tensor([-0.25, 1.5])), torch.tensor([-1.5, 2.0]))


def test_what_a_sampler_left_outside_becomes_a_picture() -> None:
    assert torch.equal(from_model(torch.tensor([-3.0, 1.2])), torch.tensor([0.0, 1.0]))


@given(st.floats(0, 1, width=32))
def test_there_and_back(value: float) -> None:
    image = torch.tensor([value])
    assert torch.allclose(from_model(to_model(image)), image, atol=1e-7)


class TestEvaluating:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("training", [True, False])
    def test_every_flag_comes_back(self, name: str, training: bool) -> None:
        network = build(name, 1).train(training)
        before = flags(network)
        with evaluating(network):
            pass
        assert flags(network) == before

    @pytest.mark.parametrize("name", NAMES)
    def test_batch_normalisation_may_stay_in_training(self, name: str) -> None:
        network = build(name, 1).train()
        with evaluating(network, batch_statistics=True):
            modes = {type(m): m.training for m in network.modules()}
            assert modes.get(nn.BatchNorm2d, True)
            assert not modes.get(nn.Dropout, False)
        assert all(flags(network))

    def test_also_mixed_ones_and_after_an_error(self) -> None:
        network = build("wrn-10-1-batch-drop0.3", 1).train()
        for i, module in enumerate(network.modules()):
            module.training = i % 3 != 0
        before = flags(network)
        with pytest.raises(ZeroDivisionError), evaluating(network):
            raise ZeroDivisionError
        assert flags(network) == before

    @pytest.mark.parametrize("name", NAMES)
    def test_inside_the_network_computes_as_in_eval_mode(self, name: str) -> None:
        network = build(name, 1)
        network(torch.rand(16, 1, 8, 8))  # running statistics that are not the initial ones
        images = torch.rand(5, 1, 8, 8)
        statistics = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        with torch.no_grad(), evaluating(network.train()):
            inside = network(images)
        with torch.no_grad():
            assert torch.equal(inside, network.eval()(images))
        assert all(torch.equal(tensor, statistics[key]) for key, tensor in network.state_dict().items())

    def test_it_does_so_not_by_chance(self) -> None:
        images = torch.rand(5, 1, 8, 8)
        for name in ("wrn-10-1-batch", "wrn-10-1-drop0.3"):
            network = build(name, 1).train()
            with torch.no_grad():
                assert not torch.equal(network(images), network.eval()(images))


class TestSampling:
    @pytest.mark.parametrize("name", NAMES)
    def test_inside_nothing_is_trained_and_afterwards_all_is_as_before(self, name: str) -> None:
        network = build(name, 1).train()
        for i, parameter in enumerate(network.parameters()):
            parameter.requires_grad_(i % 3 != 0)
        before = flags(network), [parameter.requires_grad for parameter in network.parameters()]
        images = torch.rand(5, 1, 8, 8, requires_grad=True)
        with sampling(network):
            assert not any(parameter.requires_grad for parameter in network.parameters())
            inside = network(images)
            (gradient,) = torch.autograd.grad(inside.sum(), images)
        with pytest.raises(ZeroDivisionError), sampling(network):
            raise ZeroDivisionError
        assert (flags(network), [parameter.requires_grad for parameter in network.parameters()]) == before
        expected = network.eval()(images)
        assert torch.equal(inside, expected)
        # To the bit what comes of asking for the gradient of the images alone.
        assert torch.equal(gradient, torch.autograd.grad(expected.sum(), images)[0])


class TestFeatures:
    @pytest.mark.parametrize(("name", "mixes"), [(name, "batch" in name) for name in NAMES])
    def test_who_mixes(self, name: str, mixes: bool) -> None:
        assert mixes_items(build(name, 1)) is mixes

    @pytest.mark.parametrize("name", ["wrn-10-1", "wrn-10-1-layer"])
    def test_one_pass_where_nothing_mixes(self, name: str) -> None:
        network = Counted(build(name, 1)).train()
        batches = [torch.rand(n, 1, 8, 8) for n in (3, 1, 4)]
        with torch.no_grad():
            together = features_of(network, batches)
            assert network.sizes == [8]
            for features, images in zip(together, batches, strict=True):
                assert torch.allclose(features, network(images), atol=1e-6)

    def test_one_pass_a_batch_with_batch_norm(self) -> None:
        network = Counted(build("wrn-10-1-batch", 1)).train()
        batches = [torch.rand(3, 1, 8, 8), torch.rand(4, 1, 8, 8) * 5]
        with torch.no_grad():
            together = features_of(network, batches)
            assert network.sizes == [3, 4]
            for features, images in zip(together, batches, strict=True):
                assert torch.equal(features, network(images))

    def test_in_eval_mode_nothing_mixes(self) -> None:
        network = Counted(build("wrn-10-1-batch", 1)).eval()
        with torch.no_grad():
            features_of(network, [torch.rand(3, 1, 8, 8), torch.rand(4, 1, 8, 8)])
        assert network.sizes == [7]


class Counted(nn.Module):
    """Keeps how many images each pass had, whether modules were training, and which gradients were wanted."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.feature_dim = network, network.feature_dim
        self.sizes: list[int] = []
        self.seen: list[tuple[set[bool], bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        special = [m for m in self.network.modules() if isinstance(m, nn.BatchNorm2d | nn.Dropout)]
        self.seen.append(({module.training for module in special}, images.requires_grad))
        features: Tensor = self.network(images)
        return features


def jem_step(name: str) -> tuple[Counted, Callable[[], Any]]:
    family = JEM(JEMConfig.model_validate({"sampler": {"steps": 3, "buffer": 30}}))
    return _step(family, name)


def gen_step(name: str) -> tuple[Counted, Callable[[], Any]]:
    family = GMMCGen(GMMCGenConfig.model_validate({"sampler": {"steps": 3, "buffer": 30}}))
    return _step(family, name)


def _step(family: Any, name: str) -> tuple[Counted, Callable[[], Any]]:
    network = Counted(build(name, 1))
    model = family.build(network, 10, (1, 8, 8)).train()
    generator = torch.Generator().manual_seed(0)
    buffer: ReplayBuffer = family.start(model, generator)
    batch = Batch(torch.rand(6, 1, 8, 8), torch.arange(6))
    batches = dict.fromkeys(family.streams(), batch)
    return network, lambda: family.training_step(model, batches, buffer, Iteration(0, 0, 10, generator))


@pytest.mark.parametrize(("step", "passes"), [(jem_step, 3), (gen_step, 2)], ids=["jem", "gmmc-gen"])
class TestTrainingSteps:
    @pytest.mark.parametrize("name", ["wrn-10-1-batch", "wrn-10-1-drop0.3", "wrn-10-1-batch-drop0.3"])
    def test_the_sampler_sees_eval_mode_and_the_update_sees_training(self, step: Any, passes: int, name: str) -> None:
        network, train = step(name)
        before = flags(network)
        train()
        sampler, update = network.seen[:3], network.seen[3:]
        assert sampler == [({False}, True)] * 3
        assert all(modes_ == {True} and not gradient for modes_, gradient in update)
        assert flags(network) == before

    def test_with_batch_norm_real_and_sampled_images_do_not_share_a_batch(self, step: Any, passes: int) -> None:
        network, train = step("wrn-10-1-batch")
        train()
        assert network.sizes == [6] * (3 + passes)

    def test_without_they_do(self, step: Any, passes: int) -> None:
        network, train = step("wrn-10-1")
        train()
        assert network.sizes == [6, 6, 6, 6 * passes]

    @pytest.mark.parametrize("name", NAMES)
    def test_the_sampler_leaves_parameters_alone(self, step: Any, passes: int, name: str) -> None:
        network, train = step(name)
        parameters = list(network.parameters())
        parameters[0].requires_grad_(False)
        flags_before = [parameter.requires_grad for parameter in parameters]
        train()
        assert [parameter.requires_grad for parameter in parameters] == flags_before
        assert all(parameter.grad is None for parameter in parameters)


def test_running_statistics_can_be_kept_while_batches_are_normalised_as_before() -> None:
    torch.manual_seed(0)
    network = build("wrn-10-1-batch", 1).train()
    images = torch.rand(6, 1, 8, 8)
    expected = network(images)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_var.clone() for m in norms if m.running_var is not None]
    with constant_statistics(network):
        assert torch.equal(network(images * 1.0), expected)
        network(3 * images)
    for module, variance in zip(norms, before, strict=True):
        assert module.running_var is not None
        assert torch.equal(module.running_var, variance)
        assert module.momentum == 0.9
    network(3 * images)
    assert any(
        m.running_var is not None and not torch.equal(m.running_var, v) for m, v in zip(norms, before, strict=True)
    )


@pytest.mark.parametrize("training", [True, False])
def test_groups_are_normalised_by_their_own_statistics(training: bool) -> None:
    """As if each group were a batch of its own in training, with the gradient through its mean and variance."""
    torch.manual_seed(0)
    network = build("wrn-10-1-batch", 1)
    for parameter in network.parameters():  # scales and shifts that are not 1 and 0
        parameter.data += 0.1 * torch.randn_like(parameter)
    images = torch.rand(12, 1, 8, 8).requires_grad_()
    network.train()
    expected = torch.cat([network(images[i : i + 4]) for i in (0, 4, 8)])
    (gradient,) = torch.autograd.grad(expected.square().sum(), images)
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with grouped_statistics(network, 4):
        found = network(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), images)[0], gradient, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()
    assert not torch.allclose(network(images), found, atol=1e-2)  # the layers are as they were
