"""Networks whose items see each other, or chance, in training mode: batch normalisation and dropout.

The papers' networks have neither, and everything here then costs nothing. With them the sampler must look at the
network as evaluation does (as the JEM code does), and real and generated images must not share a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

__all__ = ["evaluating", "features_of", "mixes_items", "sampling"]


def mixes_items(network: nn.Module) -> bool:
    """Whether in training mode an item's features depend on the other items of its batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for the modules whose mode matters; every flag is given back as it was."""
    changed = [m for m in network.modules() if isinstance(m, _BatchNorm | _DropoutNd) and m.training]
    for module in changed:
        module.training = False
    try:
        yield
    finally:
        for module in changed:
            module.training = True


@contextmanager
def sampling(network: nn.Module) -> Iterator[None]:
    """What a sampler needs of a network in training: evaluation mode, and parameters without gradients; every flag is
    given back as it was.

    Only the images move. Eager autograd computes the gradients asked for alone; a compiled backward pass computes all
    that were wanted when it was compiled, so what is not wanted has to be said before.
    """
    frozen = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with evaluating(network):
        try:
            for parameter in frozen:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)


def features_of(network: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    """Features of several batches (N_i, C, H, W): in one pass where no layer mixes the items of a batch, which is
    faster, else one after the other.
    """
    if network.training and mixes_items(network):
        return [network(images) for images in batches]
    features: Tensor = network(torch.cat(list(batches)))
    return list(torch.split(features, [len(images) for images in batches]))
