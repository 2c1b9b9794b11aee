"""Random numbers of rows of tensors, made on any device: the same values everywhere but for rounding of float64.

A value depends on a seed, the identity of its row, for noise the step, and its place in the row, never on the batch.
The generator is SplitMix64 over the chain of these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from bench.rng.splitmix import signed64, splitmix64, top_bits

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "NoiseFn",
    "indexed_integers",
    "indexed_noise",
    "indexed_normal",
    "indexed_uniform",
    "indexed_unit",
    "permutation",
]

NoiseFn: TypeAlias = "Callable[[int, tuple[int, ...]], Tensor]"
"""``noise(step, shape)``: standard normal noise for one step, rows first; steps count from 0."""


def indexed_noise(seed: int, indices: Tensor, device: torch.device | str) -> NoiseFn:
    """Standard normal noise of a sampler: element e of row i in step t depends on (seed, indices[i], t, e) alone.

    So the noise of an item does not depend on the rest of its batch. Elements are counted within a row, last dimension
    fastest. The generator is counter-based: the finaliser of SplitMix64 (Steele et al. 2014) over a chain of seed,
    index, step and element, then the Box-Muller transform in float64. Absolute values stay below 6.8.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows.
        device: Device of the noise.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers. The returned function raises it if the number of rows
            is not N.

    >>> import torch
    >>> noise = indexed_noise(0, torch.tensor([7, 8]), "cpu")
    >>> bool((noise(3, (2, 5))[1] == indexed_noise(0, torch.tensor([8]), "cpu")(3, (1, 5))[0]).all())
    True
    """
    keys = _row_keys(_NORMAL, seed, indices, device)

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        if not shape or shape[0] != len(keys):
            raise ValueError(f"noise is for {len(keys)} indices, so its shape must start with that; got {shape}")
        return _normal(splitmix64(keys, step), math.prod(shape[1:])).reshape(shape)

    return noise


def indexed_normal(seed: int, indices: Tensor, shape: Sequence[int], device: torch.device | str) -> Tensor:
    """Standard normal noise for starts: element e of row i depends on (seed, indices[i], e) alone.

    It is independent of ``indexed_noise`` and ``indexed_uniform`` with the same seed and indices.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows.
        shape: Shape of one row, for example (C, H, W).
        device: Device of the noise.

    Returns:
        (N, *shape) float32.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers.

    >>> import torch
    >>> indexed_normal(0, torch.arange(2), (3, 4, 4), "cpu").shape
    torch.Size([2, 3, 4, 4])
    """
    keys = _row_keys(_NORMAL_START, seed, indices, device)
    return _normal(keys, math.prod(shape)).reshape(len(keys), *shape)


def indexed_uniform(
    seed: int,
    indices: Tensor,
    shape: Sequence[int],
    device: torch.device | str,
) -> Tensor:
    """Uniform noise for starts: element e of row i depends on (seed, indices[i], e) alone.

    It is independent of ``indexed_noise`` with the same seed and indices.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows.
        shape: Shape of one row, for example (C, H, W).
        device: Device of the noise.

    Returns:
        (N, *shape) float32 in [-1, 1], in 2^24 equal steps.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers.

    >>> import torch
    >>> bool(indexed_uniform(0, torch.arange(9), (3,), "cpu").abs().max() <= 1)
    True
    """
    import torch

    keys = _row_keys(_UNIFORM, seed, indices, device)
    bits = splitmix64(keys[:, None], torch.arange(math.prod(shape), device=keys.device))
    return (top_bits(bits, 24).double() * 2.0**-23 - 1).float().reshape(len(keys), *shape)


def indexed_unit(seed: int, indices: Tensor) -> Tensor:
    """One uniform number for each row: row i depends on (seed, indices[i]) alone.

    It is independent of the other functions with the same seed and indices, except ``indexed_integers`` and
    ``permutation``, which use the same bits.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows; the numbers are made on their device.

    Returns:
        (N,) float64 in [0, 1), in 2^53 equal steps.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers.

    >>> import torch
    >>> share = indexed_unit(0, torch.arange(10_000)).mean().item()
    >>> abs(share - 0.5) < 0.01
    True
    """
    return top_bits(_row_keys(_UNIT, seed, indices, indices.device), 53).double() * 2.0**-53


def indexed_integers(seed: int, indices: Tensor, high: int | Tensor) -> Tensor:
    """One integer for each row, uniform on 0 .. high - 1: the product of ``high`` and ``indexed_unit``, rounded down.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows; the integers are made on their device.
        high: Number of values, at least 1 and less than 2^53 (not checked on a device); (N,) for one per row.

    Returns:
        (N,) int64. Rounding never reaches ``high``: the largest number in float64 below 1 times high is below high.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers.

    >>> import torch
    >>> sorted(set(indexed_integers(0, torch.arange(50), 3).tolist()))
    [0, 1, 2]
    """
    return (indexed_unit(seed, indices) * high).long()


def permutation(seed: int, count: int, device: torch.device | str) -> Tensor:
    """A random order of 0 .. count - 1, (count,) int64: the order of one random 64-bit key for each.

    >>> permutation(3, 5, "cpu").sort().values.tolist()
    [0, 1, 2, 3, 4]
    """
    import torch

    # The keys of different items differ, so there are no ties.
    return torch.argsort(_row_keys(_UNIT, seed, torch.arange(count, device=device), device))


# Separate streams of one seed.
_NORMAL, _UNIFORM, _NORMAL_START, _UNIT = 0, 1, 2, 3


def _normal(keys: Tensor, count: int) -> Tensor:
    """(N, count) standard normal float32 values from (N,) keys, by the Box-Muller transform."""
    import torch

    bits = splitmix64(keys[:, None], torch.arange((count + 1) // 2, device=keys.device))
    # Shifted by half a step, so that the logarithm is finite.
    radius = top_bits(bits, 32).double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = bits.bitwise_and_(0xFFFFFFFF).double().mul_(2 * math.pi * 2.0**-32)
    pairs = torch.empty((*bits.shape, 2), dtype=torch.float32, device=keys.device)
    pairs[..., 0] = torch.cos(angle).mul_(radius)
    pairs[..., 1] = angle.sin_().mul_(radius)
    return pairs.flatten(1)[:, :count]


def _row_keys(stream: int, seed: int, indices: Tensor, device: torch.device | str) -> Tensor:
    """(N,) int64, one key for each (stream, seed, index): different for different indices."""
    import torch

    integral = not (indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool)
    if indices.ndim != 1 or not integral:
        raise ValueError(f"indices must be integers of shape (N,), got {indices.dtype} of shape {tuple(indices.shape)}")
    seed_key = splitmix64(torch.full((1,), signed64(seed), dtype=torch.int64, device=device), stream)
    return splitmix64(seed_key, indices.to(device, torch.int64))
