"""JEM++: JEM with proximal SGLD from an informative start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from bench.family import Batch
from bench.rng import NoiseFn, derive_seed, indexed_noise, indexed_normal

from .generative import SamplingClassifier
from .jem import JEM, JEMClassifier
from .langevin import sgld
from .mixture import GaussianMixture
from .networks import from_model, grouped_statistics, mixes_items, sampling, to_model
from .replay import Start
from .successor_configs import JEMPPConfig, ProximalSGLDConfig

__all__ = ["JEMPP", "JEMPPClassifier", "proximal"]

_CHAINS = 256
"""Chains that ``sample`` moves at once, with companions."""


def proximal(
    log_density: Callable[[Tensor], Tensor], start: Tensor, sampler: ProximalSGLDConfig, steps: int, noise: NoiseFn
) -> Tensor:
    """Configured proximal SGLD (JEM++).

    PYLD applies a gradient N times and differentiates the first layer anew before each, with the gradient behind it as
    it was. In the authors' network, as in every ``wrn``, it is a convolution, whose derivative does not depend on the
    image, so that the N moves are one, N times as long: here, for any backbone. Each ends with a clamp to the same box,
    which the last clamp alone does as well.

    Args:
        log_density: (N, C, H, W) on the [-1, 1] scale -> (N,).
        start: (N, C, H, W) starts of the chains, on the same scale.
        sampler: Step size, inner steps, bound, noise, decay and clamp.
        steps: Number of (outer) steps.
        noise: Source of the noise of each step.
    """
    return sgld(
        log_density,
        start,
        steps=steps,
        step_size=sampler.step_size * sampler.inner_steps,
        noise=sampler.noise,
        noise_fn=noise,
        decay_power=sampler.decay_power,
        bound=sampler.bound,
        clamp=(-1.0, 1.0) if sampler.clamp else None,
    )


class JEMPPClassifier(JEMClassifier):
    """The classifier of JEM++ and SADA-JEM: JEM's, with the distribution from which chains start.

    Args:
        backbone, num_classes, image_shape: As for ``LinearClassifier``.
        sampler: Settings of the sampler.

    Attributes:
        mixture: A Gaussian for each class, fitted before training or, beside imported weights, after loading; None if
            chains start from uniform noise.

    Raises:
        ValueError: The matrices of the mixture would be too large.
    """

    sampler: ProximalSGLDConfig

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        sampler: ProximalSGLDConfig,
    ) -> None:
        super().__init__(backbone, num_classes, image_shape, sampler)
        mixture = sampler.start == "mixture"
        self.mixture = GaussianMixture(num_classes, image_shape, sampler.jitter) if mixture else None

    def starts(self, labels: Tensor, seed: int, index: Tensor) -> Tensor:
        """Starts of the chains of ``sample``: draws of the Gaussians of their classes, or uniform noise."""
        if self.mixture is None:
            return super().starts(labels, seed, index)
        return self.mixture.draw(indexed_normal(seed, index, self.image_shape, labels.device), labels)

    def sample(
        self,
        labels: Tensor,
        *,
        seed: int,
        index: Tensor,
        steps: int | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Images that the sampler makes for ``labels``: (N, C, H, W) in [0, 1].

        With batch statistics each chain runs in a group with companions: further chains whose starts and noise depend
        on (seed, index[i]) alone, for the classes after its own in turn.
        """
        if not (self.sampler.batch_statistics and self.sampler.companions and mixes_items(self)):
            return super().sample(labels, seed=seed, index=index, steps=steps, start=start)
        size = self.sampler.companions + 1
        seeds = [seed, *(derive_seed(seed, "companion", number) for number in range(1, size))]
        parts = []
        # Few groups at a time: a pass holds the activations of all their chains.
        rows = max(1, _CHAINS // size)
        for first in range(0, len(labels), rows):
            part = slice(first, first + rows)
            own, which = labels[part], index[part]
            of_group = [(own + number) % self.num_classes for number in range(size)]
            starts = [self.starts(y, s, which) for y, s in zip(of_group, seeds, strict=True)]
            if start is not None:
                starts[0] = to_model(start[part])
            noises = [indexed_noise(s, which, labels.device) for s in seeds]
            with grouped_statistics(self, size):
                moved = self.run_sampler(_woven(starts), _woven(of_group), _woven_noise(noises), steps)
            parts.append(moved[::size])
        return from_model(torch.cat(parts))

    def run_sampler(self, scaled: Tensor, labels: Tensor, noise: NoiseFn, steps: int | None) -> Tensor:
        """Proximal SGLD on log p(x, y) = f(x)[y] + c."""
        return proximal(
            lambda x: self.classify(self.backbone(x)).gather(1, labels[:, None]).squeeze(1),
            scaled,
            self.sampler,
            self.sampler.steps if steps is None else steps,
            noise,
        )


def _woven(rows: Sequence[Tensor]) -> Tensor:
    """Row i of each tensor, then row i + 1 of each."""
    return torch.stack(list(rows), dim=1).flatten(0, 1)


def _woven_noise(noises: Sequence[NoiseFn]) -> NoiseFn:
    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        each = (shape[0] // len(noises), *shape[1:])
        return _woven([one(step, each) for one in noises])

    return noise


class JEMPP(JEM):
    """JEM's loss and streams, with chains of proximal SGLD that start from the mixture."""

    config: JEMPPConfig

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> JEMPPClassifier:
        """A linear classifier that can sample."""
        return JEMPPClassifier(backbone, num_classes, image_shape, self.config.sampler)

    def before_training(self, model: JEMPPClassifier, clean: Callable[[], Iterable[Batch]]) -> None:
        """Fit the mixture, also if the model starts from weights that had another one."""
        if model.mixture is not None:
            model.mixture.fit(clean)

    def after_training(self, model: JEMPPClassifier, clean: Callable[[], Iterable[Batch]]) -> None:
        """Fit the mixture of a model with imported weights, which come without one."""
        if model.mixture is not None and not model.mixture.fitted:
            model.mixture.fit(clean)

    def new_chains(self, model: SamplingClassifier) -> Start | None:
        """The mixture, or None for uniform noise.

        Raises:
            RuntimeError: The mixture was not fitted (``before_training``).
        """
        assert isinstance(model, JEMPPClassifier)
        if model.mixture is None:
            return None
        if not model.mixture.fitted:
            raise RuntimeError("the mixture from which chains start is not fitted: call before_training first")
        return model.mixture.draw

    def advanced(self, model: JEMClassifier, start: Tensor, noise: NoiseFn) -> Tensor:
        """Chains after the steps of one training step."""
        sampler = self.config.sampler
        with sampling(model, batch_statistics=sampler.batch_statistics):
            return proximal(model.log_density_of_scaled, start, sampler, sampler.steps, noise)
