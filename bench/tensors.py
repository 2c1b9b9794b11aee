"""Named tensors in files: safetensors, written atomically, with a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from bench.store import write_atomically

__all__ = ["load_tensors", "nested", "save_tensors", "unnested"]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write tensors and return the SHA-256 of the file."""
    # Independent, contiguous CPU copies: safetensors refuses memory that is shared or laid out otherwise.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain, dict(metadata) if metadata else None)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file.

    Raises:
        safetensors.SafetensorError: The file is damaged.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return tensors, dict(file.metadata() or {})


def nested(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names with a prefix, for one file that holds several groups."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unnested(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The group with a prefix, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
