"""GMMC: fixed Max-Mahalanobis centers as class means, trained discriminatively, generatively or jointly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.family import Batch, Family, Iteration, Step
from bench.rng import NoiseFn

from .centered import CenterClassifier, estimate_gamma2, squared_distance
from .configs import GMMCConfig, GMMCDisConfig, GMMCGenConfig, GMMCJointConfig, GMMCSamplerConfig
from .generative import GenerativeFamily, SamplingClassifier, logged_energies, noise_of
from .langevin import regress_to
from .networks import features_of, sampling, to_model
from .replay import ReplayBuffer

__all__ = ["GMMCClassifier", "GMMCDis", "GMMCGen", "GMMCJoint", "center_regression"]

C = TypeVar("C", bound=GMMCConfig)
G = TypeVar("G", bound=GMMCGenConfig)


def center_regression(features: Tensor, centers: Tensor) -> Tensor:
    """0.5 ||phi - mu||^2 of each row, (N, d), (N, d) -> (N,): the energy of Eq. 5 with gamma = 1."""
    return 0.5 * squared_distance(features, centers)


class GMMCClassifier(SamplingClassifier, CenterClassifier):
    """Linear discriminant analysis with fixed means mu_y (Algorithm 2) and covariance gamma^2 I.

    Logits are -0.5 ||phi(x) - mu_y||^2, which means gamma^2 = 1 as in the released code.

    Args:
        backbone: phi, with ``feature_dim`` d >= K - 1.
        num_classes: K.
        image_shape: (C, H, W).
        scale: Norm S of the centers.
        sampler: Settings of the sampler; None for a model that was not trained to generate.

    Raises:
        ValueError: There are too few features for K centers.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        scale: float,
        sampler: GMMCSamplerConfig | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, image_shape, scale)
        self.sampler = sampler

    def run_sampler(self, scaled: Tensor, labels: Tensor, noise: NoiseFn, steps: int | None) -> Tensor:
        """Staged or noise-injected sampling towards the centers of ``labels``.

        Raises:
            NotImplementedError: The model was not trained to generate.
        """
        if self.sampler is None:
            raise NotImplementedError("GMMC (Dis) was not trained to generate images")
        return self.descend(scaled, labels, noise, self.sampler, steps)

    def descend(
        self,
        scaled: Tensor,
        labels: Tensor,
        noise: NoiseFn,
        sampler: GMMCSamplerConfig,
        steps: int | None = None,
    ) -> Tensor:
        """The sampler on the [-1, 1] scale: x' with phi(x') near z ~ N(mu_y, gamma^2 I)."""
        centers = self.centers[labels]
        shape = tuple(centers.shape)
        gamma: float | Tensor = sampler.gamma
        if sampler.gamma_source == "running":
            # The constant is used until there is an estimate.
            gamma = torch.where(self.gamma2.isnan(), sampler.gamma, self.gamma2.sqrt()).to(centers.dtype)

        def target(step: int) -> Tensor:
            return centers + gamma * noise(step, shape)

        return regress_to(
            self.backbone,
            scaled,
            target(0) if sampler.mode == "staged" else target,
            steps=sampler.steps if steps is None else steps,
            step_size=sampler.step_size,
            clamp=(-1.0, 1.0) if sampler.clamp else None,
        )


class _GMMC(Family[C]):
    """Shared parts of the three ways of training."""

    def after_training(self, model: GMMCClassifier, clean: Callable[[], Iterable[Batch]]) -> None:
        """Estimate gamma^2 = mean ||phi(x_i) - mu_{y_i}||^2 / d on the clean training set (paper, Sec. 3.1)."""
        estimate_gamma2(model, clean)


