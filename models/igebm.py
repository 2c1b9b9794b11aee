"""IGEBM: an energy-based model trained by maximum likelihood with Langevin samples, of p(x) or of p(x | y).

Du and Mordatch 2019, Algorithm 1. The energy is a linear function of the features of a spectrally normalised backbone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.family import Batch, Iteration, Step, Update
from bench.rng import NoiseFn

from .generative import GenerativeFamily, SamplingClassifier, SamplingModel, logged_energies, noise_of
from .igebm_spec import ConditionalIGEBMConfig, IGEBMConfig, IGEBMSamplerConfig
from .networks import features_of, sampling, to_model
from .replay import Draw, ReplayBuffer
from .softmax import LinearClassifier
from .spectral import constant_weights, iterated, normalise

__all__ = ["IGEBM", "ConditionalEnergyModel", "ConditionalIGEBM", "EnergyModel", "clip_by_second_moments", "langevin"]

C = TypeVar("C", bound=IGEBMConfig | ConditionalIGEBMConfig)


class EnergyModel(SamplingModel):
    """p(x) = exp(-E(x)) / Z with E(x) = -(w^T phi(x) + b).

    Args:
        backbone: phi, with ``feature_dim``.
        num_classes: K of the data; the model has no classes.
        image_shape: (C, H, W).
        sampler: Settings of the sampler, for ``sample``.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int], sampler: IGEBMSamplerConfig
    ) -> None:
        super().__init__(num_classes, image_shape)
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_dim, 1)  # type: ignore[arg-type]
        self.sampler = sampler

    def log_density(self, images: Tensor) -> Tensor:
        """-E(x), which is log p(x) up to a constant: (N, C, H, W) in [0, 1] -> (N,)."""
        return self.log_density_of_features(self.backbone(to_model(images)))

    def log_density_of_features(self, features: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """-E from features (N, d), (N,); labels play no part."""
        energies: Tensor = self.head(features)
        return energies.squeeze(1)

    def run_sampler(self, scaled: Tensor, labels: Tensor, noise: NoiseFn, steps: int | None) -> Tensor:
        """Langevin dynamics on -E(x)."""
        return _run(self, scaled, labels, self.sampler, noise, steps)


class ConditionalEnergyModel(SamplingClassifier, LinearClassifier):
    """p(x | y) = exp(-E(x, y)) / Z with E(x, y) = -(w_y^T phi(x) + b_y), which are the negative logits.

    The class of an image is that of lowest energy, and log p(x) = logsumexp_y -E(x, y) + c, as for equally frequent
    classes with one Z.

    Args:
        backbone, num_classes, image_shape: As for ``LinearClassifier``.
        sampler: Settings of the sampler, for ``sample``.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int], sampler: IGEBMSamplerConfig
    ) -> None:
        super().__init__(backbone, num_classes, image_shape)
        self.sampler = sampler

    def log_density_of_features(self, features: Tensor, labels: Tensor) -> Tensor:
        """-E(x, y) from features (N, d) and labels (N,), (N,)."""
        return self.classify(features).gather(1, labels[:, None]).squeeze(1)

    def run_sampler(self, scaled: Tensor, labels: Tensor, noise: NoiseFn, steps: int | None) -> Tensor:
        """Langevin dynamics on -E(x, y)."""
        return _run(self, scaled, labels, self.sampler, noise, steps)


def langevin(
    log_density: Callable[[Tensor], Tensor], start: Tensor, sampler: IGEBMSamplerConfig, steps: int, noise: NoiseFn
) -> Tensor:
    """The sampler of IGEBM (Algorithm 1), in the order of the released code: noise first, then the gradient there.

        x <- x + noise * N(0, 1);  x <- clamp(x + step_size * clip(d/dx sum_i log p(x_i)))

    Args:
        log_density: (N, C, H, W) on the [-1, 1] scale -> (N,).
        start: (N, C, H, W) starts of the chains, on the same scale, not changed.
        sampler: Step size, noise, clip of the gradient and clamp of the image.
        steps: Number of steps; 0 returns a copy of ``start``.
        noise: Source of the noise of each step.

    Returns:
        (N, C, H, W), a new tensor without graph.
    """
    # The caller may be in no_grad or inference mode, which the input gradient does not allow.
    with torch.inference_mode(False), torch.enable_grad():
        x = start.detach().clone()
        for step in range(steps):
            if sampler.noise > 0:
                x.add_(noise(step, tuple(x.shape)), alpha=sampler.noise)
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_density(leaf).sum(), leaf)
            if sampler.gradient_clip > 0:
                gradient = gradient.clamp(-sampler.gradient_clip, sampler.gradient_clip)
            x.add_(gradient, alpha=sampler.step_size)
            if sampler.clamp:
                x.clamp_(-1.0, 1.0)
    return x


def _run(
    model: EnergyModel | ConditionalEnergyModel,
    scaled: Tensor,
    labels: Tensor,
    sampler: IGEBMSamplerConfig,
    noise: NoiseFn,
    steps: int | None,
) -> Tensor:
    with constant_weights(model.backbone):
        return langevin(
            lambda x: model.log_density_of_features(model.backbone(x), labels),
            scaled,
            sampler,
            sampler.steps if steps is None else steps,
            noise,
        )


class _EnergyFamily(GenerativeFamily[C]):
    """mean(E(x+) - E(x-)) + alpha mean(E(x+)^2 + E(x-)^2) over a batch of images and a batch of samples."""

    @abstractmethod
    def draw(self, state: ReplayBuffer, labels: Tensor, seed: int) -> Draw:
        """The chains that continue, for a real batch with these labels (N,)."""

    def training_step(
        self, model: Any, batches: Mapping[str, Batch], state: ReplayBuffer, iteration: Iteration
    ) -> Step:
        """The loss of one batch of images and as many samples."""
        real, sampler = batches["train"], self.config.sampler
        draw = self.draw(state, real.labels, iteration.seed("draw"))
        with iterated(model.backbone):
            with sampling(model):
                noise = noise_of(draw, iteration)
                samples = _run(model, draw.images, draw.labels, sampler, noise, sampler.steps)
            state.write_back(draw, samples)
            features = features_of(model.backbone, [to_model(real.images), samples])
        energies, sample_energies = (
            -model.log_density_of_features(rows, labels)
            for rows, labels in zip(features, (real.labels, draw.labels), strict=True)
        )
        energy, sample_energy = energies.mean(), sample_energies.mean()
        size = energies.square().mean() + sample_energies.square().mean()
        logs = {"fp": -energy.detach(), "fq": -sample_energy.detach(), "energy-size": size.detach()}
        if iteration.index < self.config.log_iterations:
            logs |= logged_energies(energies, sample_energies)
        return Step(energy - sample_energy + self.config.energy_weight * size, logs)

    def update(self, model: nn.Module, update: Update) -> None:  # noqa: ARG002 - the optimiser has the weights
        """Clip the gradients by Adam's second moments, if that is asked for, before the optimiser steps."""
        update.backward()
        if self.config.adam_clip > 0:
            clip_by_second_moments(update.optimizer, self.config.adam_clip)
        update.apply()


def clip_by_second_moments(optimizer: torch.optim.Optimizer, deviations: float) -> None:
    """Clip each element of all gradients at ``deviations * sqrt(v / (1 - beta2^t)) + 0.1``, as the Adam of the released
    code does, with the second moment v after t updates, that is before this one; 0.1 before the first update.

    Args:
        optimizer: Adam or AdamW with gradients.
        deviations: Number of standard deviations.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state.get(parameter, {})
            if "exp_avg_sq" not in state:
                parameter.grad.clamp_(-0.1, 0.1)
                continue
            # The number of updates is on the CPU, so that reading it waits for no device.
            corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
            bound = corrected.sqrt_().mul_(deviations).add_(0.1)
            parameter.grad.clamp_(-bound, bound)


class IGEBM(_EnergyFamily[IGEBMConfig]):
    """The unconditional model; its chains belong to no class."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> EnergyModel:
        """An energy on ``backbone``, which is normalised in place.

        Raises:
            ValueError: The backbone has no layer that can be normalised.
        """
        if self.config.spectral_norm:
            normalise(backbone)
        return EnergyModel(backbone, num_classes, image_shape, self.config.sampler)

    def start(self, model: Any, generator: torch.Generator) -> ReplayBuffer:
        """A buffer of uniform noise, of which every label is 0."""
        return ReplayBuffer(
            self.config.sampler.buffer,
            model.image_shape,
            1,
            seed=generator.initial_seed(),
            device=next(model.parameters()).device,
        )

    def attach(self, model: Any, state: Mapping[str, Tensor]) -> None:
        """Keep the buffer for ``stored_samples``, without classes."""
        super().attach(model, {**state, "labels": torch.full_like(state["labels"], -1)})

    def draw(self, state: ReplayBuffer, labels: Tensor, seed: int) -> Draw:
        """Any chains."""
        return state.draw(len(labels), seed=seed, reinit=self.config.sampler.reinit)


class ConditionalIGEBM(_EnergyFamily[ConditionalIGEBMConfig]):
    """The conditional model; samples have the labels of the real batch."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> ConditionalEnergyModel:
        """A classifier by energies on ``backbone``, which is normalised in place.

        Raises:
            ValueError: The backbone has no layer that can be normalised.
        """
        if self.config.spectral_norm:
            normalise(backbone)
        return ConditionalEnergyModel(backbone, num_classes, image_shape, self.config.sampler)

    def draw(self, state: ReplayBuffer, labels: Tensor, seed: int) -> Draw:
        """Chains of the same classes, or any chains, which get the labels of the batch."""
        reinit = self.config.sampler.reinit
        if self.config.sampler.chains == "class":
            return state.draw(len(labels), seed=seed, labels=labels, reinit=reinit)
        return replace(state.draw(len(labels), seed=seed, reinit=reinit), labels=labels)
