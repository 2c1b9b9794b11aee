from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.configs import JEMConfig, SGLDConfig
from bench_models.jem import JEM, JEMClassifier
from bench_models.replay import ReplayBuffer
from bench_models.wide_resnet import WideResNet
from torch import Tensor, nn

from bench.family import Batch, Iteration
from bench.rng import indexed_noise, indexed_uniform

SHAPE = (1, 2, 3)
K = 4


def jem(backbone: nn.Module, sampler: dict[str, Any] | None = None, **config: Any) -> tuple[JEM, JEMClassifier]:
    family = JEM(JEMConfig(sampler=SGLDConfig(**{"steps": 3, "buffer": 40, **(sampler or {})}), **config))
    torch.manual_seed(2)
    return family, family.build(backbone, K, SHAPE)


def buffer(seed: int = 7, size: int = 40) -> ReplayBuffer:
    return ReplayBuffer(size, SHAPE, K, seed=seed, device="cpu")


def iteration(seed: int = 3) -> Iteration:
    return Iteration(0, 0, 10, torch.Generator().manual_seed(seed))


def batches(pictures: Callable[..., Tensor], n: int = 8) -> dict[str, Batch]:
    labels = torch.arange(n) % K
    return {"density": Batch(pictures(n, seed=1), labels.flip(0)), "train": Batch(pictures(n, seed=2), labels)}


# --- the density ----------------------------------------------------------------------------------------------


def test_its_density_is_that_of_the_images_whatever_their_scale(
    flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]
) -> None:
    _, model = jem(flat())
    x = pictures(5)
    assert torch.allclose(model.log_density_of_scaled(2 * x - 1), model.log_density(x), atol=1e-6)
    assert torch.allclose(model.log_density(x), torch.logsumexp(model.logits(x), dim=1), atol=1e-6)


# --- samples --------------------------------------------------------------------------------------------------


def sgld_by_hand(
    model: JEMClassifier, start: Tensor, noise: list[Tensor], step_size: float, sd: float, labels: Tensor | None
) -> Tensor:
    """The update of the JEM code for phi(x) = x: the input gradient is W^T softmax(Wx + b), or the row of W."""
    weight, bias = model.head.weight.detach().double(), model.head.bias.detach().double()
    x = start.double().flatten(1)
    for eps in noise:
        share = torch.softmax(x @ weight.T + bias, dim=1)
        gradient = share @ weight if labels is None else weight[labels]
        x = x + step_size * gradient + sd * eps.double().flatten(1)
    return x.view_as(start)


@pytest.mark.parametrize("steps", [1, 4])
def test_samples_of_a_class_follow_its_logit(flat: Callable[..., nn.Module], steps: int) -> None:
    _, model = jem(flat(), {"step_size": 0.1, "noise": 0.05})
    labels, index = torch.tensor([1, 3, 0]), torch.tensor([10, 4, 99])
    start = 0.4 + 0.2 * torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    draw = indexed_noise(5, index, "cpu")
    noise = [draw(step, (3, *SHAPE)) for step in range(steps)]
    expected = sgld_by_hand(model, 2 * start - 1, noise, 0.1, 0.05, labels)
    made = model.sample(labels, seed=5, index=index, steps=steps, start=start)
    assert torch.allclose(made.double(), ((expected + 1) / 2).clamp(0, 1), atol=1e-6)


def test_samples_start_from_noise_that_belongs_to_the_index(flat: Callable[..., nn.Module]) -> None:
    _, model = jem(flat())
    index = torch.tensor([3, 1, 4])
    made = model.sample(torch.tensor([0, 0, 1]), seed=9, index=index, steps=0)
    assert torch.allclose(made, (indexed_uniform(9, index, SHAPE, "cpu") + 1) / 2)


