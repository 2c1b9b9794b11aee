"""The global generators of Python, NumPy and torch: seeded while declared work runs, and the caller's afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = ["Generators", "preserved", "seeded"]


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
