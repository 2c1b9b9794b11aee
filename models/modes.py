"""Handling of networks with batch normalisation or dropout, which in training mode mix items or draw random numbers.

The papers' networks have neither; this module then has no cost. With such layers, the sampler must use the network in
evaluation mode (as in the JEM code), and real and generated images must not share a batch.
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
    """Whether, in training mode, the features of an item depend on the other items of the batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Set batch normalisation and dropout to evaluation mode, and restore all modes afterwards."""
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
    """Set a network in training to evaluation mode without gradients of parameters, as a sampler needs it, and restore
    all flags afterwards.

    Only the images move. Eager autograd computes only the requested gradients, but a compiled backward pass computes
    the gradients of all tensors that required one at compilation, so parameters must not require one then.
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
    """Features (N_i, d) of several batches (N_i, C, H, W), in one pass, which is faster, or one after the other if a
    layer mixes the items of a batch.
    """
    if network.training and mixes_items(network):
        return [network(images) for images in batches]
    features: Tensor = network(torch.cat(list(batches)))
    return list(torch.split(features, [len(images) for images in batches]))
