"""Spectral normalisation of a backbone (Miyato et al. 2018), with one power iteration for each training step.

The layers are ``torch.nn.utils.parametrizations.spectral_norm``: the weight is W / sigma(W) with the estimate
sigma = u^T W v of the largest singular value of W, flattened to (outputs, rest). u and v are buffers, so weight files,
checkpoints and averages of weights contain them; the gradient passes through W and sigma, not through u and v. In
evaluation mode they do not change.

PyTorch iterates in every forward pass in training mode, which includes those of a sampler: the energy would change
under the chains. ``iterated`` makes the one iteration of a step, and then keeps u and v, as in the released code of
IGEBM, where a step is one run of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["constant_weights", "iterated", "normalise"]


def normalise(network: nn.Module) -> nn.Module:
    """Normalise every convolution and linear layer of a network, in place, and return it.

    u and v begin with 15 power iterations on random vectors from the global generator.

    Raises:
        ValueError: The network has no such layer, or its weights are parametrised already.
    """
    layers = [module for module in network.modules() if isinstance(module, _ConvNd | nn.Linear)]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no convolution and no linear layer to normalise; set spectral_norm = false"
        )
    for layer in layers:
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(
                f"the weights of {type(network).__name__} are parametrised already; set spectral_norm = false"
            )
        spectral_norm(layer)
    return network


@contextmanager
def iterated(network: nn.Module) -> Iterator[None]:
    """Make one power iteration if the network is in training mode; u and v are constant while the context lasts.

    Networks without normalised layers are left alone.
    """
    changed = [module for module in _parametrizations(network) if module.training]
    with torch.no_grad():
        for module in changed:
            module()  # in training mode this iterates
    for module in changed:
        module.eval()
    try:
        yield
    finally:
        for module in changed:
            module.train()


@contextmanager
def constant_weights(network: nn.Module) -> Iterator[None]:
    """Compute W / sigma once, not in every forward pass, and without a gradient: for samplers, which move images.

    The weights are made here, outside of any autocast, so that they are float32 in every precision of training.
    """
    with parametrize.cached():
        with torch.inference_mode(False), torch.no_grad():
            for module in network.modules():
                if parametrize.is_parametrized(module, "weight"):
                    _ = module.weight
        yield


def _parametrizations(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, parametrize.ParametrizationList)]
