"""The table of facts on images during an attack: one column per fact, one row per image.

Attacks fill its columns, restarts and losses replace rows by those of later runs, batches are joined, and a journal
keeps the columns by name. The columns:

================== ===========================================================================================
``final``          (N, C, H, W) the final iterate, the clean image where the attack gave up
``first``          (N, C, H, W) the first iterate that reached the goal, ``final`` if none did; absent if not tracked
``first_step``     number of that iterate, 0 being the start; -1 for never
``final_wrong``    whether the final iterate reached the goal
``final_margin``   margin of the final iterate towards the goal
``loss``           loss of the attack at its last iterate; NaN for libraries
``forwards``       forward passes that the attack spent; a batch average for libraries
``start_gradient`` largest absolute input gradient of the loss at the first iterate of the first restart
``last_gradient``  the same at the iterate before the last step
``start_probability``, ``last_probability``  softmax(z)_y in float32 at the same iterates
================== ===========================================================================================

Gradients and probabilities are NaN where not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .gradients import per_image
from .result import HEALTH, Composition, GradientHealth

__all__ = ["HEALTH", "Found", "Table", "unattacked"]


class Table:
    """Columns by name: tensors with first dimension N.

    >>> table = Table({"loss": torch.tensor([1.0, 2.0, 3.0])})
    >>> table.overlay(torch.tensor([0, 2]), torch.tensor([True, False]), {"loss": torch.tensor([7.0, 9.0])})
    >>> table["loss"].tolist()
    [7.0, 2.0, 3.0]
    """

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def to(self, device: torch.device) -> Table:
        """The table on a device."""
        return Table({name: column.to(device) for name, column in self.columns.items()})

    def rows(self, index: Tensor) -> Table:
        """The rows of an index (M,), or of a mask (N,)."""
        return Table({name: column[index] for name, column in self.columns.items()})

    def overlay(self, rows: Tensor, which: Tensor, values: Mapping[str, Tensor | int]) -> None:
        """Replace, of the ``rows`` (M,), those that a mask (M,) marks. The host does not wait for the device.

        Args:
            rows: Different indices; in ascending order if they are all.
            which: The mask.
            values: By column M values, or one for all.
        """
        whole = len(rows) == len(self)
        for name, new in values.items():
            column = self.columns[name]
            old = column if whole else column[rows]
            merged = torch.where(per_image(which, old), new, old)
            if whole:
                self.columns[name] = merged
            else:
                column[rows] = merged

    @staticmethod
    def joined(parts: Iterable[Table]) -> Table:
        """The rows of several tables, one after the other, contiguous on the CPU."""
        tables = list(parts)
        names = tables[0].columns
        return Table({name: torch.cat([part[name].contiguous().cpu() for part in tables]) for name in names})

    @property
    def health(self) -> GradientHealth:
        """Gradient health of the images."""
        return GradientHealth(**{name: self[name].double().numpy() for name in HEALTH})

    def without_health(self) -> Table:
        """The table with gradients and probabilities set to NaN, which means not measured."""
        health = {name: torch.full_like(self[name], torch.nan) for name in HEALTH}
        return Table({**self.columns, **health})


def unattacked(images: Tensor) -> Table:
    """The table of images (N, C, H, W) before an attack, without the columns of iterates."""
    count = len(images)
    columns = {
        "final": images.clone(),
        "first_step": torch.full((count,), -1, dtype=torch.int64),
        "forwards": torch.zeros(count, dtype=torch.float64),
        "loss": torch.full((count,), torch.nan, dtype=torch.float64),
        **{name: torch.full((count,), torch.nan, dtype=torch.float64) for name in HEALTH},
    }
    return Table(columns)


@dataclass(frozen=True)
class Found:
    """The unjudged result of an attack.

    Attributes:
        table: The table of the images of its problem.
        steps: Number of the final iterate.
        has_final: Whether every image has been attacked up to its final iterate.
        composition: Which member of a composed attack broke which image; None for other attacks.
    """

    table: Table
    steps: int = 0
    has_final: bool = True
    composition: Composition | None = None
