from __future__ import annotations

import itertools
import math
import weakref
from typing import Any

import pytest
import torch
from bench_models.langevin import regress_to, sgld
from bench_models.wide_resnet import WideResNet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.rng import NoiseFn, indexed_noise, indexed_uniform

SHAPE = (2, 4, 5)
SIZE = math.prod(SHAPE)


def images(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, *SHAPE, generator=generator, dtype=torch.float64) - 1


def network(seed: int = 0) -> WideResNet:
    torch.manual_seed(seed)
    return WideResNet(10, 1, in_channels=SHAPE[0]).double()


def evidence(net: nn.Module) -> Any:
    return lambda x: torch.logsumexp(net(x), dim=1)


def seeded(seed: int = 3) -> NoiseFn:
    """Noise for any number of rows."""
    return lambda step, shape: indexed_noise(seed, torch.arange(shape[0]), "cpu")(step, shape)


def zeros(step: int) -> Tensor:
    return torch.zeros(3, 64, dtype=torch.float64)


# --- the dynamics -------------------------------------------------------------------------------------------


def test_no_steps_give_a_copy() -> None:
    start = images(3)
    for end in (
        sgld(
            evidence(network()),
            start,
            steps=0,
            step_size=1.0,
            noise=0.01,
            noise_fn=seeded(),
            clamp=(-0.1, 0.1),
        ),
        regress_to(network(), start, zeros, steps=0, clamp=(-0.1, 0.1)),
    ):
        assert torch.equal(end, start)
        assert end.data_ptr() != start.data_ptr()


def test_step_size_zero_gives_the_identity_plus_noise() -> None:
    start = images(3)
    end = sgld(evidence(network()), start, steps=4, step_size=0.0, noise=0.01, noise_fn=seeded())
    noise = seeded()
    expected = start + 0.01 * sum(noise(step, tuple(start.shape)).double() for step in range(4))
    torch.testing.assert_close(end, expected)
    assert torch.equal(regress_to(network(), start, zeros, steps=4, step_size=0.0), start)


@settings(deadline=None, max_examples=40)
@given(
    steps=st.integers(0, 8),
    step_size=st.floats(0, 0.5),
    noise=st.floats(0, 0.5),
    precision=st.floats(0, 3),
    clamp=st.sampled_from([None, (-1.0, 1.0), (-0.3, 0.8)]),
)
def test_sgld_on_a_gaussian_follows_its_recursion(
    steps: int, step_size: float, noise: float, precision: float, clamp: tuple[float, float] | None
) -> None:
    mean = images(1, seed=7)
    start = images(3)

    def log_density(x: Tensor) -> Tensor:
        return -0.5 * precision * (x - mean).square().flatten(1).sum(1)

    end = sgld(log_density, start, steps=steps, step_size=step_size, noise=noise, noise_fn=seeded(), clamp=clamp)
    draw, expected = seeded(), start
    for step in range(steps):
        expected = expected - step_size * precision * (expected - mean)
        expected = expected + noise * draw(step, tuple(start.shape)) if noise > 0 else expected
        expected = expected.clamp(*clamp) if clamp else expected
    torch.testing.assert_close(end, expected)


def test_sgld_without_noise_contracts_geometrically() -> None:
    mean, start = images(1, seed=7), images(3)
    end = sgld(lambda x: -0.5 * (x - mean).square().flatten(1).sum(1), start, steps=20, step_size=0.1, noise=0.0)
    torch.testing.assert_close(end, mean + 0.9**20 * (start - mean))


def test_sgld_reaches_the_stationary_variance() -> None:
    # x <- (1 - h) x + s n is an autoregression with variance s^2 / (1 - (1 - h)^2).
    start = torch.zeros(400, *SHAPE)
    end = sgld(
        lambda x: -0.5 * x.square().flatten(1).sum(1),
        start,
        steps=60,
        step_size=0.2,
        noise=0.3,
        noise_fn=indexed_noise(0, torch.arange(400), "cpu"),
    )
    variance = 0.3**2 / (1 - 0.8**2)
    z = (end.square().mean() / variance - 1) / math.sqrt(2 / end.numel())
    assert abs(z) < 5


