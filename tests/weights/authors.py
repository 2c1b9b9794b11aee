"""Checkpoints as the code of JEM, its successors and GMMC writes them, and their forward pass, from the protocol."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS, STRIDES = (16, 32, 64), (1, 2, 2)


def trunk(norm: str = "none", *, channels: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a WRN-10-1 by the names of the authors' ``Wide_ResNet``, without any prefix.

    Its own ``linear`` is there although nothing reads it. Without a norm the places of norms hold nothing.
    """
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, entering: int, leaving: int, size: int) -> None:
        bound = (entering * size * size) ** -0.5
        state[f"{name}.weight"] = (torch.rand(leaving, entering, size, size, generator=draw) * 2 - 1) * 3 * bound
        state[f"{name}.bias"] = (torch.rand(leaving, generator=draw) * 2 - 1) * bound

    def normalisation(name: str, width: int) -> None:
        if norm == "none":
            return
        state[f"{name}.weight"] = torch.rand(width, generator=draw) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=draw) * 0.1
        if norm == "batch":
            state[f"{name}.running_mean"] = torch.randn(width, generator=draw) * 0.1
            state[f"{name}.running_var"] = torch.rand(width, generator=draw) + 0.5
            state[f"{name}.num_batches_tracked"] = torch.tensor(703)

    conv("conv1", channels, 16, 3)
    entering = 16
    for stage, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), start=1):
        block = f"layer{stage}.0"
        normalisation(f"{block}.bn1", entering)
        conv(f"{block}.conv1", entering, width, 3)
        normalisation(f"{block}.bn2", width)
        conv(f"{block}.conv2", width, width, 3)
        if stride != 1 or entering != width:
            conv(f"{block}.shortcut.0", entering, width, 1)
        entering = width
    normalisation("bn1", entering)
    state["linear.weight"] = torch.randn(10, 64, generator=draw)
    state["linear.bias"] = torch.randn(10, generator=draw)
    return state


def features(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Phi of 32x32 images on the [-1, 1] scale in eval mode, by functional calls on ``trunk``."""

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride, padding=padding)

    def activated(x: Tensor, name: str) -> Tensor:
        if f"{name}.running_mean" in state:
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
            x = F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])
        elif f"{name}.weight" in state:
            x = F.group_norm(x, 1, state[f"{name}.weight"], state[f"{name}.bias"])
        return F.leaky_relu(x, 0.2)

    x = conv(images, "conv1")
    for stage, stride in enumerate(STRIDES, start=1):
        block = f"layer{stage}.0"
        inner = conv(activated(x, f"{block}.bn1"), f"{block}.conv1")
        inner = conv(activated(inner, f"{block}.bn2"), f"{block}.conv2", stride)
        if f"{block}.shortcut.0.weight" in state:
            x = conv(x, f"{block}.shortcut.0", stride, padding=0)
        x = inner + x
    return F.avg_pool2d(activated(x, "bn1"), images.shape[-1] // 4).flatten(1)


def jem_state(norm: str = "none", *, channels: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """``model_state_dict`` of JEM's class-conditional model: trunk, dead energy head, class head."""
    draw = torch.Generator().manual_seed(seed + 1)
    return {
        **{f"f.{name}": tensor for name, tensor in trunk(norm, channels=channels, seed=seed).items()},
        "energy_output.weight": torch.randn(1, 64, generator=draw),
        "energy_output.bias": torch.randn(1, generator=draw),
        "class_output.weight": torch.randn(10, 64, generator=draw),
        "class_output.bias": torch.randn(10, generator=draw),
    }


def sada_jem_state(norm: str = "batch", *, channels: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """``model_state_dict`` of SADA-JEM's class-conditional model: JEM's without the trunk's unused ``linear``."""
    state = jem_state(norm, channels=channels, seed=seed)
    return {name: tensor for name, tensor in state.items() if not name.startswith("f.linear.")}


def jem_pp_state(norm: str = "batch", *, channels: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """``model_state_dict`` of JEM++'s class-conditional model with the network for PYLD, whose modules have two names:
    the first layer is ``layer_one`` as well, and the others are in the list ``other_layers``.
    """
    state: dict[str, Tensor] = {}
    stages = {f"f.layer{number}.": f"f.other_layers.{number - 1}." for number in (1, 2, 3)}
    twice = {"f.conv1.": "f.layer_one.", **stages, "f.bn1.": "f.other_layers.3."}
    for name, tensor in sada_jem_state(norm, channels=channels, seed=seed).items():
        state[name] = tensor
        for first, second in twice.items():
            if name.startswith(first):
                state[second + name.removeprefix(first)] = tensor
    return state


def gmmc_state(norm: str = "none", *, channels: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """``model_state_dict`` of GMMC's model: the trunk alone."""
    return {f"f.{name}": tensor for name, tensor in trunk(norm, channels=channels, seed=seed).items()}


def centers(classes: int = 10, dim: int = 64, scale: float = 10.0) -> Tensor:
    """Algorithm 2 as the code runs it: the recursion in float32, with the absolute value under the last root. Its last
    entry on the diagonal is the root of a rounding error: about .006 for 10 classes, .010 for 100.
    """
    means = torch.zeros(classes, dim)
    means[0, 0] = 1
    for i in range(1, classes):
        for j in range(i):
            means[i, j] = -(1 / (classes - 1) + torch.dot(means[i], means[j])) / means[j, j]
        if i < dim:
            means[i, i] = (1 - torch.norm(means[i]) ** 2).abs().sqrt()
    return means * scale


def jem_logits(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    inner = {name.removeprefix("f."): tensor for name, tensor in state.items() if name.startswith("f.")}
    return features(inner, images) @ state["class_output.weight"].T + state["class_output.bias"]


def gmmc_logits(state: Mapping[str, Tensor], images: Tensor, means: Tensor) -> Tensor:
    phi = features({name.removeprefix("f."): tensor for name, tensor in state.items()}, images)
    return torch.stack([-0.5 * (phi - mean).square().sum(dim=1) for mean in means], dim=1)
