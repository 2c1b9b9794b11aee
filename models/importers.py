"""Converters of checkpoints that the authors of JEM and GMMC published, with the names of tensors mapped to ours.

They get the content of a checkpoint, in which inert stubs replace all unknown classes, and return tensors. No code of
the file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.family import Imported

__all__ = ["gmmc", "jem", "state_dict"]


_BLOCK = re.compile(r"layer([123])\.(\d+)\.(bn1|bn2|conv1|conv2|shortcut\.0)\.(.+)")
_BLOCK_PARTS = {"bn1": "norm1", "bn2": "norm2", "conv1": "conv1", "conv2": "conv2", "shortcut.0": "shortcut"}


def gmmc(checkpoint: Any, dim: int, num_classes: int) -> Imported:
    """Convert ``ckpt_*.pt`` of the GMMC code.

    It holds ``model_state_dict`` of the trunk, ``replay_buffer`` (images, labels), and the pickled head ``margin`` with
    its fixed centers. The model keeps these centers, because it was trained with them; they differ from ours by
    rounding of the authors' float32 recursion.

    Args:
        checkpoint: Content of the file.
        dim: Feature dimension d of the backbone.
        num_classes: K.

    Raises:
        ValueError: The file is not such a checkpoint, its centers are not those of Algorithm 2 up to rounding
            (``centers.check_published``), or its replay buffer is invalid.
    """
    weights, ignored = _trunk(state_dict(checkpoint))
    notes = ["gamma^2 is estimated on the training set when a suite first uses the model"]
    facts: dict[str, Any] = {}
    centers = _centers_of(checkpoint.get("margin"))
    if centers is None:
        notes.append("no centers in the file: the model gets exact ones; those of the authors' code differ by rounding")
    else:
        if centers.shape != (num_classes, dim) or not centers.is_floating_point():
            raise ValueError(
                f"the centers in the checkpoint have shape {tuple(centers.shape)}, expected {(num_classes, dim)}: "
                "another backbone, or another number of classes"
            )
        from .centers import check_published

        facts["centers"] = found = dict(check_published(centers))
        weights["centers"] = centers.float()
        notes.append(
            "the model keeps the centers in the checkpoint: Algorithm 2 in float32, at most "
            f"{found['max_difference']:.2g} from the exact ones (last diagonal entry {found['last_diagonal']:.2g}); "
            f"pairwise cosines {found['cosine_min']:.7f} to {found['cosine_max']:.7f}, exactly "
            f"{found['cosine_exact']:.7f}"
        )
    buffer = checkpoint.get("replay_buffer")
    state: dict[str, Tensor] = {}
    if isinstance(buffer, list | tuple) and len(buffer) == 2:
        state = _buffer(buffer[0], buffer[1], range(num_classes))
    elif buffer is not None:
        notes.append(f"the replay buffer is no pair of images and labels ({type(buffer).__name__}) and was left out")
    return Imported(weights, state, ignored, tuple(notes), facts)


def jem(checkpoint: Any, dim: int, num_classes: int) -> Imported:  # noqa: ARG001 - the signature of importers
    """Convert ``*.pt`` of the JEM code: ``model_state_dict`` with two unused heads, and ``replay_buffer`` (images).

    Args:
        checkpoint: Content of the file.
        dim: Feature dimension d of the backbone.
        num_classes: K.

    Raises:
        ValueError: The file is not such a checkpoint, or its replay buffer is invalid.
    """
    own = state_dict(checkpoint)
    heads = {name: tensor for name, tensor in own.items() if name.startswith(("class_output.", "energy_output."))}
    weights, ignored = _trunk({name: tensor for name, tensor in own.items() if name not in heads})
    for name, tensor in heads.items():
        if name.startswith("class_output."):
            weights[f"head.{name.removeprefix('class_output.')}"] = tensor
        else:
            ignored[name] = "dead head: energies come from the logits"
    buffer = checkpoint.get("replay_buffer")
    state: dict[str, Tensor] = {}
    notes: tuple[str, ...] = ()
    if isinstance(buffer, Tensor) and buffer.ndim == 4:
        state = _buffer(buffer, torch.full((len(buffer),), -1), range(-1, 0))
    elif buffer is not None:
        notes = (f"the replay buffer is no tensor of images ({type(buffer).__name__}) and was left out",)
    return Imported(weights, state, ignored, notes)


def state_dict(checkpoint: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the authors' names, without the prefix of ``DataParallel``.

    Raises:
        ValueError: The file is not a checkpoint of the JEM or GMMC code or of one that followed JEM's.
    """
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("model_state_dict"), Mapping):
        raise ValueError("no model_state_dict in the file: it is not a checkpoint of the JEM or GMMC code")
    # DataParallel prefixes every name with "module.".
    return {str(name).removeprefix("module."): tensor for name, tensor in checkpoint["model_state_dict"].items()}


def _trunk(own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of the Wide-ResNet by our names, and the names of ignored tensors with the reason."""
    weights: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    for name, tensor in own.items():
        inner = name.removeprefix("f.")
        block = _BLOCK.fullmatch(inner)
        if block is not None:
            stage, index, part, leaf = block.groups()
            weights[f"backbone.blocks.stage{stage}_block{int(index) + 1}.{_BLOCK_PARTS[part]}.{leaf}"] = tensor
        elif inner.startswith("conv1."):
            weights[f"backbone.stem.{inner.removeprefix('conv1.')}"] = tensor
        elif inner.startswith("bn1."):
            weights[f"backbone.norm.{inner.removeprefix('bn1.')}"] = tensor
        elif inner.startswith("linear."):
            ignored[name] = "dead head: the trunk ends in its features"
        else:
            ignored[name] = "unknown"
    if not weights:
        raise ValueError("no tensor of the file belongs to a Wide-ResNet of the JEM or GMMC code")
    return weights, ignored


def _centers_of(margin: Any) -> Tensor | None:
    """The centers in a pickled head that was read as a stub, from the dictionaries in which modules keep tensors."""
    for place in ("_parameters", "_buffers"):
        tensors = getattr(margin, place, None)
        centers = tensors.get("centers") if isinstance(tensors, Mapping) else None
        if isinstance(centers, Tensor):
            return centers.detach()
    return None


def _buffer(images: Any, labels: Any, classes: range) -> dict[str, Tensor]:
    """The replay buffer in the format of our samplers.

    Raises:
        ValueError: It does not hold images with one label out of ``classes`` each.
    """
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise ValueError("the replay buffer is not of tensors")
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ValueError(f"the replay buffer has images {tuple(images.shape)} and labels {tuple(labels.shape)}")
    if images.is_complex() or labels.is_complex():
        raise ValueError(f"the replay buffer has images of type {images.dtype} and labels of type {labels.dtype}")
    if not len(images):
        return {}
    low, high = labels.min().item(), labels.max().item()
    if not (low >= classes[0] and high <= classes[-1] and bool((labels == labels.long()).all())):
        raise ValueError(
            f"the replay buffer has labels from {low} to {high}, expected whole numbers from {classes[0]} to "
            f"{classes[-1]}"
        )
    # The authors store no ages, so slots with noise cannot be distinguished from samples.
    age = torch.ones(len(images), dtype=torch.int32)
    return {"images": images.float(), "labels": labels.long(), "age": age}
