"""JEM: a softmax classifier read as an energy-based model of p(x), trained with SGLD samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.family import Batch, Iteration, Step, StreamSpec
from bench.rng import NoiseFn

from .configs import JEMConfig, SGLDConfig
from .generative import GenerativeFamily, SamplingClassifier, logged_energies, noise_of
from .langevin import sgld
from .networks import features_of, sampling, to_model
from .replay import ReplayBuffer
from .softmax import LinearClassifier

__all__ = ["JEM", "JEMClassifier", "Terms", "langevin"]


class JEMClassifier(SamplingClassifier, LinearClassifier):
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

    def log_density_of_scaled(self, scaled: Tensor) -> Tensor:
        """Log p(x) + c of images on the [-1, 1] scale, (N,)."""
        return torch.logsumexp(self.classify(self.backbone(scaled)), dim=1)

    def run_sampler(self, scaled: Tensor, labels: Tensor, noise: NoiseFn, steps: int | None) -> Tensor:
        """SGLD on log p(x, y) = f(x)[y] + c."""
        return langevin(
            lambda x: self.classify(self.backbone(x)).gather(1, labels[:, None]).squeeze(1),
            scaled,
            self.sampler,
            self.sampler.steps if steps is None else steps,
            noise,
        )


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
    return sgld(
        log_density,
        start,
        steps=steps,
        step_size=sampler.step_size,
        noise=sampler.noise,
        noise_fn=noise,
        decay_power=sampler.decay_power,
        clamp=(-1.0, 1.0) if sampler.clamp else None,
    )


class Terms(NamedTuple):
    """Log p(x) + c of real images (n,) and of samples (n,), and two scalars: the cross-entropy and the loss."""

    real: Tensor
    sampled: Tensor
    cross_entropy: Tensor
    loss: Tensor


class JEM(GenerativeFamily[JEMConfig]):
    """w_x * (mean log p(x') - mean log p(x)) + w_y * cross-entropy, on two independently shuffled streams."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> JEMClassifier:
        """A linear classifier that can sample."""
        return JEMClassifier(backbone, num_classes, image_shape, self.config.sampler)

    def streams(self) -> Mapping[str, StreamSpec]:
        """``density`` defines the epoch and is used for p(x); ``train`` has labels and is used for p(y|x)."""
        config = self.config
        density = StreamSpec(augment=config.augment and config.augment_density, sigma=config.sigma)
        return {"density": density, "train": StreamSpec(augment=config.augment, sigma=config.sigma)}

    def attach(self, model: SamplingClassifier, state: Mapping[str, Tensor]) -> None:
        """Keep the buffer for ``stored_samples``; its chains belong to no class."""
        super().attach(model, {**state, "labels": torch.full_like(state["labels"], -1)})

    def training_step(
        self,
        model: JEMClassifier,
        batches: Mapping[str, Batch],
        state: ReplayBuffer,
        iteration: Iteration,
    ) -> Step:
        """The loss of one batch of each stream and one batch of samples."""
        real, labelled = batches["density"], batches["train"]
        draw = state.draw(len(real.images), seed=iteration.seed("draw"), reinit=self.config.sampler.reinit)
        samples = self.advanced(model, draw.images, noise_of(draw, iteration))
        state.write_back(draw, samples)
        terms = self.terms(model, real, samples, labelled)
        logs = {
            "fp": terms.real.detach().mean(),
            "fq": terms.sampled.detach().mean(),
            "cross-entropy": terms.cross_entropy.detach(),
        }
        if iteration.index < self.config.log_iterations:
            logs |= logged_energies(-terms.real, -terms.sampled)
        return Step(terms.loss, logs, lambda: self.terms(model, real, samples, labelled).loss)

    def advanced(self, model: JEMClassifier, start: Tensor, noise: NoiseFn) -> Tensor:
        """Chains (n, C, H, W) on the [-1, 1] scale after the steps of one training step."""
        sampler = self.config.sampler
        with sampling(model):
            return langevin(model.log_density_of_scaled, start, sampler, sampler.steps, noise)

    def terms(self, model: JEMClassifier, real: Batch, samples: Tensor, labelled: Batch) -> Terms:
        """The terms of the loss, with the weights as they are."""
        batches_of_images = [to_model(real.images), samples, to_model(labelled.images)]
        real_logits, sample_logits, labelled_logits = (
            model.classify(features) for features in features_of(model.backbone, batches_of_images)
        )
        real_densities, sample_densities = (torch.logsumexp(rows, dim=1) for rows in (real_logits, sample_logits))
        px = sample_densities.mean() - real_densities.mean()
        pyx = functional.cross_entropy(labelled_logits, labelled.labels)
        loss = self.config.px_weight * px + self.config.pyx_weight * pyx
        return Terms(real_densities, sample_densities, pyx, loss)
