"""Glow: the implementation, which only workers import."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import normflows
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.family import Batch, Classifier, Family, Iteration, Model, Step
from bench_flows.dequantised import bits, dequantised, normal
from bench_flows.spec import GlowClassConfig, GlowConfig

__all__ = ["ClassGlowModel", "Glow", "GlowClass", "GlowModel", "multiscale_flow"]

CENTRE = 0.5
"""Images are shifted by it, as in the code of Glow. normflows' own ``Shift`` changes the caller's tensor."""


def multiscale_flow(
    image_shape: tuple[int, int, int], num_classes: int | None, config: GlowConfig | GlowClassConfig
) -> normflows.MultiscaleFlow:
    """The multi-scale architecture of Glow in normflows; ``num_classes`` None: without classes.

    On each scale, images are squeezed to half their height and width and pass ``depth`` steps; then half of the
    channels leave for the latent space.
    """
    channels, height, width = image_shape
    scales = config.scales
    bases, flows, merges = [], [], []
    for scale in range(scales):  # from the coarsest
        inner = channels * 2 ** (scales + 1 - scale)
        steps = [normflows.flows.GlowBlock(inner, config.width, use_lu=False) for _ in range(config.depth)]
        flows.append([*steps, normflows.flows.Squeeze()])
        if scale > 0:
            merges.append(normflows.flows.Merge())
        side = 2 ** (scales - scale)
        latent = (inner if scale == 0 else inner // 2, height // side, width // side)
        bases.append(
            normflows.distributions.DiagGaussian(latent)
            if num_classes is None
            else normflows.distributions.ClassCondDiagGaussian(latent, num_classes)
        )
    return normflows.MultiscaleFlow(bases, flows, merges, class_cond=num_classes is not None)


class _Latents:
    """The latent variables of a multi-scale flow as one vector a row."""

    flow: normflows.MultiscaleFlow

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Latent variables (N, D) and the log-determinant of their Jacobian (N,), for images in [0, 1]."""
        pieces, log_det = self.flow.inverse_and_log_det(images - CENTRE)
        return torch.cat([piece.flatten(1) for piece in pieces], dim=1), log_det

    def decode(self, latent: Tensor) -> Tensor:
        """Images for latent variables (N, D), clamped to [0, 1]; mid grey where they overflow to no number."""
        shapes = [tuple(base.shape) for base in self.flow.q0]
        pieces = torch.split(latent, [math.prod(shape) for shape in shapes], dim=1)
        shaped = [piece.reshape(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)]
        images, _ = self.flow.forward_and_log_det(shaped)
        shifted: Tensor = images + CENTRE
        return shifted.nan_to_num(nan=CENTRE).clamp(0, 1)


class GlowModel(_Latents, Model):
    """log p(x) = log N(z; mu, sigma) + log |dz/dx|, with z = f(x)."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], config: GlowConfig) -> None:
        super().__init__(num_classes, image_shape)
        self.flow = multiscale_flow(image_shape, None, config)
        self.temperature = config.temperature

    def log_density(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), nats."""
        density: Tensor = self.flow.log_prob(images - CENTRE, None)
        return density

    @torch.no_grad()
    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """One pass from the latent distribution; ``steps`` and ``start`` have no effect."""
        del labels, steps, start
        mean = torch.cat([base.loc.flatten() for base in self.flow.q0])
        scale = torch.cat([base.log_scale.flatten() for base in self.flow.q0]).exp()
        return self.decode(mean + self.temperature * scale * normal(seed, index, len(mean)))


class ClassGlowModel(_Latents, Classifier):
    """log p(x|y) = log N(z; mu_y, sigma_y) + log |dz/dx|, so p(y|x) follows by Bayes' rule with equal p(y).

    Features are z and, last, the log-determinant: logits of a class are then log p(x|y).
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], config: GlowClassConfig) -> None:
        super().__init__(num_classes, image_shape)
        self.flow = multiscale_flow(image_shape, num_classes, config)
        self.temperature = config.temperature

    def moments(self) -> tuple[Tensor, Tensor]:
        """Means and logarithms of scales of the latent variables, (K, D) each."""
        mean = torch.cat([base.loc.flatten(0, -2) for base in self.flow.q0])
        log_scale = torch.cat([base.log_scale.flatten(0, -2) for base in self.flow.q0])
        return mean.T, log_scale.T

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, D + 1)."""
        latent, log_det = self.encode(images)
        return torch.cat([latent, log_det[:, None]], dim=1)

    def classify(self, features: Tensor) -> Tensor:
        """(N, D + 1) -> log p(x|y) in nats, (N, K), in the type of the features."""
        mean, log_scale = (value.to(features.dtype) for value in self.moments())
        latent, log_det = features[:, :-1], features[:, -1:]
        standard = (latent[:, None] - mean) * torch.exp(-log_scale)
        constant = log_scale.sum(dim=1) + 0.5 * mean.shape[1] * math.log(2 * math.pi)
        return log_det - 0.5 * standard.square().sum(dim=2) - constant

    def evidence(self, features: Tensor, logits: Tensor) -> Tensor:
        """The exact log p(x) = log sum_y p(x|y) / K, (N,)."""
        del features
        return torch.logsumexp(logits, dim=1) - math.log(self.num_classes)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """One pass from the latent distribution of each label; ``steps`` and ``start`` have no effect."""
        del steps, start
        mean, log_scale = self.moments()
        noise = normal(seed, index, mean.shape[1])
        return self.decode(mean[labels] + self.temperature * log_scale[labels].exp() * noise)


class Glow(Family[GlowConfig]):
    """Maximum likelihood of dequantised images."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> GlowModel:
        """The flow; its first batch in training sets the scales of activation normalisation."""
        del backbone
        return GlowModel(num_classes, image_shape, self.config)

    def training_step(self, model: GlowModel, batches: Mapping[str, Batch], state: Any, iteration: Iteration) -> Step:
        """-log p(x) / D in nats, and the bits per dimension for the history."""
        del state
        images = dequantised(batches["train"].images, self.config.levels, iteration.generator)
        nats = model.log_density(images)
        size = math.prod(model.image_shape)
        return Step(-nats.mean() / size, {"bits": bits(nats.detach().mean(), size, self.config.levels)})


class GlowClass(Family[GlowClassConfig]):
    """Maximum likelihood of dequantised images given their class, and perhaps cross-entropy beside it."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> ClassGlowModel:
        """The flow; its first batch in training sets the scales of activation normalisation."""
        del backbone
        return ClassGlowModel(num_classes, image_shape, self.config)

    def training_step(
        self, model: ClassGlowModel, batches: Mapping[str, Batch], state: Any, iteration: Iteration
    ) -> Step:
        """-log p(x|y) / D - class_weight * log p(y|x) in nats. Classes are those of the images without noise, as models
        are evaluated: values lie at the edges of their cells, where a density that saw noise alone classifies worse.
        """
        del state
        batch, weight = batches["train"], self.config.class_weight
        noisy = dequantised(batch.images, self.config.levels, iteration.generator)
        logits = model.logits(torch.cat([noisy, batch.images]) if weight else noisy)
        given, clean = logits[: len(noisy)], logits[-len(noisy) :]
        size = math.prod(model.image_shape)
        loss = -given.gather(1, batch.labels[:, None]).mean() / size
        if weight:
            loss = loss + weight * F.cross_entropy(clean, batch.labels)
        with torch.no_grad():
            nats = model.evidence(given, given).mean()
            accuracy = (clean.argmax(dim=1) == batch.labels).float().mean()
        return Step(loss, {"bits": bits(nats, size, self.config.levels), "batch_accuracy": accuracy})