class GMMCDis(_GMMC[GMMCDisConfig]):
    """Discriminative training: the mean of 0.5 ||phi(x) - mu_y||^2 (Eq. 5)."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> GMMCClassifier:
        """A classifier that cannot sample."""
        return GMMCClassifier(backbone, num_classes, image_shape, self.config.scale)

    def training_step(
        self,
        model: GMMCClassifier,
        batches: Mapping[str, Batch],
        state: Any,  # noqa: ARG002 - there is none
        iteration: Iteration,  # noqa: ARG002 - the loss does not depend on it
    ) -> Step:
        """One batch of the labelled stream."""
        return _regression_step(model, batches["train"])


class _Generative(_GMMC[G], GenerativeFamily[G]):
    """Maximum likelihood of p(x, y): fp - beta * fq (Eq. 7)."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> GMMCClassifier:
        """A classifier that can sample."""
        return GMMCClassifier(backbone, num_classes, image_shape, self.config.scale, self.config.sampler)

    def generative_step(
        self,
        model: GMMCClassifier,
        batch: Batch,
        buffer: ReplayBuffer,
        beta: float,
        iteration: Iteration,
    ) -> Step:
        """The loss of a real batch and a batch of samples; the energy of a sample is that to mu_{y'}, not to z."""
        sampler = self.config.sampler
        labels = batch.labels if sampler.labels == "batch" else None
        draw = buffer.draw(len(batch.labels), seed=iteration.seed("draw"), labels=labels, reinit=sampler.reinit)
        with sampling(model):
            samples = model.descend(draw.images, draw.labels, noise_of(draw, iteration), sampler)
        buffer.write_back(draw, samples)
        real, sampled = features_of(model.backbone, [to_model(batch.images), samples])
        fp = center_regression(real, model.centers[batch.labels]).mean()
        fq = center_regression(sampled, model.centers[draw.labels]).mean()
        if sampler.gamma_source == "running":
            now = 2 * fp.detach().double() / model.centers.shape[1]
            model.gamma2.copy_(torch.where(model.gamma2.isnan(), now, model.gamma2.lerp(now, 0.01)))
        logs = {"fp": fp.detach(), "fq": fq.detach()}
        if iteration.index < self.config.log_iterations:
            # E(x) = -log sum_y exp(-E(x, y)), as for JEM, so that both fit in one column.
            logs |= logged_energies(
                *(-torch.logsumexp(model.classify(features.detach()), dim=1) for features in (real, sampled))
            )
        return Step(fp - beta * fq, logs)


class GMMCGen(_Generative[GMMCGenConfig]):
    """Generative training from the first iteration."""

    def training_step(
        self, model: GMMCClassifier, batches: Mapping[str, Batch], state: ReplayBuffer, iteration: Iteration
    ) -> Step:
        """One step of Algorithm 1."""
        return self.generative_step(model, batches["train"], state, self.config.beta, iteration)


class GMMCJoint(_Generative[GMMCJointConfig]):
    """Dis until ``start_generative``, then Gen; optimiser and schedule are not reset."""

    def training_step(
        self, model: GMMCClassifier, batches: Mapping[str, Batch], state: ReplayBuffer, iteration: Iteration
    ) -> Step:
        """One step of regression while beta is 0, else one step of Algorithm 1."""
        beta = self.beta(iteration)
        if beta == 0:
            return _regression_step(model, batches["train"])
        return self.generative_step(model, batches["train"], state, beta, iteration)

    def beta(self, iteration: Iteration) -> float:
        """0 before the switch; then the configured value, or a linear ramp to it."""
        config = self.config
        since = iteration.index - config.start_generative * iteration.per_epoch
        if since < 0:
            return 0.0
        if config.ramp_epochs == 0:
            return config.beta
        # The ramp starts above 0 at the first iteration after the switch.
        return config.beta * min(1.0, (since + 1) / (config.ramp_epochs * iteration.per_epoch))


def _regression_step(model: GMMCClassifier, batch: Batch) -> Step:
    fp = center_regression(model.features(batch.images), model.centers[batch.labels]).mean()
    return Step(fp, {"fp": fp.detach()})
