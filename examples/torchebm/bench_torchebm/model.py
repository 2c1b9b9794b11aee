"""The implementation, which only workers import."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchebm.core import BaseModel
from torchebm.losses import PersistentContrastiveDivergence
from torchebm.samplers import LangevinDynamics

from bench.family import Batch, Family, Iteration, Model, Samples, Step
from bench.rng import uniform
from bench_torchebm.spec import PCDConfig

__all__ = ["Chains", "Energy", "EnergyModel", "PersistentCD"]


class Energy(BaseModel):  # type: ignore[misc]
    """E(x) = w phi(x) + b for images on the [-1, 1] scale, (N, C, H, W) -> (N,)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.feature_dim), 1)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Energies (N,)."""
        energy: Tensor = self.head(self.backbone(x)).squeeze(1)
        return energy


class EnergyModel(Model):
    """log p(x) = -E(x) up to a constant."""

    def __init__(
        self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int], config: PCDConfig
    ) -> None:
        super().__init__(num_classes, image_shape)
        self.energy = Energy(backbone)
        self.steps = config.steps
        self.chains: Tensor | None = None
        self._sampler = {
            "step_size": config.step_size,
            "noise_scale": config.noise_scale,
        }

    @property
    def backbone(self) -> nn.Module:
        """The backbone, which training may run in bf16 or compiled."""
        return self.energy.backbone

    @backbone.setter
    def backbone(self, backbone: nn.Module) -> None:
        self.energy.backbone = backbone

    def sampler(self) -> LangevinDynamics:
        """Langevin dynamics of the energy, within [-1, 1]."""
        device = self.energy.head.weight.device
        return LangevinDynamics(self.energy, **self._sampler, clamp=(-1.0, 1.0), device=device)

    def log_density(self, images: Tensor) -> Tensor:
        """-E(x): (N, C, H, W) in [0, 1] -> (N,)."""
        energy: Tensor = self.energy(2 * images - 1)
        return -energy

    def stored_samples(self) -> Samples | None:
        """The persistent chains at the end of training."""
        if self.chains is None:
            return None
        rows = torch.arange(len(self.chains))
        return Samples((self.chains + 1) / 2, torch.full_like(rows, -1), torch.ones_like(rows))

    @torch.no_grad()
    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """New chains. The noise is ours, by row; the sampler's generator draws for the whole batch."""
        del labels
        sampler, rows, size = self.sampler(), index.cpu().numpy(), math.prod(self.image_shape)

        def drawn(step: int) -> Tensor:
            values = torch.from_numpy(uniform(seed, rows, step, size))
            return values.reshape(-1, *self.image_shape).to(index.device)

        x = 2 * (drawn(0) if start is None else start) - 1
        for step in range(self.steps if steps is None else steps):
            noise = torch.special.ndtri(drawn(step + 1).double() + 2.0**-25).float()
            moved = sampler.integrator.step(
                state={"x": x},
                step_size=sampler.get_scheduled_value("step_size"),
                noise_scale=sampler.get_scheduled_value("noise_scale"),
                drift=lambda point, _time: -self.energy.gradient(point),
                noise=noise,
            )
            x = moved["x"].clamp(-1, 1)
        return (x + 1) / 2


class Chains:
    """The loss of torchebm with its persistent chains, which are the state of training.

    Args:
        model: The model.
        config: The hyper-parameters.
        generator: Source of the uniform noise from which chains start. torchebm starts them near 0.
    """

    def __init__(self, model: EnergyModel, config: PCDConfig, generator: torch.Generator) -> None:
        device = model.energy.head.weight.device
        self.loss = PersistentContrastiveDivergence(
            model.energy,
            model.sampler(),
            k_steps=config.steps,
            buffer_size=config.buffer,
            new_sample_ratio=0.0,
            energy_reg_weight=config.energy_penalty,
            device=device,
        )
        noise = torch.rand((config.buffer, *model.image_shape), generator=generator, device=generator.device)
        self.loss.replay_buffer = (2 * noise - 1).to(device)
        self.loss.buffer_initialized = True

    def state_dict(self) -> dict[str, Tensor]:
        """The chains, and the place where the next ones are written."""
        return {name: getattr(self.loss, name) for name in ("replay_buffer", "buffer_ptr")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore them."""
        self.loss.load_state_dict(dict(state), strict=False)


class PersistentCD(Family[PCDConfig]):
    """Persistent contrastive divergence of torchebm."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> EnergyModel:
        """A scalar head with PyTorch's initial weights on the backbone."""
        return EnergyModel(backbone, num_classes, image_shape, self.config)

    def start(self, model: EnergyModel, generator: torch.Generator) -> Chains:
        """Chains of uniform noise."""
        return Chains(model, self.config, generator)

    def attach(self, model: EnergyModel, state: Mapping[str, Tensor]) -> None:
        """Give the model its chains."""
        model.chains = state["replay_buffer"]

    def training_step(
        self, model: EnergyModel, batches: Mapping[str, Batch], state: Chains, iteration: Iteration
    ) -> Step:
        """The loss of torchebm; ``fp`` and ``fq`` are the mean log-densities of data and of samples, of which the guard
        of training sees the gap.
        """
        del iteration  # torchebm draws from the global generator, which bench seeds and checkpoints
        images = 2 * batches["train"].images - 1
        loss, samples = state.loss(images)
        with torch.no_grad():
            logs: dict[str, Any] = {"fp": -model.energy(images).mean(), "fq": -model.energy(samples).mean()}
        # torchebm replaces a loss that is not finite by 0.1, which would hide a divergence.
        return Step(torch.where((logs["fp"] - logs["fq"]).isfinite(), loss, torch.nan), logs)