def test_without_steps_given_it_takes_those_of_training(flat: Callable[..., nn.Module]) -> None:
    _, model = jem(flat(), {"steps": 2, "step_size": 0.1})
    arguments: dict[str, Any] = {"seed": 1, "index": torch.arange(2)}
    made = model.sample(torch.tensor([0, 1]), **arguments)
    assert torch.equal(made, model.sample(torch.tensor([0, 1]), steps=2, **arguments))
    assert not torch.equal(made, model.sample(torch.tensor([0, 1]), steps=3, **arguments))


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    torch.manual_seed(0)
    model = JEMClassifier(WideResNet(10, 1, in_channels=1), K, (1, 8, 8), SGLDConfig(steps=3)).eval()
    labels, index = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([7, 2, 50, 3, 8])
    together = model.sample(labels, seed=4, index=index)
    torch.manual_seed(123)  # the global generator plays no part
    alone = torch.cat([model.sample(labels[i : i + 1], seed=4, index=index[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(model.sample(labels[shuffled], seed=4, index=index[shuffled]), together[shuffled], atol=1e-5)
    assert torch.equal(together, model.sample(labels, seed=4, index=index))
    assert not torch.allclose(together, model.sample(labels, seed=5, index=index), atol=1e-2)


# --- the training step ----------------------------------------------------------------------------------------


def test_a_step_by_hand(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    """Draw, three SGLD steps with logsumexp as log density, write-back, and the three terms of the loss."""
    settings = {"step_size": 0.3, "noise": 0.02, "reinit": 0.25}
    family, model = jem(flat(), settings, px_weight=0.7, pyx_weight=1.3)
    given, state, twin = batches(pictures), buffer(), buffer()
    step = family.training_step(model, given, state, iteration())

    draw = twin.draw(8, seed=iteration().seed("draw"), reinit=0.25)
    noise_of = indexed_noise(iteration().seed("sampler"), torch.arange(8), "cpu")
    noise = [noise_of(index, (8, *SHAPE)) for index in range(3)]
    samples = sgld_by_hand(model, draw.images, noise, 0.3, 0.02, None)
    twin.write_back(draw, samples.float())
    assert torch.allclose(state.images, twin.images, atol=1e-6)
    assert torch.equal(state.labels, twin.labels)
    assert torch.equal(state.age, twin.age)

    fp = model.log_density(given["density"].images).mean()
    fq = model.log_density_of_scaled(samples.float()).mean()
    log_probs = torch.log_softmax(model.logits(given["train"].images), dim=1)
    entropy = -log_probs[torch.arange(8), given["train"].labels].mean()
    loss = -0.7 * (fp - fq) + 1.3 * entropy
    assert step.loss.item() == pytest.approx(loss.item(), abs=1e-5)
    assert step.logs["fp"].item() == pytest.approx(fp.item(), abs=1e-5)
    assert step.logs["fq"].item() == pytest.approx(fq.item(), abs=1e-5)
    assert step.logs["cross-entropy"].item() == pytest.approx(entropy.item(), abs=1e-5)

    # Samples are data: the gradient of the loss does not go through the chains.
    step.loss.backward()  # type: ignore[no-untyped-call]
    ours = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    theirs = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(ours) == 3
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_step_clamps_only_if_told_to(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    largest = {}
    for clamp in (False, True):
        family, model = jem(flat(), {"step_size": 5.0, "clamp": clamp})
        state = buffer()
        family.training_step(model, batches(pictures), state, iteration())
        largest[clamp] = state.images.abs().max().item()
    assert largest[True] == 1
    assert largest[False] > 1


def test_two_streams_of_which_the_first_drives_the_epoch(flat: Callable[..., nn.Module]) -> None:
    family, _ = jem(flat(), sigma=0.05)
    assert list(family.streams()) == ["density", "train"]
    assert {(spec.augment, spec.sigma) for spec in family.streams().values()} == {(True, 0.05)}


def test_a_step_logs_detached_scalars(flat: Callable[..., nn.Module], pictures: Callable[..., Tensor]) -> None:
    family, model = jem(flat())
    step = family.training_step(model, batches(pictures), buffer(), iteration())
    assert step.loss.requires_grad
    assert set(step.logs) == {"fp", "fq", "cross-entropy"}
    assert not any(value.requires_grad for value in step.logs.values())


def test_a_step_leaves_modes_and_flags_alone(pictures: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    family = JEM(JEMConfig(sampler=SGLDConfig(steps=2, buffer=12)))
    model = family.build(WideResNet(10, 1, in_channels=1), K, (1, 8, 8))
    model.backbone.eval()
    model.head.bias.requires_grad_(False)
    before = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    state = ReplayBuffer(12, (1, 8, 8), K, seed=0, device="cpu")
    labels = torch.arange(4)
    batch = Batch(pictures(4, (1, 8, 8)), labels)
    family.training_step(model, {"density": batch, "train": batch}, state, iteration())
    assert [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_parameters_are_those_of_the_softmax_classifier() -> None:
    with torch.device("meta"):
        model = JEMClassifier(WideResNet(28, 10), 10, (3, 32, 32), SGLDConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 36_471_338


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_the_gpu() -> None:
    torch.manual_seed(0)
    family = JEM(JEMConfig(sampler=SGLDConfig(steps=2, buffer=40)))
    model = family.build(WideResNet(10, 1, in_channels=1), K, (1, 8, 8)).to("cuda")
    state = family.start(model, torch.Generator("cuda").manual_seed(0))
    assert state.images.device.type == "cuda"
    images = torch.rand(8, 1, 8, 8, device="cuda")
    batch = Batch(images, torch.arange(8, device="cuda") % K)
    where = Iteration(0, 0, 1, torch.Generator("cuda").manual_seed(0))
    step = family.training_step(model, {"density": batch, "train": batch}, state, where)
    step.loss.backward()  # type: ignore[no-untyped-call]
    assert step.loss.isfinite()
    labels, index = torch.arange(4, device="cuda"), torch.arange(4, device="cuda")
    on_gpu = model.sample(labels, seed=1, index=index)
    on_cpu = model.cpu().sample(labels.cpu(), seed=1, index=index.cpu())
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-3)