@settings(deadline=None, max_examples=40)
@given(
    steps=st.integers(0, 8),
    step_size=st.floats(0, 0.1),
    clamp=st.sampled_from([None, (-1.0, 1.0), (-0.3, 0.8)]),
    redraw=st.booleans(),
)
def test_regression_with_linear_features_follows_its_recursion(
    steps: int, step_size: float, clamp: tuple[float, float] | None, redraw: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(SIZE, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(9, 3, 6, generator=generator, dtype=torch.float64)
    start = images(3)
    end = regress_to(
        lambda x: x.flatten(1) @ matrix,
        start,
        targets.__getitem__ if redraw else targets[0],
        steps=steps,
        step_size=step_size,
        clamp=clamp,
    )
    expected = start.flatten(1)
    for step in range(steps):
        expected = expected - step_size * (expected @ matrix - targets[step if redraw else 0]) @ matrix.T
        expected = expected.clamp(*clamp) if clamp else expected
    torch.testing.assert_close(end.flatten(1), expected)


def test_default_regression_step_is_the_batch_mean_of_the_original_at_64() -> None:
    net, start = network(), images(64)
    target = 10 * torch.randn(64, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    leaf = start.clone().requires_grad_()
    loss = (0.5 * (net(leaf) - target).square().sum(1)).mean()
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert (gradient.abs() > 1e-6).any()
    torch.testing.assert_close(regress_to(net, start, target, steps=1), (start - 1.0 * gradient).clamp(-1, 1))


def test_regression_brings_features_to_targets() -> None:
    net, start = network(), images(4)
    with torch.no_grad():
        target = net(images(4, seed=9))
        before = (net(start) - target).square().sum(1)
        after = (net(regress_to(net, start, target, steps=50, step_size=1.0)) - target).square().sum(1)
    assert (after < 0.5 * before).all()


# --- one row does not see the others ------------------------------------------------------------------------


def test_rows_do_not_depend_on_their_batch() -> None:
    net, start = network(), images(5)
    target = 5 * torch.randn(5, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    index = torch.tensor([40, 3, 17, 2**40, 0])

    def both(rows: list[int]) -> tuple[Tensor, Tensor]:
        noise_fn = indexed_noise(11, index[rows], "cpu")
        return (
            sgld(evidence(net), start[rows], steps=5, step_size=1.0, noise=0.01, noise_fn=noise_fn),
            regress_to(net, start[rows], target[rows], steps=5),
        )

    for whole, name in zip(both([0, 1, 2, 3, 4]), ("sgld", "regress_to"), strict=True):
        assert (whole - start).abs().max() > 1e-4, name
    for rows in ([0], [1], [2], [3], [4], [4, 2], [3, 1, 0]):
        for part, whole in zip(both(rows), both([0, 1, 2, 3, 4]), strict=True):
            torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-12)


# --- what the samplers must not touch -----------------------------------------------------------------------


@pytest.mark.parametrize("grad_mode", ["enabled", "no_grad", "inference"])
def test_nothing_but_the_result_changes(grad_mode: str) -> None:
    net = nn.Sequential(network(), nn.Dropout(0.0), nn.Linear(64, 6).double())
    net[1].eval()
    for index, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        if index % 3 == 2:
            parameter.grad = torch.full_like(parameter, 0.25)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [parameter.requires_grad for parameter in net.parameters()]
    modes = [module.training for module in net.modules()]
    assert any(flags)
    assert not all(flags)
    assert any(modes)
    assert not all(modes)
    global_state = torch.get_rng_state()
    context = {
        "enabled": torch.enable_grad(),
        "no_grad": torch.no_grad(),
        "inference": torch.inference_mode(),
    }[grad_mode]
    with context:
        start = images(3)
        kept = start.clone()
        ends = (
            sgld(evidence(net), start, steps=3, step_size=1.0, noise=0.01, noise_fn=seeded()),
            regress_to(net, start, torch.ones(3, 6, dtype=torch.float64), steps=3, step_size=1.0),
        )
        assert torch.equal(start, kept)
    for end in ends:
        assert not torch.equal(end, kept)
        assert not end.requires_grad
        assert end.grad_fn is None
        assert not end.is_inference()
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert [module.training for module in net.modules()] == modes
    for index, parameter in enumerate(net.parameters()):
        if index % 3 == 2:
            assert parameter.grad is not None
            assert (parameter.grad == 0.25).all()
        else:
            assert parameter.grad is None
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), global_state)


def test_a_start_that_wants_gradients_is_left_alone() -> None:
    start = images(3).requires_grad_()
    end = sgld(evidence(network()), start, steps=2, step_size=1.0, noise=0.0)
    assert start.grad is None
    assert start.requires_grad
    assert not end.requires_grad


def test_no_graph_outlives_its_step() -> None:
    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    net = network()
    saved: list[weakref.ref[Saved]] = []
    alive: list[int] = []

    def pack(tensor: Tensor) -> Saved:
        held = Saved(tensor)
        saved.append(weakref.ref(held))
        return held

    def count_and(output: Any) -> Any:
        def function(x: Tensor) -> Tensor:
            alive.append(sum(reference() is not None for reference in saved))
            result: Tensor = output(x)
            return result

        return function

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        sgld(count_and(evidence(net)), images(2), steps=3, step_size=1.0, noise=0.0)
        regress_to(count_and(net), images(2), zeros(0)[:2], steps=3)
    assert len(saved) > 20
    assert alive == [0] * 6


def test_nothing_waits_for_the_device() -> None:
    # Meta tensors have shapes and no values: reading one on the host raises.
    with torch.device("meta"):
        net = WideResNet(10, 1)
        start, target = torch.empty(4, 3, 8, 8), torch.empty(4, 64)
    noise_fn = indexed_noise(0, torch.arange(4), "meta")
    clamp = (-1.0, 1.0)
    assert sgld(evidence(net), start, steps=2, step_size=1.0, noise=0.1, noise_fn=noise_fn, clamp=clamp).is_meta
    assert regress_to(net, start, target, steps=2).is_meta
    assert indexed_uniform(0, torch.arange(4), (3, 8, 8), "meta").shape == (4, 3, 8, 8)


def test_channels_last_stays() -> None:
    start = images(3).to(memory_format=torch.channels_last)
    end = sgld(evidence(network()), start, steps=2, step_size=1.0, noise=0.01, noise_fn=seeded())
    plain = sgld(evidence(network()), images(3), steps=2, step_size=1.0, noise=0.01, noise_fn=seeded())
    assert end.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(end, plain)


# --- wrong arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps must not be negative"),
        ({"step_size": -0.1}, "step_size must be finite and not negative"),
        ({"step_size": math.nan}, "step_size must be finite"),
        ({"noise": math.inf}, "noise must be finite"),
        ({"noise": 0.1}, "needs a noise_fn"),
        ({"clamp": (1.0, -1.0)}, "low < high"),
        ({"start": torch.zeros(3, 8)}, "start must be floating point images"),
        ({"start": torch.zeros(3, 2, 4, 4, dtype=torch.uint8)}, "start must be floating point images"),
    ],
)
def test_sgld_refuses(options: dict[str, Any], message: str) -> None:
    arguments = {"start": images(3), "steps": 1, "step_size": 1.0, "noise": 0.0, **options}
    with pytest.raises(ValueError, match=message):
        sgld(lambda x: x.flatten(1).sum(1), arguments.pop("start"), **arguments)


