"""The energy-based model of torchebm (examples/torchebm): its samples, state, and loss."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from bench.cli.main import cli
from bench.conformance import small
from bench.conformance.network import backbone
from bench.family import Batch, Iteration

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = pytest.mark.peer
pytest.importorskip("torchebm", reason="pip install torchebm")
FOLDER = str(Path(__file__).parents[2] / "examples" / "torchebm")
sys.path.insert(0, FOLDER)

from bench_torchebm import spec  # noqa: E402
from bench_torchebm.model import PersistentCD  # noqa: E402


def built(**settings: Any) -> tuple[PersistentCD, Any]:
    family = PersistentCD(spec.PCDConfig(**{"steps": 3, "buffer": 64, **settings}))
    torch.manual_seed(0)
    return family, family.build(backbone("small", 1), small.CLASSES, small.SHAPE)


def step(family: PersistentCD, model: Any, chains: Any) -> Any:
    images = torch.from_numpy(small.splits().train.unit_images()[:16])
    generator = torch.Generator().manual_seed(0)
    batch = Batch(images, torch.zeros(16, dtype=torch.int64))
    return family.training_step(model, {"train": batch}, chains, Iteration(0, 0, 1, generator))


def test_the_density_is_the_energy_with_its_sign_changed() -> None:
    _, model = built()
    images = torch.rand(5, *small.SHAPE)
    torch.testing.assert_close(model.log_density(images), -model.energy(2 * images - 1))


def test_the_loss_is_that_of_contrastive_divergence() -> None:
    """Without a penalty: the mean energy of data less that of samples."""
    family, model = built(energy_penalty=0.0)
    found = step(family, model, family.start(model, torch.Generator().manual_seed(0)))
    assert float(found.loss.detach()) == pytest.approx(float(found.logs["fq"] - found.logs["fp"]), abs=1e-6)


def test_a_loss_that_is_not_finite_stays_so() -> None:
    family, model = built()
    chains = family.start(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.energy.head.bias.fill_(math.inf)
    assert bool(chains.loss(torch.zeros(4, *small.SHAPE))[0].isfinite())
    assert not bool(step(family, model, chains).loss.isfinite())


def test_chains_start_as_uniform_noise_move_and_are_restored() -> None:
    family, model = built()
    chains = family.start(model, torch.Generator().manual_seed(0))
    first = chains.state_dict()["replay_buffer"].clone()
    assert float(first.std()) == pytest.approx(2 / math.sqrt(12), rel=0.05)
    step(family, model, chains)
    kept = {name: value.clone() for name, value in chains.state_dict().items()}
    assert int(kept["buffer_ptr"]) == 16
    assert not torch.equal(kept["replay_buffer"][:16], first[:16])
    assert torch.equal(kept["replay_buffer"][16:], first[16:])
    other = family.start(model, torch.Generator().manual_seed(1))
    other.load_state_dict(kept)
    step(family, model, other)
    assert int(other.state_dict()["buffer_ptr"]) == 32
    family.attach(model, kept)
    torch.testing.assert_close(2 * model.stored_samples().images - 1, kept["replay_buffer"])


def test_samples_follow_the_langevin_dynamics() -> None:
    """For E(x) = w . x a step moves by -h w and by noise of standard deviation s sqrt(2 h)."""
    _, model = built(step_size=0.02, noise_scale=0.5)
    slope = torch.linspace(-1, 1, 64).reshape(1, 8, 8)
    model.energy.gradient = lambda x: slope.expand_as(x)
    count = 4000
    start = torch.full((count, *small.SHAPE), 0.5)
    made = model.sample(torch.zeros(count), seed=0, index=torch.arange(count), steps=1, start=start)
    moved = 2 * made - 1
    torch.testing.assert_close(moved.mean(dim=0), -0.02 * slope, atol=0.01, rtol=0)
    assert float(moved.std(dim=0).mean()) == pytest.approx(0.5 * math.sqrt(0.04), rel=0.02)


def test_it_keeps_the_contract(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", FOLDER, prepend=":")
    done = CliRunner().invoke(cli, ["check-plugin", "bench_torchebm.spec:PCD", "--set", "buffer=64"])
    assert done.exit_code == 0, done.output
    assert "training interrupted and resumed: the same weights, to the bit" in done.output
