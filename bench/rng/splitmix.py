"""SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) on tensors.

It is counter-based: a bijective 64-bit mixer applied to a counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["signed64", "splitmix64", "top_bits"]


def signed64(value: int) -> int:
    """An integer modulo 2^64 as the int64 with the same bits: torch has no arithmetic on uint64.

    >>> signed64(2**64 - 1), signed64(5)
    (-1, 5)
    """
    return (value + 2**63) % 2**64 - 2**63


_GAMMA = signed64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = signed64(0xBF58476D1CE4E5B9), signed64(0x94D049BB133111EB)


def top_bits(bits: Tensor, count: int) -> Tensor:
    """The highest ``count`` bits of int64 values as integers >= 0. A mask removes the sign bits that shifts repeat.

    >>> import torch
    >>> int(top_bits(torch.tensor(-1), 4))
    15
    """
    return (bits >> (64 - count)).bitwise_and_((1 << count) - 1)


def splitmix64(key: Tensor, counter: Tensor | int) -> Tensor:
    """Output ``counter`` (from 0) of the SplitMix64 stream that starts at ``key``, as int64 with wrap-around.

    The mixer is Stafford's variant 13.

    >>> import torch
    >>> hex(int(splitmix64(torch.tensor(0), 0)) % 2**64)
    '0xe220a8397b1dcdaf'
    """
    distance = (counter + 1) * _GAMMA
    bits = key + (distance if not isinstance(distance, int) else signed64(distance))
    # In place: `bits` is a new tensor, and the sampler of a training step calls this for each of its values.
    bits = bits.bitwise_xor_(top_bits(bits, 34)).mul_(_MIX1)
    bits = bits.bitwise_xor_(top_bits(bits, 37)).mul_(_MIX2)
    return bits.bitwise_xor_(top_bits(bits, 33))
