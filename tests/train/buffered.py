"""A state of rows that trainers save, and everything that a checkpoint of such a trainer holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.train.checkpoint_files import files_of
from bench.train.loop import Trainer
from bench.train.snapshot import Selected, capture

ROWS = 24


class Buffer:
    """A state of rows: of two widths, of several types, and one tensor that is too narrow to be shared."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tensors = {
            "images": torch.rand(ROWS, 2, 3, generator=generator),
            "codes": torch.randint(0, 99, (ROWS, 3), generator=generator),
            "flags": torch.rand(ROWS, 8, generator=generator) < 0.5,
            "age": torch.zeros(ROWS, dtype=torch.int32),
        }

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        assert set(state) == set(self.tensors)
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])

    def change(self, row: int, value: int) -> None:
        for tensor in self.tensors.values():
            tensor[row] = value % 2 if tensor.dtype == torch.bool else value


def buffer(trainer: Trainer) -> Buffer:
    assert isinstance(trainer.state, Buffer)
    return trainer.state


def select(trainer: Trainer) -> None:
    state = {name: tensor.clone() for name, tensor in buffer(trainer).tensors.items()}
    trainer.selected = Selected(1, 0.5, {"weight": torch.tensor(1.0)}, state)


Snapshot = dict[str, Tensor]


def snapshot(trainer: Trainer) -> Snapshot:
    """All tensors of a trainer, the good epoch's if a checkpoint has them."""
    found = {f"now/{name}": tensor for name, tensor in capture(trainer, selected=True).tensors.items()}
    if trainer.iteration % trainer.per_epoch and trainer.good is not None:
        found |= {f"good/{name}": tensor for name, tensor in trainer.good.tensors.items()}
    return found


def assert_equal(found: Snapshot, expected: Snapshot) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def held(folder: Path) -> int:
    """Bytes of segments."""
    return sum(path.stat().st_size for path in files_of(folder).segments)
