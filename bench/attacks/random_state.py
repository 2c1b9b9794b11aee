"""Keeps the global random generators of Python, NumPy and torch as a caller left them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_random_state(seed: int | None = None) -> Iterator[None]:
    """Restore all global generators on the way out, also after an exception.

    Args:
        seed: If given, seeds them on the way in: for libraries that draw from global generators.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 (libraries draw from the legacy global generator)
    torch_state = torch.get_rng_state()
    # get_rng_state_all would start CUDA in a process that has not touched it.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
