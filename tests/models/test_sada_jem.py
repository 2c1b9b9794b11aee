"""SADA-JEM: its streams, and sharpness-aware steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.jem_pp import JEMPPClassifier
from bench_models.sada_jem import SADAJEM
from bench_models.successor_configs import SADAJEMConfig, SADASamplerConfig
from bench_models.wide_resnet import build
from torch import Tensor, nn

from bench.family import Batch, Iteration, Step, Update

SHAPE = (1, 2, 3)
K = 4
Make = Callable[..., nn.Module]


def iteration() -> Iteration:
    return Iteration(0, 0, 10, torch.Generator().manual_seed(3))


def batches(pictures: Callable[..., Tensor], n: int = 8, shape: tuple[int, int, int] = SHAPE) -> dict[str, Batch]:
    labels = torch.arange(n) % K
    return {"density": Batch(pictures(n, shape, seed=1), labels), "train": Batch(pictures(n, shape, seed=2), labels)}


def sada(backbone: nn.Module, shape: tuple[int, int, int] = SHAPE, **config: Any) -> tuple[SADAJEM, JEMPPClassifier]:
    family = SADAJEM(SADAJEMConfig(sampler=SADASamplerConfig(steps=2, buffer=40), **config))
    torch.manual_seed(2)
    model = family.build(backbone, K, shape)
    images = torch.rand(24, *shape, generator=torch.Generator().manual_seed(8))
    family.before_training(model, lambda: [Batch(images, torch.arange(24) % K)])
    return family, model


def test_the_labelled_stream_drives_the_epoch_and_that_of_p_x_is_plain(flat: Make) -> None:
    family, _ = sada(flat())
    streams = family.streams()
    assert list(streams) == ["train", "density"]
    assert (streams["train"].augment, streams["density"].augment) == (True, False)
    assert (streams["train"].sigma, streams["density"].sigma) == (0.0, 0.0)


@pytest.mark.parametrize(("adaptive", "rho"), [(True, 2.0), (False, 0.3)])
def test_a_sharpness_aware_step_by_hand(
    adaptive: bool, rho: float, flat: Make, pictures: Callable[..., Tensor]
) -> None:
    """The gradient at w + rho w^2 g / ||w g|| (or w + rho g / ||g||), of the same samples, applied to w."""
    family, model = sada(flat(), rho=rho, adaptive=adaptive)
    state = family.start(model, torch.Generator().manual_seed(0))
    given = batches(pictures)
    step = family.training_step(model, given, state, iteration())
    samples = state.images[state.age > 0]  # the chains of this step, up to slots that were drawn twice
    assert 0 < len(samples) <= 8

    before = [p.detach().clone() for p in model.parameters()]
    gradients = torch.autograd.grad(step.loss, list(model.parameters()), retain_graph=True)
    scaled = [g * w.abs() if adaptive else g for g, w in zip(gradients, before, strict=True)]
    norm = torch.cat([g.flatten() for g in scaled]).norm()
    assert step.again is not None
    for p, w, g in zip(model.parameters(), before, gradients, strict=True):
        p.data = w + rho * (w**2 * g if adaptive else g) / norm
    there = torch.autograd.grad(step.again(), list(model.parameters()))
    assert max(float((a - b).abs().max()) for a, b in zip(gradients, there, strict=True)) > 1e-3
    for p, w in zip(model.parameters(), before, strict=True):
        p.data = w.clone()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    family.update(model, Update(step, model, optimizer))
    for p, w, g in zip(model.parameters(), before, there, strict=True):
        torch.testing.assert_close(p.detach(), w - 0.1 * g)


def test_the_second_pass_leaves_the_running_statistics(pictures: Callable[..., Tensor]) -> None:
    shape = (1, 8, 8)
    family, model = sada(build("wrn-10-1-batch", 1), shape)
    model.train()
    state = family.start(model, torch.Generator().manual_seed(0))
    step: Step = family.training_step(model, batches(pictures, 8, shape), state, iteration())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_mean.clone() for m in norms if m.running_mean is not None]
    assert all(bool(mean.abs().sum() > 0) for mean in before)
    weights = [p.detach().clone() for p in model.parameters()]
    family.update(model, Update(step, model, torch.optim.SGD(model.parameters(), lr=0.1)))
    for m, mean in zip(norms, before, strict=True):
        assert m.running_mean is not None
        assert torch.equal(m.running_mean, mean)
        assert m.momentum == 0.9
    assert any(not torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
