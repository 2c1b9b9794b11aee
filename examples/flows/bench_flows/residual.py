"""The residual flow: the implementation, which only workers import."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import normflows
import torch
from torch import Tensor, nn

from bench.family import Batch, Family, Iteration, Model, Step, Update
from bench_flows.dequantised import bits, dequantised, normal
from bench_flows.spec import ResidualFlowConfig

__all__ = ["ResidualFlow", "ResidualFlowModel", "moved"]

CENTRE = 0.5
"""Images are shifted by it."""
POWER_ITERATIONS = 5
"""Iterations of the spectral norms after every update."""
CLOSE = 1e-6
"""Factor by which the iterations of an inversion shrink the error of its start."""


def moved(block: nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    """A residual block x + g(x), and log |det (I + dg/dx)| from the whole Jacobian.

    Args:
        block: g, from (N, D) to (N, D), item by item.
        points: x, (N, D).

    Returns:
        (N, D) and (N,).
    """
    wanted, size = torch.is_grad_enabled(), points.shape[1]
    eye = torch.eye(size, dtype=points.dtype, device=points.device)
    with torch.enable_grad():
        leaf = points if points.requires_grad else points.detach().requires_grad_()
        change = block(leaf)
        each = eye[:, None].expand(size, len(points), size)
        (rows,) = torch.autograd.grad(change, leaf, each, is_grads_batched=True, create_graph=wanted)
    log_det = torch.linalg.slogdet(rows.transpose(0, 1) + eye).logabsdet
    return points + (change if wanted else change.detach()), log_det


class ResidualFlowModel(Model):
    """log p(x) = log N(z; mu, sigma) + sum over blocks of log |det (I + dg/dx)|, with blocks x + g(x) of normflows.

    normflows estimates the log-determinants from random vectors and random numbers of terms, in evaluation too, and has
    the determinant only of two dimensions. A log p(x) that changes from call to call is no log p(x) of one model, so in
    eval mode this model computes the determinants.
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], config: ResidualFlowConfig) -> None:
        super().__init__(num_classes, image_shape)
        size = math.prod(image_shape)
        widths = [size, *[config.width] * config.hidden, size]
        flows: list[nn.Module] = []
        for _ in range(config.depth):
            block = normflows.nets.LipschitzMLP(widths, lipschitz_const=config.lipschitz)
            flows += [normflows.flows.Residual(block), normflows.flows.ActNorm((size,))]
        self.flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(size), flows)
        self.exact = config.trace == "exact"
        bound = config.lipschitz ** (config.hidden + 1)
        self.iterations = math.ceil(math.log(CLOSE) / math.log(bound))

    def log_density(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), nats; exact in eval mode, in training as the configuration says."""
        x = images.flatten(1) - CENTRE
        if self.training and not self.exact:
            estimate: Tensor = self.flow.log_prob(x)
            return estimate
        total = x.new_zeros(len(x))
        for flow in reversed(self.flow.flows):
            if isinstance(flow, normflows.flows.Residual):
                x, found = moved(flow.iresblock.nnet, x)
            else:
                x, found = flow.inverse(x)
            total = total + found
        density: Tensor = total + self.flow.q0.log_prob(x)
        return density

    @torch.no_grad()
    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """Latent values through the inverse blocks; ``steps`` and ``start`` have no effect.

        A block is inverted by a fixed number of fixed-point iterations. normflows stops when the whole batch has
        converged, so there a sample depends on the others of its batch.
        """
        del labels, steps, start
        base = self.flow.q0
        noise = normal(seed, index, base.loc.numel())
        z: Tensor = base.loc + base.log_scale.exp() * noise
        for flow in self.flow.flows:
            if isinstance(flow, normflows.flows.Residual):
                block, image = flow.iresblock.nnet, z
                for _ in range(self.iterations):
                    z = image - block(z)
            else:
                z, _ = flow(z)
        return (z + CENTRE).clamp(0, 1).reshape(-1, *self.image_shape)


class ResidualFlow(Family[ResidualFlowConfig]):
    """Maximum likelihood of dequantised images; spectral norms are updated after every step."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> ResidualFlowModel:
        """The flow; its first batch in training sets the scales of activation normalisation."""
        del backbone
        return ResidualFlowModel(num_classes, image_shape, self.config)

    def training_step(
        self, model: ResidualFlowModel, batches: Mapping[str, Batch], state: Any, iteration: Iteration
    ) -> Step:
        """-log p(x) / D in nats, and the bits per dimension for the history."""
        del state
        images = dequantised(batches["train"].images, self.config.levels, iteration.generator)
        nats = model.log_density(images)
        size = math.prod(model.image_shape)
        return Step(-nats.mean() / size, {"bits": bits(nats.detach().mean(), size, self.config.levels)})

    def update(self, model: ResidualFlowModel, update: Update) -> None:
        """One step of the optimiser, and the estimates of the spectral norms after it."""
        super().update(model, update)
        normflows.utils.update_lipschitz(model, POWER_ITERATIONS)
