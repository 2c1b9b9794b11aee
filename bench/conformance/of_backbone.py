"""Checks of a backbone: what it says of itself is what it builds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from bench.conformance.check import Check, require
from bench.errors import RequestError
from bench.registry import import_object
from bench.rng import seeded
from bench.spec import BackboneSpec

__all__ = ["checks"]

_SHAPES = ((1, 8, 8), (3, 32, 32))


def checks(
    kind: str,  # noqa: ARG001 - the modules of all kinds have one signature
    name: str,
    spec: BackboneSpec,
    params: Mapping[str, Any],  # noqa: ARG001
    family: str | None,  # noqa: ARG001
) -> tuple[Check, ...]:
    """The checks of a backbone: of the named network, or of the examples of a pattern, for two shapes of images."""
    try:
        spec.parse(name)
        networks: tuple[str, ...] = (name,)
    except ValueError:
        networks = spec.examples
    if not networks:
        raise RequestError(f"backbone {spec.name!r} has no examples; name a network, such as {spec.pattern}")
    return tuple(
        Check(f"{network} on images of {'x'.join(map(str, shape))}", partial(_network, spec, network, shape))
        for network in networks
        for shape in _SHAPES
    )


def _network(spec: BackboneSpec, network: str, shape: tuple[int, int, int]) -> None:
    try:
        facts = spec.describe(network, shape)
    except ValueError:
        return  # it says that it cannot take such images
    make: Any = import_object(spec.implementation)
    with seeded(1):
        module = make(network, shape[0])
    require(isinstance(module, nn.Module), f"{spec.implementation} returned {type(module).__name__}, no nn.Module")
    width = getattr(module, "feature_dim", None)
    require(isinstance(width, int), f"feature_dim is {width!r}, expected the number of features")
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    module.eval()
    with torch.no_grad():
        features, alone = module(images), module(images[:1])
    require(tuple(features.shape) == (4, width), f"features of shape {tuple(features.shape)}, expected (4, {width})")
    require(bool(features.isfinite().all()), "features that are not finite")
    scale = float(alone.abs().max()) + 1e-12
    require(
        bool(((features[:1] - alone).abs() <= 1e-4 * scale).all()),
        "in eval mode the features of an item depend on the rest of its batch",
    )
    count = sum(parameter.numel() for parameter in module.parameters())
    for name, value in (("features", width), ("parameters", count)):
        told = facts.get(name)
        require(told is None or told == value, f"describe says {told} {name}, the network has {value}")
