"""The training steps of GMMC: Gen, and Joint around its switch. Dis is in ``test_gmmc``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.configs import GMMCDisConfig, GMMCGenConfig, GMMCJointConfig, GMMCSamplerConfig
from bench_models.gmmc import GMMCClassifier, GMMCDis, GMMCGen, GMMCJoint
from bench_models.replay import ReplayBuffer
from bench_models.wide_resnet import WideResNet
from torch import Tensor, nn

from bench.family import Batch, Iteration
from bench.rng import indexed_noise

SHAPE = (1, 2, 3)
K = 4


def sampler(**values: Any) -> GMMCSamplerConfig:
    return GMMCSamplerConfig(**{"steps": 3, "buffer": 40, "reinit": 0.25, **values})


def buffer(shape: tuple[int, int, int] = SHAPE, size: int = 40) -> ReplayBuffer:
    return ReplayBuffer(size, shape, K, seed=7, device="cpu")


def at(index: int = 0, per_epoch: int = 10) -> Iteration:
    return Iteration(index, index // per_epoch, per_epoch, torch.Generator().manual_seed(3))


def batch(pictures: Callable[..., Tensor], n: int = 8, shape: tuple[int, int, int] = SHAPE) -> dict[str, Batch]:
    return {"train": Batch(pictures(n, shape, seed=1), (torch.arange(n) * 3) % K)}


@pytest.mark.parametrize("labels", ["batch", "buffer"])
@pytest.mark.parametrize("mode", ["staged", "inject"])
def test_a_generative_step_by_hand(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor], labels: str, mode: str
) -> None:
    """Algorithm 1: chains go to z ~ N(mu, gamma^2 I), but their energy is that to mu itself; L = fp - beta fq."""
    a, step_size, gamma, beta = 1.5, 0.02, 3.0, 0.4
    settings = sampler(step_size=step_size, gamma=gamma, labels=labels, mode=mode)
    family = GMMCGen(GMMCGenConfig(beta=beta, sampler=settings))
    model = family.build(flat(a), K, SHAPE)
    given, state, twin = batch(pictures), buffer(), buffer()
    step = family.training_step(model, given, state, at())

    real = given["train"]
    draw = twin.draw(8, seed=at().seed("draw"), labels=real.labels if labels == "batch" else None, reinit=0.25)
    noise = indexed_noise(at().seed("sampler"), torch.arange(8), "cpu")
    x = draw.images.double().flatten(1)
    centers = model.centers.double()
    z = centers[draw.labels]
    for index in range(3):
        if index == 0 or mode == "inject":
            z = centers[draw.labels] + gamma * noise(index, (8, 6)).double()
        x = (x - step_size * a * (a * x - z)).clamp(-1, 1)
    samples = x.view(8, *SHAPE).float()
    twin.write_back(draw, samples)
    assert torch.allclose(state.images, twin.images, atol=1e-6)
    assert torch.equal(state.labels, twin.labels)
    assert torch.equal(state.age, twin.age)

    fp = 0.5 * (a * (2 * real.images - 1).flatten(1) - model.centers[real.labels]).square().sum(1).mean()
    fq = 0.5 * (a * samples.flatten(1) - model.centers[draw.labels]).square().sum(1).mean()
    assert step.logs["fp"].item() == pytest.approx(fp.item(), rel=1e-5)
    assert step.logs["fq"].item() == pytest.approx(fq.item(), rel=1e-5)
    assert step.loss.item() == pytest.approx((fp - beta * fq).item(), rel=1e-5)

    # d/da of 0.5 ||a v - mu||^2 is v . (a v - mu); samples are data, so nothing goes through the chains.
    step.loss.backward()  # type: ignore[no-untyped-call]
    parameter = next(model.parameters())
    assert parameter.grad is not None
    v, w = (2 * real.images - 1).flatten(1), samples.flatten(1)
    slope = (v * (a * v - model.centers[real.labels])).sum(1).mean()
    slope -= beta * (w * (a * w - model.centers[draw.labels])).sum(1).mean()
    assert parameter.grad.item() == pytest.approx(slope.item(), rel=1e-4)


def test_class_conditional_draws_keep_the_labels_of_the_buffer(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]
) -> None:
    family = GMMCGen(GMMCGenConfig(sampler=sampler(steps=1, labels="batch")))
    model, state = family.build(flat(), K, SHAPE), buffer()
    for index in range(40):
        family.training_step(model, batch(pictures), state, at(index))
    assert torch.equal(state.labels, torch.arange(40) // 10)
    assert (state.age > 0).all()


def test_unconditional_draws_need_not(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    family = GMMCGen(GMMCGenConfig(sampler=sampler(steps=1, labels="buffer", reinit=0.5)))
    model, state = family.build(flat(), K, SHAPE), buffer()
    for index in range(40):
        family.training_step(model, batch(pictures), state, at(index))
    assert not torch.equal(state.labels, torch.arange(40) // 10)


def test_chains_start_from_the_configured_buffer(flat: Callable[..., nn.Module]) -> None:
    family = GMMCGen(GMMCGenConfig(sampler=sampler(buffer=24)))
    state = family.start(family.build(flat(), K, SHAPE), torch.Generator().manual_seed(0))
    assert state.images.shape == (24, *SHAPE)
    assert torch.equal(state.labels, torch.arange(24) // 6)
    assert state.images.min() < -0.9
    assert not state.age.any()


# --- joint ------------------------------------------------------------------------------------------------------


def test_beta_switches_at_the_first_iteration_of_its_epoch() -> None:
    family = GMMCJoint(GMMCJointConfig(epochs=6, start_generative=3, beta=0.5, sampler=sampler()))
    assert [family.beta(at(index)) for index in (0, 15, 29, 30, 31, 59)] == [0, 0, 0, 0.5, 0.5, 0.5]


def test_beta_ramps_linearly_over_its_epochs() -> None:
    family = GMMCJoint(GMMCJointConfig(epochs=9, start_generative=3, ramp_epochs=2, beta=0.5, sampler=sampler()))
    found = [family.beta(at(index)) for index in range(28, 54)]
    assert found[:2] == [0, 0]
    assert found[2:22] == pytest.approx([0.5 * k / 20 for k in range(1, 21)])
    assert found[22:] == [0.5] * 4


def test_a_run_that_is_generative_from_the_start() -> None:
    family = GMMCJoint(GMMCJointConfig(epochs=2, start_generative=0, sampler=sampler()))
    assert family.beta(at(0)) == 0.5


class Untouchable:
    """A buffer that nobody may look at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the buffer's {name} was used")


