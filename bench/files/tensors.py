"""Reads and writes named tensors as safetensors, atomically and with a digest. Torch is imported only when needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors

from bench.errors import DamagedFileError, first_line
from bench.files.atomic import write_atomically
from bench.keys import file_digest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_shapes", "load_tensors", "nested", "save_tensors", "unnested"]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write tensors and return the SHA-256 of the file."""
    import safetensors.torch

    # Independent, contiguous CPU copies: safetensors refuses shared memory and other layouts.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain, dict(metadata) if metadata else None)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def load_tensors(path: Path, *, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. The format has no compression, so that tensors are never larger than the file.

    Args:
        path: The file.
        sha256: The file's digest if known; it is verified.

    Raises:
        DamagedFileError: The file is missing, has another digest, or is damaged.
    """
    try:
        if sha256 is not None and file_digest(path) != sha256:
            raise DamagedFileError(path, "does not have the content that was recorded (another SHA-256)")
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, dict(file.metadata() or {})
    except DamagedFileError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def load_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a file, from its header, which the library checks against the file's size. Light.

    Raises:
        DamagedFileError: The file is missing, or its header is damaged; the tensors' values are not checked.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DamagedFileError:
    """The error for a damaged file: the library and torch may raise SafetensorError, RuntimeError, ValueError, KeyError
    and others.
    """
    if isinstance(error, FileNotFoundError):
        return DamagedFileError(path, "is missing")
    return DamagedFileError(path, f"is not a readable safetensors file: {first_line(error)}")


def nested(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a prefix before their names, to keep several groups in one file."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unnested(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the group with this prefix, by their names without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
