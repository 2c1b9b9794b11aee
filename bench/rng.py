"""Random numbers: every seed and every generator of the harness.

`derive_seed` makes independent seeds. `generator` returns generators that depend on the data seed. `uniform` and
`uniform_in_ball` are counter-based: a value depends on (seed, item, restart, pixel) and never on the batch. `seeded`,
`preserved` and `Generators` manage the global generators of Python, NumPy and torch, from which layers such as dropout
and many plug-ins draw. While such code runs, the harness replaces them by generators of a declared seed; afterwards it
restores the caller's. So a number depends on its key alone, not on the process or on earlier computations.

The counter-based generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014): a bijective 64-bit mixer applied to a counter.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.keys import canonical

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = [
    "Generators",
    "derive_seed",
    "derived_seed",
    "generator",
    "preserved",
    "seeded",
    "signed64",
    "splitmix64",
    "top_bits",
    "uniform",
    "uniform_in_ball",
]


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for a purpose, derived from ``seed``; seeds of different names are independent.

    >>> derive_seed(1, "train") == derive_seed(1, "train") != derive_seed(1, "predict")
    True
    """
    text = canonical([seed, *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str) -> np.random.Generator:
    """A PCG64 generator for the data: one stream for each purpose, the same for every model family.

    Args:
        seed: The data seed, 0 or more.
        name: The purpose, such as ``"cifar10/train"``; different names give independent streams.

    Raises:
        ValueError: The seed is negative.

    >>> generator(0, "digits").integers(10, size=3).tolist()
    [3, 7, 2]
    """
    if seed < 0:
        raise ValueError(f"data seed is {seed}, expected 0 or more")
    purpose = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose])))


def signed64(value: int) -> int:
    """An integer modulo 2^64 as the int64 with the same bits: torch has no arithmetic on uint64.

    >>> signed64(2**64 - 1), signed64(5)
    (-1, 5)
    """
    return (value + 2**63) % 2**64 - 2**63


_GAMMA = signed64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = signed64(0xBF58476D1CE4E5B9), signed64(0x94D049BB133111EB)
_BITS = 24  # bits of a value that a float32 in [0, 1) holds exactly


def top_bits(bits: Tensor, count: int) -> Tensor:
    """The highest ``count`` bits of int64 values as integers >= 0. A mask removes the sign bits that shifts repeat.

    >>> import torch
    >>> int(top_bits(torch.tensor(-1), 4))
    15
    """
    return (bits >> (64 - count)) & ((1 << count) - 1)


def splitmix64(key: Tensor, counter: Tensor | int) -> Tensor:
    """Output ``counter`` (from 0) of the SplitMix64 stream that starts at ``key``, as int64 with wrap-around.

    The mixer is Stafford's variant 13.

    >>> import torch
    >>> hex(int(splitmix64(torch.tensor(0), 0)) % 2**64)
    '0xe220a8397b1dcdaf'
    """
    distance = (counter + 1) * _GAMMA
    bits = key + (distance if not isinstance(distance, int) else signed64(distance))
    bits = (bits ^ top_bits(bits, 34)) * _MIX1
    bits = (bits ^ top_bits(bits, 37)) * _MIX2
    return bits ^ top_bits(bits, 33)


def _drawn(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.int64]:
    """(N, size) integers in [0, 2^24)."""
    import torch

    rows = np.asarray(ids, dtype=np.int64)
    if rows.ndim != 1:
        raise ValueError(f"ids must have shape (N,), got {rows.shape}")
    # The key of a row mixes in seed, id and restart, one after the other.
    key = splitmix64(torch.tensor([signed64(seed)]), 0)
    key = splitmix64(key ^ torch.from_numpy(rows), 0)
    key = splitmix64(key ^ signed64(restart), 0)
    drawn: NDArray[np.int64] = top_bits(splitmix64(key[:, None], torch.arange(size)), _BITS).numpy()
    return drawn


def uniform(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.float32]:
    """Independent uniform values in [0, 1).

    Args:
        seed: Seed of the attack; any integer.
        ids: (N,) ids of the images.
        restart: Number of the restart.
        size: Values per image; value i belongs to pixel i.

    Returns:
        (N, size), multiples of 2^-24.

    >>> bool((uniform(0, np.array([7, 8]), 0, 3)[1] == uniform(0, np.array([8]), 0, 3)[0]).all())
    True
    """
    return _drawn(seed, ids, restart, size).astype(np.float32) * np.float32(2.0**-_BITS)


