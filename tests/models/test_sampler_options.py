"""Options of the samplers that depart from the released code: decayed SGLD, running gamma, a plain p(x) stream."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.family import Batch, Iteration
from bench_models.configs import GMMCGenConfig, GMMCSamplerConfig, JEMConfig, SGLDConfig
from bench_models.gmmc import GMMCClassifier, GMMCGen, center_regression
from bench_models.jem import JEM, langevin
from bench_models.wide_resnet import WideResNet


def quadratic(x: Tensor) -> Tensor:
    """log p with gradient -x."""
    return -0.5 * x.square().flatten(1).sum(dim=1)


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
def test_step_and_noise_decay_polynomially(power: float) -> None:
    start = torch.tensor([2.0, -1.0]).view(2, 1, 1, 1)
    noises = torch.randn(4, 2, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    sampler = SGLDConfig(step_size=0.5, noise=0.1, decay_power=power)
    expected = start
    for t in range(4):
        factor = (1 + t) ** -power
        expected = expected - 0.5 * factor * expected + 0.1 * factor * noises[t]
    out = langevin(quadratic, start, sampler, 4, lambda step, _: noises[step])
    torch.testing.assert_close(out, expected)


def gen(**sampler: object) -> tuple[GMMCGen, GMMCClassifier]:
    config = GMMCGenConfig(sampler=GMMCSamplerConfig(steps=1, buffer=20, **sampler))  # type: ignore[arg-type]
    family = GMMCGen(config)
    torch.manual_seed(0)
    return family, family.build(WideResNet(10, 1, in_channels=1), 3, (1, 8, 8))


def test_running_gamma_follows_the_energy_of_real_batches() -> None:
    family, model = gen(gamma_source="running")
    buffer = family.start(model, torch.Generator().manual_seed(1))
    batch = Batch(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]))
    expected = None
    for index in range(3):
        with torch.no_grad():
            energy = center_regression(model.features(batch.images), model.centers[batch.labels]).mean().double()
        now = 2 * energy / 64
        expected = now if expected is None else expected + 0.01 * (now - expected)
        family.training_step(
            model, {"train": batch}, buffer, Iteration(index, 0, 3, torch.Generator().manual_seed(index))
        )
        torch.testing.assert_close(model.gamma2, expected)


def test_running_gamma_is_what_targets_are_drawn_with() -> None:
    _, model = gen(gamma_source="running")
    seen: list[Tensor] = []

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        out = torch.ones(shape)
        seen.append(out)
        return out

    start, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    wide = GMMCSamplerConfig(steps=1, gamma=0.001, gamma_source="running")
    before = model.descend(start, labels, noise, wide)
    constant = model.descend(start, labels, noise, GMMCSamplerConfig(steps=1, gamma=0.001))
    torch.testing.assert_close(before, constant)  # no estimate yet: the constant
    model.gamma2.fill_(4.0)
    torch.testing.assert_close(
        model.descend(start, labels, noise, wide),
        model.descend(start, labels, noise, GMMCSamplerConfig(steps=1, gamma=2.0)),
    )
    assert len(seen) == 4


def test_the_density_stream_of_jem_can_be_plain() -> None:
    assert JEM(JEMConfig()).streams()["density"].augment
    plain = JEM(JEMConfig(augment_density=False)).streams()
    assert not plain["density"].augment
    assert plain["train"].augment
    assert not JEM(JEMConfig(augment=False)).streams()["density"].augment
