"""Flows of normflows (examples/flows): exact densities, against normflows itself, Jacobians and integrals."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench.cli.main import cli
from bench.family import Step, Update
from bench.spec import Task

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = pytest.mark.peer
pytest.importorskip("normflows", reason="pip install normflows")
FOLDER = str(Path(__file__).parents[2] / "examples" / "flows")
sys.path.insert(0, FOLDER)

from bench_flows import spec  # noqa: E402
from bench_flows.dequantised import bits, dequantised, normal  # noqa: E402
from bench_flows.glow import ClassGlowModel, GlowModel  # noqa: E402
from bench_flows.residual import ResidualFlow, ResidualFlowModel, moved  # noqa: E402

TINY = {"scales": 1, "depth": 2, "width": 8}


def disturbed(model: Any, shape: tuple[int, int, int]) -> Any:
    """A model in eval mode whose parameters are not those of a fresh one, which would be nearly linear."""
    generator = torch.Generator().manual_seed(3)
    scale = 0.2 if math.prod(shape) <= 64 else 0.02
    model.train().log_density(torch.rand((64, *shape), generator=generator))  # activation normalisation
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def glow(shape: tuple[int, int, int], **settings: Any) -> GlowModel:
    torch.manual_seed(0)
    return disturbed(GlowModel(3, shape, spec.GlowConfig(**{**TINY, **settings})), shape)


def classes(shape: tuple[int, int, int], **settings: Any) -> ClassGlowModel:
    torch.manual_seed(0)
    return disturbed(ClassGlowModel(3, shape, spec.GlowClassConfig(**{**TINY, **settings})), shape)


def residual(shape: tuple[int, int, int], **settings: Any) -> ResidualFlowModel:
    torch.manual_seed(0)
    config = spec.ResidualFlowConfig(**{"depth": 3, "width": 16, **settings})
    model = disturbed(ResidualFlowModel(3, shape, config), shape)
    sys.modules["normflows"].utils.update_lipschitz(model, 200)
    return model


def images(count: int, shape: tuple[int, int, int], seed: int = 5) -> torch.Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "scales"), [((1, 8, 8), 2), ((3, 32, 32), 3)])
def test_the_densities_of_glow_are_those_of_normflows(shape: tuple[int, int, int], scales: int) -> None:
    x = images(4, shape)
    model = glow(shape, scales=scales)
    with torch.no_grad():
        torch.testing.assert_close(model.log_density(x), model.flow.log_prob(x - 0.5, None))
        given = classes(shape, scales=scales)
        theirs = torch.stack([given.flow.log_prob(x - 0.5, torch.full((4,), label)) for label in range(3)], dim=1)
        torch.testing.assert_close(given.logits(x), theirs, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(
            given.log_density(x), torch.logsumexp(theirs, dim=1) - math.log(3), rtol=1e-4, atol=1e-2
        )
    assert float(theirs.std(dim=1).min()) > 0.1


def test_densities_of_glow_follow_from_the_jacobian() -> None:
    shape = (1, 2, 2)
    x, model = images(3, shape).double(), glow(shape).double()
    jacobian = torch.autograd.functional.jacobian(lambda y: model.encode(y)[0].sum(dim=0), x).flatten(2)
    (base,) = model.flow.q0
    latent = model.encode(x)[0]
    standard = torch.distributions.Normal(base.loc.flatten(), base.log_scale.flatten().exp())
    expected = standard.log_prob(latent).sum(dim=1) + torch.linalg.slogdet(jacobian.transpose(0, 1)).logabsdet
    torch.testing.assert_close(model.log_density(x), expected)


def test_the_density_of_glow_integrates_to_one() -> None:
    """By importance sampling from a wider normal distribution; density on all of the space, not [0, 1] alone."""
    shape = (1, 2, 2)
    model = glow(shape)
    latent = model.flow.q0[0].loc.flatten() + model.flow.q0[0].log_scale.flatten().exp() * torch.randn(20_000, 4)
    drawn = model.flow.forward_and_log_det([latent.reshape(-1, 4, 1, 1)])[0].flatten(1).detach().double()
    proposal = torch.distributions.MultivariateNormal(drawn.mean(dim=0), 2 * torch.cov(drawn.T))
    points = proposal.sample((200_000,))
    with torch.no_grad():
        density = model.double().log_density(points.reshape(-1, *shape) + 0.5)
    ratios = torch.exp(density - proposal.log_prob(points))
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert error < 0.02
    assert float(ratios.mean()) == pytest.approx(1, abs=4 * error)


def test_the_density_of_a_residual_flow_integrates_to_one() -> None:
    model = residual((1, 1, 2)).double()
    axis = torch.linspace(-12, 13, 801, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        total = torch.cat([model.log_density(part) for part in grid.split(50_000)]).exp().sum()
    assert float(total * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-3)


def test_residual_flows_agree_with_normflows_where_that_is_exact() -> None:
    """In two dimensions normflows has the determinant, too."""
    model, x = residual((1, 1, 2)), images(16, (1, 1, 2))
    theirs = model.flow.log_prob(x.flatten(1) - 0.5)
    torch.testing.assert_close(model.log_density(x), theirs.detach(), rtol=1e-4, atol=1e-4)


def test_residual_flows_agree_with_the_mean_of_the_estimates_of_normflows() -> None:
    model, x = residual((1, 3, 3)), images(2, (1, 3, 3))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - normflows draws numbers of terms from it
    estimates = torch.stack([model.flow.log_prob(x.flatten(1) - 0.5).detach() for _ in range(400)]).double()
    error = estimates.std(dim=0) / math.sqrt(len(estimates))
    exact = model.log_density(x).detach().double()
    assert float(estimates.std(dim=0).min()) > 0.01
    assert bool(((estimates.mean(dim=0) - exact).abs() < 4 * error + 1e-3).all())
    assert torch.equal(model.log_density(x), model.log_density(x))


def test_a_block_moves_points_and_gives_its_determinant() -> None:
    block, x = residual((1, 1, 3)).double().flow.flows[0].iresblock.nnet, torch.randn(4, 3, dtype=torch.float64)
    y, log_det = moved(block, x)
    torch.testing.assert_close(y, x + block(x))
    for row in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda point: point + block(point[None])[0], x[row])
        torch.testing.assert_close(log_det[row], torch.linalg.det(jacobian).abs().log())
    with torch.no_grad():
        assert not moved(block, x)[1].requires_grad


@pytest.mark.parametrize("build", [glow, classes, residual])
def test_samples_invert_the_flow_and_depend_on_seed_and_index_alone(build: Any) -> None:
    shape = (1, 2, 2)
    model = build(shape)
    labels, index = torch.tensor([0, 1, 2, 0]), torch.tensor([7, 1, 9, 4])
    made = model.sample(labels, seed=3, index=index)
    assert made.shape == (4, *shape)
    torch.testing.assert_close(model.sample(labels[2:], seed=3, index=index[2:]), made[2:])
    assert not torch.equal(model.sample(labels, seed=4, index=index), made)


def test_glow_decodes_what_it_encodes() -> None:
    model, x = glow((1, 8, 8), scales=2).double(), images(5, (1, 8, 8)).double()
    torch.testing.assert_close(model.decode(model.encode(x)[0]), x)


def test_samples_of_a_residual_flow_are_distributed_as_its_density_says() -> None:
    """The mean of any function of samples is its integral under the density."""
    model = residual((1, 1, 2))
    with torch.no_grad():  # most samples within [0, 1], which the clamp does not move
        model.flow.q0.loc.zero_()
        model.flow.q0.log_scale.fill_(-4.0)
    centre = model.sample(torch.zeros(1), seed=0, index=torch.arange(1)).flatten()
    made = model.sample(torch.zeros(4000), seed=0, index=torch.arange(4000)).flatten(1).double()
    low, high = made.min(dim=0).values - 0.1, made.max(dim=0).values + 0.1
    axes = [torch.linspace(float(a), float(b), 401, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        mass = model.double().log_density(grid.reshape(-1, 1, 1, 2)).exp()
    mass = mass / mass.sum()
    assert bool((made > 0).all() and (made < 1).all()), centre
    mean, error = mass @ grid, made.std(dim=0) / math.sqrt(len(made))
    assert bool(((made.mean(dim=0) - mean).abs() < 4 * error).all())


def test_the_estimated_and_the_exact_log_determinant_have_one_mean() -> None:
    shape = (1, 2, 2)
    model, x = residual(shape), images(2, shape)
    exact = model.log_density(x).detach()
    model.train()
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    estimates = torch.stack([model.log_density(x).detach() for _ in range(1500)])
    error = estimates.std(dim=0) / math.sqrt(len(estimates))
    assert bool(((estimates.mean(dim=0) - exact).abs() < 4 * error).all())
    model.exact = True
    torch.testing.assert_close(model.log_density(x).detach(), exact)


def test_noise_stays_in_the_cell_of_its_value() -> None:
    x = torch.arange(17.0).repeat(50, 1) / 16
    noisy = dequantised(x, 17, torch.Generator().manual_seed(0))
    assert torch.equal(torch.floor(noisy * 17), x * 16)
    assert float(bits(torch.tensor(0.0), 64, 256)) == pytest.approx(8)
    values = normal(1, torch.arange(2000), 16)
    assert float(values.mean()) == pytest.approx(0, abs=0.02)
    assert float(values.std()) == pytest.approx(1, abs=0.02)


def test_what_the_families_cannot_run_is_said_before() -> None:
    odd = Task(num_classes=10, image_shape=(1, 6, 6))
    assert "cannot be" in spec.GLOW.unfit(spec.GlowConfig(), odd)["scales"]
    assert spec.GLOW.unfit(spec.GlowConfig(scales=1), odd) == {}
    large = Task(num_classes=10, image_shape=(3, 32, 32))
    (reason,) = spec.RESIDUAL_FLOW.unfit(spec.ResidualFlowConfig(), large).values()
    assert "3072 values" in reason


def test_an_update_refreshes_the_spectral_norms() -> None:
    model = residual((1, 2, 2)).train()
    layer = model.flow.flows[0].iresblock.nnet.net[1]
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():  # a matrix of rank one, whose vectors are not those of the last power iteration
        rows, columns = (torch.randn(size, generator=generator) for size in layer.weight.shape)
        layer.weight.copy_(torch.outer(rows, columns))
        norm = float(rows.norm() * columns.norm())
    loss = -model.log_density(images(8, (1, 2, 2))).mean()
    assert float(layer.scale) < 0.9 * norm
    still = torch.optim.SGD(model.parameters(), lr=1e-12)
    ResidualFlow(spec.ResidualFlowConfig()).update(model, Update(Step(loss), model, still))
    assert float(layer.scale) == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("name", ["GLOW", "GLOW_CLASS", "RESIDUAL_FLOW"])
def test_the_families_keep_the_contract(project: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PYTHONPATH", FOLDER, prepend=":")
    done = CliRunner().invoke(
        cli, ["check-plugin", f"bench_flows.spec:{name}", "--set", "depth=2", "--set", "width=16"]
    )
    assert done.exit_code == 0, done.output
    assert "samples: row i depends on (seed, index[i]) alone" in done.output
