"""JEM: a softmax classifier read as an energy-based model of p(x), trained with SGLD samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.family import Batch, Family, Iteration, Samples, Step, StreamSpec

from .configs import JEMConfig, SGLDConfig
from .energy_log import logged_energies
from .langevin import NoiseFn, generator_noise, indexed_noise, indexed_uniform, sgld
from .modes import features_of, sampling
from .replay import ReplayBuffer
from .scaling import from_model, to_model
from .softmax import LinearClassifier

__all__ = ["JEM", "JEMClassifier", "langevin"]


class JEMClassifier(LinearClassifier):
    """The classifier of JEM; -E(x) = logsumexp_y f(x)[y], -E(x, y) = f(x)[y].

    Args:
        backbone, num_classes, image_shape: As for ``LinearClassifier``.
        sampler: Settings of SGLD, for ``sample``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        sampler: SGLDConfig,
    ) -> None:
        super().__init__(backbone, num_classes, image_shape)
        self.sampler = sampler
        self.stored: Samples | None = None

    def log_density_of_scaled(self, scaled: Tensor) -> Tensor:
        """Log p(x) + c of images on the [-1, 1] scale, (N,)."""
        return torch.logsumexp(self.classify(self.backbone(scaled)), dim=1)

    def stored_samples(self) -> Samples | None:
        """The replay buffer; its chains belong to no class."""
        return self.stored

    def sample(
        self,
        labels: Tensor,
        *,
        seed: int,
        index: Tensor,
        steps: int | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """SGLD on log p(x, y) = f(x)[y] + c: (N, C, H, W) in [0, 1]."""
        device = labels.device
        if start is None:
            scaled = indexed_uniform(seed, index, self.image_shape, device)
        else:
            scaled = to_model(start)
        out = langevin(
            lambda x: self.classify(self.backbone(x)).gather(1, labels[:, None]).squeeze(1),
            scaled,
            self.sampler,
            self.sampler.steps if steps is None else steps,
            indexed_noise(seed, index, device),
        )
        return from_model(out)


def langevin(
    log_density: Callable[[Tensor], Tensor], start: Tensor, sampler: SGLDConfig, steps: int, noise: NoiseFn
) -> Tensor:
    """Configured SGLD, with constant step and noise, or with polynomial decay of both (paper, Eq. 3).

    Args:
        log_density: (N, C, H, W) on the [-1, 1] scale -> (N,).
        start: (N, C, H, W) starts of the chains, on the same scale.
        sampler: Step size, noise, decay and clamp.
        steps: Number of steps.
        noise: Source of the noise of each step.
    """
    clamp = (-1.0, 1.0) if sampler.clamp else None
    if sampler.decay_power == 0:
        return sgld(
            log_density,
            start,
            steps=steps,
            step_size=sampler.step_size,
            noise=sampler.noise,
            noise_fn=noise,
            clamp=clamp,
        )
    chains = start
    for step in range(steps):
        factor = (1.0 + step) ** -sampler.decay_power
        chains = sgld(
            log_density,
            chains,
            steps=1,
            step_size=sampler.step_size * factor,
            noise=sampler.noise * factor,
            noise_fn=lambda _, shape, step=step: noise(step, shape),  # type: ignore[misc]
            clamp=clamp,
        )
    return chains


class JEM(Family[JEMConfig]):
    """w_x * (mean log p(x') - mean log p(x)) + w_y * cross-entropy, on two independently shuffled streams."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> JEMClassifier:
        """A linear classifier that can sample."""
        return JEMClassifier(backbone, num_classes, image_shape, self.config.sampler)

    def streams(self) -> Mapping[str, StreamSpec]:
        """``density`` defines the epoch and is used for p(x); ``train`` has labels and is used for p(y|x)."""
        config = self.config
        density = StreamSpec(augment=config.augment and config.augment_density, sigma=config.sigma)
        return {"density": density, "train": StreamSpec(augment=config.augment, sigma=config.sigma)}

    def start(self, model: JEMClassifier, generator: torch.Generator) -> ReplayBuffer:
        """A buffer of uniform noise."""
        device = next(model.parameters()).device
        return ReplayBuffer(
            self.config.sampler.buffer,
            model.image_shape,
            model.num_classes,
            generator=generator,
            device=device,
        )

    def attach(self, model: JEMClassifier, state: Mapping[str, Tensor]) -> None:
        """Keep the buffer for ``stored_samples``."""
        labels = torch.full_like(state["labels"], -1)
        model.stored = Samples(from_model(state["images"]), labels, state["age"].long())

    def training_step(
        self,
        model: JEMClassifier,
        batches: Mapping[str, Batch],
        state: ReplayBuffer,
        iteration: Iteration,
    ) -> Step:
        """The loss of one batch of each stream and one batch of samples."""
        real, labelled = batches["density"], batches["train"]
        sampler = self.config.sampler
        draw = state.draw(len(real.images), reinit=sampler.reinit)
        with sampling(model):
            noise = generator_noise(iteration.generator, draw.images.device)
            samples = langevin(model.log_density_of_scaled, draw.images, sampler, sampler.steps, noise)
        state.write_back(draw, samples)
        batches_of_images = [to_model(real.images), samples, to_model(labelled.images)]
        real_logits, sample_logits, labelled_logits = (
            model.classify(features) for features in features_of(model.backbone, batches_of_images)
        )
        real_densities, sample_densities = (torch.logsumexp(rows, dim=1) for rows in (real_logits, sample_logits))
        real_density, sample_density = real_densities.mean(), sample_densities.mean()
        px = sample_density - real_density
        pyx = functional.cross_entropy(labelled_logits, labelled.labels)
        logs = {"fp": real_density.detach(), "fq": sample_density.detach(), "cross-entropy": pyx.detach()}
        if iteration.index < self.config.log_iterations:
            logs |= logged_energies(-real_densities, -sample_densities)
        return Step(self.config.px_weight * px + self.config.pyx_weight * pyx, logs)