def test_the_discriminative_phase_is_dis_and_leaves_the_buffer_alone(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]
) -> None:
    joint = GMMCJoint(GMMCJointConfig(epochs=6, start_generative=3, sampler=sampler()))
    dis = GMMCDis(GMMCDisConfig())
    model = joint.build(flat(), K, SHAPE)
    state: Any = Untouchable()
    step = joint.training_step(model, batch(pictures), state, at(29))
    assert step.loss.item() == dis.training_step(model, batch(pictures), None, at()).loss.item()
    assert set(step.logs) == {"fp"}
    with pytest.raises(AssertionError, match="buffer"):
        joint.training_step(model, batch(pictures), state, at(30))


def test_the_generative_phase_is_gen(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    joint = GMMCJoint(GMMCJointConfig(epochs=6, start_generative=3, beta=0.3, sampler=sampler()))
    gen = GMMCGen(GMMCGenConfig(beta=0.3, sampler=sampler()))
    model = joint.build(flat(), K, SHAPE)
    states = buffer(), buffer()
    one = joint.training_step(model, batch(pictures), states[0], at(45))
    other = gen.training_step(model, batch(pictures), states[1], at(45))
    assert one.loss.item() == other.loss.item()
    assert torch.equal(states[0].images, states[1].images)


# --- side effects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [GMMCGen(GMMCGenConfig(sampler=sampler())), GMMCDis(GMMCDisConfig())])
def test_a_step_leaves_modes_and_flags_alone(family: Any, pictures: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model: GMMCClassifier = family.build(WideResNet(10, 1, in_channels=1), K, (1, 8, 8))
    model.backbone.eval()
    next(model.parameters()).requires_grad_(False)
    before = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    assert {training for training, _ in before} == {True, False}
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    family.training_step(model, batch(pictures, 4, (1, 8, 8)), buffer((1, 8, 8)), at())
    assert [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(-1), weights[name].nan_to_num(-1)), name


def test_a_step_logs_detached_scalars(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    family = GMMCGen(GMMCGenConfig(sampler=sampler()))
    step = family.training_step(family.build(flat(), K, SHAPE), batch(pictures), buffer(), at())
    assert step.loss.requires_grad
    assert not any(value.requires_grad for value in step.logs.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_the_gpu() -> None:
    torch.manual_seed(0)
    family = GMMCGen(GMMCGenConfig(sampler=sampler()))
    model = family.build(WideResNet(10, 1, in_channels=1), K, (1, 8, 8)).to("cuda")
    state = family.start(model, torch.Generator("cuda").manual_seed(0))
    assert state.images.device.type == "cuda"
    given = {"train": Batch(torch.rand(8, 1, 8, 8, device="cuda"), torch.arange(8, device="cuda") % K)}
    where = Iteration(0, 0, 1, torch.Generator("cuda").manual_seed(0))
    step = family.training_step(model, given, state, where)
    step.loss.backward()  # type: ignore[no-untyped-call]
    assert step.loss.isfinite()
    assert step.loss.device.type == "cuda"
