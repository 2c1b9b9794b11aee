"""How the families use their networks: on which scale of images, and in which mode.

All interfaces have images in [0, 1]. Networks, samplers, their steps and their noise use the [-1, 1] scale, as in the
JEM and GMMC code ((x - 0.5) / 0.5).

In training mode, batch normalisation mixes items and dropout draws random numbers. The networks of JEM and GMMC have
neither; the functions on modes then have no cost. With such layers, real and generated images must not share a batch,
and the sampler uses the network in evaluation mode, as in the JEM code. JEM++ and SADA-JEM normalise chains
by the statistics of their own batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from bench.family import Classifier

__all__ = [
    "BackboneClassifier",
    "constant_statistics",
    "evaluating",
    "features_of",
    "from_model",
    "grouped_statistics",
    "mixes_items",
    "sampling",
    "to_model",
]


def to_model(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1], linear; values outside of [0, 1] are not clamped, because training adds noise."""
    return images * 2 - 1


def from_model(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]; values outside, from an unclamped sampler, are clamped, as for saving a picture."""
    return ((images + 1) / 2).clamp(0, 1)


class BackboneClassifier(Classifier):
    """A classifier whose features are those of a backbone.

    Args:
        backbone: phi, with ``feature_dim``.
        num_classes: K.
        image_shape: (C, H, W).

    Attributes:
        dim: Number of features d.
    """

    dim: int

    def __init__(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.backbone = backbone
        dim = backbone.feature_dim
        assert isinstance(dim, int)
        self.dim = dim

    def features(self, images: Tensor) -> Tensor:
        """phi(x): (N, C, H, W) in [0, 1] -> (N, d)."""
        features: Tensor = self.backbone(to_model(images))
        return features


def mixes_items(network: nn.Module) -> bool:
    """Whether, in training mode, the features of an item depend on the other items of the batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


@contextmanager
def evaluating(network: nn.Module, *, batch_statistics: bool = False) -> Iterator[None]:
    """Set batch normalisation and dropout to evaluation mode, and restore all modes afterwards.

    Args:
        network: The network.
        batch_statistics: Leave batch normalisation as it is: in training it normalises a batch by its own mean and
            variance, and takes them into its running statistics.
    """
    kinds = _DropoutNd if batch_statistics else _BatchNorm | _DropoutNd
    changed = [m for m in network.modules() if isinstance(m, kinds) and m.training]
    for module in changed:
        module.training = False
    try:
        yield
    finally:
        for module in changed:
            module.training = True


@contextmanager
def constant_statistics(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are; batches are normalised as before."""
    momenta = [(module, module.momentum) for module in network.modules() if isinstance(module, _BatchNorm)]
    for module, _ in momenta:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in momenta:
            module.momentum = momentum


@contextmanager
def grouped_statistics(network: nn.Module, size: int) -> Iterator[None]:
    """Let batch normalisation, in any mode, use the statistics of each group of ``size`` consecutive rows, as in ghost
    batches (Hoffer et al. 2017). Features of a row depend on its group alone. Running statistics do not change.

    Args:
        network: The network; while the context lasts the number of rows must be a multiple of ``size``.
        size: Rows of a group.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for module in norms:
        module.forward = partial(_normalised_in_groups, module, size)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in norms:
            del module.forward


def _normalised_in_groups(norm: _BatchNorm, size: int, x: Tensor) -> Tensor:
    groups = x.view(-1, size, *x.shape[1:])
    over = (1, *range(3, groups.ndim))
    variance, mean = torch.var_mean(groups, dim=over, correction=0, keepdim=True)
    normal: Tensor = (groups - mean) * torch.rsqrt(variance + norm.eps)
    if norm.affine:
        channels = (1, 1, -1, *[1] * (groups.ndim - 3))
        normal = normal * norm.weight.view(channels) + norm.bias.view(channels)
    return normal.flatten(0, 1)


@contextmanager
def sampling(network: nn.Module, *, batch_statistics: bool = False) -> Iterator[None]:
    """Set a network in training to evaluation mode without gradients of parameters, as a sampler needs it, and restore
    all flags afterwards.

    Only the images move. Eager autograd computes only the requested gradients, but a compiled backward pass computes
    the gradients of all tensors that required one at compilation, so parameters must not require one then.

    Args:
        network: The network.
        batch_statistics: As for ``evaluating``.
    """
    frozen = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with evaluating(network, batch_statistics=batch_statistics):
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