@pytest.mark.parametrize("reduce", [lambda x: x.mean(), lambda x: x.flatten(1)])
def test_sgld_refuses_anything_but_one_value_an_image(reduce: Any) -> None:
    with pytest.raises(ValueError, match=r"one value an image, shape \(3,\)"):
        sgld(reduce, images(3), steps=1, step_size=1.0, noise=0.0)


@pytest.mark.parametrize("shape", [(SIZE,), (1, SIZE), (3, 1), (3, SIZE, 1)])
def test_targets_are_not_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="features and targets must both have shape"):
        regress_to(lambda x: x.flatten(1), images(3), torch.zeros(shape), steps=1)


# --- proximal steps -----------------------------------------------------------------------------------------


def quadratic(x: Tensor) -> Tensor:
    """Log p with gradient -x."""
    return -0.5 * x.square().flatten(1).sum(dim=1)


def test_a_proximal_step_on_a_quadratic_energy_by_hand() -> None:
    start = torch.tensor([3.0, -0.2, 0.5, -7.0]).view(4, 1, 1, 1)
    out = sgld(quadratic, start, steps=1, step_size=0.5, noise=0.0, bound=1.0)
    assert out.flatten().tolist() == pytest.approx([2.5, -0.1, 0.25, -6.5])


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 3), st.floats(0.01, 2), st.integers(1, 5))
def test_proximal_steps_stay_in_their_ball_and_a_wide_one_changes_nothing(
    bound: float, step_size: float, steps: int
) -> None:
    start, net = images(2), network()
    ends = [sgld(evidence(net), start, steps=k, step_size=step_size, noise=0.0, bound=bound) for k in range(steps + 1)]
    for before, after in itertools.pairwise(ends):
        assert (after - before).abs().max() <= step_size * bound * (1 + 1e-9)
    free = sgld(evidence(net), start, steps=steps, step_size=step_size, noise=0.0)
    wide = sgld(evidence(net), start, steps=steps, step_size=step_size, noise=0.0, bound=1e6)
    assert torch.equal(wide, free)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_bound_that_allows_nothing_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound must be positive"):
        sgld(quadratic, images(1), steps=1, step_size=0.5, noise=0.0, bound=bound)
