"""What a training step of a generative family logs of its energies."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["logged_energies"]


def logged_energies(real: Tensor, sampled: Tensor) -> dict[str, Tensor]:
    """Scalars of a training step from which the evaluation ``energies`` makes its numbers and intervals.

    Args:
        real: Energies E(x) of the real batch, shape (n,).
        sampled: Energies of the samples, shape (m,).

    Returns:
        For each batch the mean, the standard error of the mean if there are at least two images, and their number.
    """
    logs = {}
    for name, energies in (("energy_real", real.detach()), ("energy_sampled", sampled.detach())):
        logs[name] = energies.mean()
        logs[f"{name}_items"] = torch.tensor(float(len(energies)))
        if len(energies) > 1:
            logs[f"{name}_error"] = energies.std() / len(energies) ** 0.5
    return logs