def uniform_in_ball(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.float32]:
    """Points uniformly distributed in the unit L2 ball of dimension ``size``; arguments as in `uniform`.

    The direction comes from normal values (inverse distribution function); the radius is u^(1/size) with uniform u.

    >>> points = uniform_in_ball(0, np.array([7, 8]), 0, 3)
    >>> points.shape, bool((np.linalg.norm(points, axis=1) <= 1).all())
    ((2, 3), True)
    """
    from scipy.special import ndtri

    drawn = (_drawn(seed, ids, restart, size + 1).astype(np.float64) + 0.5) * 2.0**-_BITS
    directions = ndtri(drawn[:, :size])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points: NDArray[np.float32] = (directions * drawn[:, size:] ** (1 / size)).astype(np.float32)
    return points


def derived_seed(*parts: int | str) -> int:
    """A 31-bit seed that depends on every part, for libraries with a generator of their own.

    >>> derived_seed("ab", "c") == derived_seed("a", "bc")
    False
    """
    import torch

    state = torch.zeros((), dtype=torch.int64)
    for part in parts:
        data = part.encode() if isinstance(part, str) else (part % 2**64).to_bytes(8, "little")
        # The length comes first, so that ("ab", "c") and ("a", "bc") differ.
        for value in (len(data), *data):
            state = splitmix64(state ^ value, 0)
    return int(top_bits(state, 31))


@contextmanager
def preserved() -> Iterator[None]:
    """Restore the states of all global generators at the end, also after an exception."""
    import torch

    python_state = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - libraries draw from the legacy global generator
    torch_state = torch.get_rng_state()
    # get_rng_state_all would start CUDA in a process that has not touched it.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        else:
            # CUDA may have started meanwhile, or may start later; it then gets the caller's seed.
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all global generators inside the block, and restore the caller's states afterwards.

    Args:
        seed: 0 to 2^63 - 1, as `derive_seed` returns.
    """
    with preserved():
        _seed(seed)
        yield


class Generators:
    """The global generators of one training run, used while the run is active, with a state that can be saved.

    Args:
        seed: 0 to 2^63 - 1.
        device: The model's device. The state includes the generator of a CUDA device, and no other device's.
    """

    def __init__(self, seed: int, device: device) -> None:
        self._device = device
        self._at_work = False
        with seeded(seed):
            self._state = self._read()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Use these generators as the global ones inside the block; restore the process's own afterwards."""
        with preserved():
            self._write(self._state)
            self._at_work = True
            try:
                yield
            finally:
                self._state = self._read()
                self._at_work = False

    def seed(self, seed: int) -> None:
        """Restart the generators from another seed."""
        if self._at_work:
            _seed(seed)
        else:
            with seeded(seed):
                self._state = self._read()

    def state_dict(self) -> dict[str, Tensor]:
        """The current states, as tensors on the CPU."""
        return self._read() if self._at_work else dict(self._state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the states that ``state_dict`` returned."""
        if self._at_work:
            self._write(state)
        else:
            self._state = {name: tensor.cpu().clone() for name, tensor in state.items()}

    def _read(self) -> dict[str, Tensor]:
        import torch

        _, words, gauss = random.getstate()
        legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002
        _, key, position, has_gauss, cached = legacy
        state = {
            "torch": torch.get_rng_state(),
            "python": torch.tensor(words, dtype=torch.int64),
            # The second of a pair of normal values, if it has not been used yet.
            "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
            "numpy": torch.from_numpy(key.astype(np.int64)),
            "numpy_rest": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
        }
        if self._device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self._device)
        return state

    def _write(self, state: Mapping[str, Tensor]) -> None:
        import torch

        torch.set_rng_state(state["torch"].cpu())
        random.setstate((3, tuple(state["python"].tolist()), next(iter(state["python_gauss"].tolist()), None)))
        position, has_gauss, cached = state["numpy_rest"].tolist()
        key = state["numpy"].cpu().numpy().astype(np.uint32)
        np.random.set_state(("MT19937", key, int(position), int(has_gauss), cached))  # noqa: NPY002
        if self._device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"].cpu(), self._device)


def _seed(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
