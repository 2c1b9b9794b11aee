"""Updates of the weights: the optimiser of a configuration, and a moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.optimizer import OptimizerConfig

__all__ = ["Average", "copied", "optimizer_of"]


def optimizer_of(config: OptimizerConfig, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimiser of torch.optim that a configuration describes, over all parameters of a model.

    Args:
        config: The configuration.
        model: The model.
        lr: The learning rate, which the loop sets before each update.
    """
    parameters = model.parameters()
    if config.kind == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(parameters, lr=lr, betas=config.betas, weight_decay=config.weight_decay)


class Average:
    """An exponential moving average of the weights of a model (Polyak and Juditsky 1992, in the exponential form).

    After each update ``average = decay * average + (1 - decay) * weights``, beginning with the initial weights.
    Buffers, such as the running statistics of batch normalisation, are averages already and are copied.

    Args:
        model: The model, with its initial weights.
        decay: The decay, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = copied(model.state_dict())

    def update(self, model: nn.Module) -> None:
        """Take the weights after an update into the average."""
        trained = {name for name, _ in model.named_parameters()}
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if name in trained:
                    self.weights[name].lerp_(value, 1 - self.decay)
                else:
                    self.weights[name].copy_(value)

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Give a model the averaged weights while the context lasts."""
        own = copied(model.state_dict())
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that later updates do not change."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
