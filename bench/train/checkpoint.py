"""A trainer's whole state as one file: weights, optimiser, streams, generators, buffer, history, selected epoch.

Taken between epochs and written atomically, so that ``kill -9`` at any instant loses at most the epochs since the
last one, and the run that goes on is the run that would have been, to the bit (same machine, threads and versions).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from bench.tensors import load_tensors, nested, save_tensors, unnested
from bench.train.loop import Snapshot, Trainer

__all__ = ["CHECKPOINT", "restore", "save"]

CHECKPOINT = "checkpoint.safetensors"


def save(trainer: Trainer, path: Path) -> None:
    """Write the state of a trainer that stands between two epochs."""
    tensors: dict[str, Tensor] = nested("model", trainer.model.state_dict())
    for index, values in trainer.optimizer.state_dict()["state"].items():
        tensors |= nested(f"optimizer/{index}", values)
    for name, stream in trainer.streams.items():
        tensors |= nested(f"stream/{name}", stream.state_dict())
    tensors["generator"] = trainer.generator.get_state()
    if trainer.state is not None:
        tensors |= nested("state", trainer.state.state_dict())
    facts: dict[str, Any] = {"epoch": trainer.epoch, "history": trainer.history, "selected": None}
    if trainer.selected is not None:
        tensors |= nested("selected", trainer.selected.weights)
        tensors |= nested("selected_state", trainer.selected.state)
        facts["selected"] = [trainer.selected.epoch, trainer.selected.validation_accuracy]
    save_tensors(path, tensors, {"facts": json.dumps(facts)})


def restore(trainer: Trainer, path: Path) -> bool:
    """Put a saved state back into a freshly made trainer; False if there is none that can be read."""
    try:
        tensors, metadata = load_tensors(path)
    except (FileNotFoundError, safetensors.SafetensorError):
        return False
    facts = json.loads(metadata["facts"])
    device = trainer.device
    trainer.model.load_state_dict(unnested("model", tensors))
    saved = trainer.optimizer.state_dict()
    parameters = {name.split("/")[1] for name in tensors if name.startswith("optimizer/")}
    saved["state"] = {int(index): unnested(f"optimizer/{index}", tensors) for index in parameters}
    trainer.optimizer.load_state_dict(saved)
    for name, stream in trainer.streams.items():
        stream.load_state_dict(unnested(f"stream/{name}", tensors))
    trainer.generator.set_state(tensors["generator"])
    if trainer.state is not None:
        trainer.state.load_state_dict(unnested("state", tensors))
    trainer.epoch = facts["epoch"]
    trainer.history = facts["history"]
    if facts["selected"] is not None:
        epoch, accuracy = facts["selected"]
        trainer.selected = Snapshot(
            epoch,
            accuracy,
            _on(device, unnested("selected", tensors)),
            _on(device, unnested("selected_state", tensors)),
        )
    return True


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
