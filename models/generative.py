"""What JEM, its successors and the generative ways of training GMMC share: sampling, and the replay buffer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from bench.family import Classifier, Family, Iteration, Model, Samples
from bench.rng import NoiseFn, indexed_noise, indexed_uniform

from .configs import GMMCGenConfig, JEMConfig
from .networks import from_model, to_model
from .replay import Draw, ReplayBuffer, Start

if TYPE_CHECKING:
    from .igebm_spec import ConditionalIGEBMConfig, IGEBMConfig

__all__ = ["GenerativeFamily", "SamplingClassifier", "SamplingModel", "logged_energies", "noise_of"]

C = TypeVar("C", bound="JEMConfig | GMMCGenConfig | IGEBMConfig | ConditionalIGEBMConfig")


class SamplingModel(Model, ABC):
    """A model with a sampler, and with the replay buffer of its training if that was loaded."""

    stored: Samples | None = None

    def stored_samples(self) -> Samples | None:
        """The replay buffer, or None."""
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
        """Images that the sampler makes for ``labels``: (N, C, H, W) in [0, 1]."""
        scaled = self.starts(labels, seed, index) if start is None else to_model(start)
        return from_model(self.run_sampler(scaled, labels, indexed_noise(seed, index, labels.device), steps))

    def starts(self, labels: Tensor, seed: int, index: Tensor) -> Tensor:
        """Starts of the chains of ``sample``, (N, C, H, W) on the [-1, 1] scale: uniform noise."""
        return indexed_uniform(seed, index, self.image_shape, labels.device)

    @abstractmethod
    def run_sampler(self, scaled: Tensor, labels: Tensor, noise: NoiseFn, steps: int | None) -> Tensor:
        """Move images towards their classes.

        Args:
            scaled: (N, C, H, W) starts on the [-1, 1] scale.
            labels: (N,) classes.
            noise: Source of all random numbers.
            steps: Number of steps; None for that of training.

        Returns:
            (N, C, H, W) on the [-1, 1] scale.
        """


class SamplingClassifier(SamplingModel, Classifier):
    """A classifier with a sampler."""


class GenerativeFamily(Family[C]):
    """A family that trains with a sampler and a replay buffer."""

    def start(self, model: SamplingClassifier, generator: torch.Generator) -> ReplayBuffer:
        """A buffer of new chains; the label of a slot is that of its class partition."""
        return ReplayBuffer(
            self.config.sampler.buffer,
            model.image_shape,
            model.num_classes,
            seed=generator.initial_seed(),
            device=next(chain(model.parameters(), model.buffers())).device,
            start=self.new_chains(model),
        )

    def new_chains(self, model: SamplingClassifier) -> Start | None:  # noqa: ARG002 - for subclasses
        """Distribution of new chains; None: uniform noise."""
        return None

    def attach(self, model: SamplingClassifier, state: Mapping[str, Tensor]) -> None:
        """Keep the buffer for ``stored_samples``."""
        model.stored = Samples(from_model(state["images"]), state["labels"], state["age"].long())


def noise_of(draw: Draw, iteration: Iteration) -> NoiseFn:
    """Noise of the sampler that advances a draw in a training step, made on the device of its chains."""
    device = draw.images.device
    return indexed_noise(iteration.seed("sampler"), torch.arange(len(draw.images), device=device), device)


def logged_energies(real: Tensor, sampled: Tensor) -> dict[str, Tensor]:
    """Scalars of a training step from which the evaluation ``energies`` makes its numbers and intervals.

    Args:
        real: Energies E(x) of the real batch, shape (n,).
        sampled: Energies of the samples, shape (m,).

    Returns:
        For each batch the mean, the standard error of the mean if there are at least two images, and their number.
    """
    logs = {}
    for name, energies in (("energy_real", real.detach()), ("energy_sampled", sampled.detach())):
        logs[name] = energies.mean()
        logs[f"{name}_items"] = torch.tensor(float(len(energies)))
        if len(energies) > 1:
            logs[f"{name}_error"] = energies.std() / len(energies) ** 0.5
    return logs
