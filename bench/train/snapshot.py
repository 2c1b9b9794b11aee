"""A trainer's whole state as tensors and facts: weights, optimiser, streams, generators, buffer, guard, history."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.files.tensors import nested, unnested
from bench.train.guard import adjusted

if TYPE_CHECKING:
    from bench.train.loop import Trainer

__all__ = ["Captured", "Selected", "capture", "put_back"]


@dataclass(frozen=True)
class Captured:
    """The state between two iterations.

    Attributes:
        tensors: All tensors by nested name.
        facts: The rest, as JSON values.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


@dataclass
class Selected:
    """The selected epoch: its number, validation accuracy (None if the model does not classify), weights, and the
    family's state at that time.
    """

    epoch: int
    validation_accuracy: float | None
    weights: dict[str, Tensor]
    state: dict[str, Tensor]


def capture(trainer: Trainer, *, selected: bool = False, copy: bool = True) -> Captured:
    """The state of a trainer.

    Args:
        trainer: A trainer between two iterations.
        selected: Whether to include weights and state of the selected epoch. A restart does not need them, because it
            does not undo the selection of an earlier epoch.
        copy: Whether to copy the tensors, so that they do not change when training continues. A buffer is large, so
            callers that use the tensors before training continues should not copy them.
    """
    tensors: dict[str, Tensor] = nested("model", trainer.model.state_dict())
    for index, values in trainer.optimizer.state_dict()["state"].items():
        tensors |= nested(f"optimizer/{index}", values)
    if trainer.average is not None:
        tensors |= nested("average", trainer.average.weights)
    for name, stream in trainer.streams.items():
        tensors |= nested(f"stream/{name}", stream.state_dict())
    tensors["generator"] = trainer.generator.get_state()
    tensors["state_generator"] = trainer.state_generator.get_state()
    tensors |= nested("globals", trainer.globals.state_dict())
    tensors |= nested("sums", trainer.sums)
    if trainer.state is not None:
        tensors |= nested("state", trainer.state.state_dict())
    facts: dict[str, Any] = {
        "iteration": trainer.iteration,
        "history": trainer.history,
        "iterations": trainer.iterations,
        "trips": trainer.trips,
        "guard": trainer.guard.state(),
        "selected": None,
    }
    if selected and trainer.selected is not None:
        tensors |= nested("selected", trainer.selected.weights)
        tensors |= nested("selected_state", trainer.selected.state)
        facts["selected"] = [trainer.selected.epoch, trainer.selected.validation_accuracy]
    plain = {name: tensor.detach() for name, tensor in tensors.items()}
    return Captured({name: tensor.clone() for name, tensor in plain.items()} if copy else plain, deepcopy(facts))


def put_back(trainer: Trainer, captured: Captured) -> None:
    """Restore the state ``captured`` in a trainer; the selected epoch is restored only if it was captured."""
    tensors, facts = captured.tensors, captured.facts
    trainer.model.load_state_dict(unnested("model", tensors))
    saved = trainer.optimizer.state_dict()
    parameters = {name.split("/")[1] for name in tensors if name.startswith("optimizer/")}
    # Copies: the optimiser updates its state in place, and the captured one may be needed again.
    saved["state"] = {
        int(index): {k: v.clone() for k, v in unnested(f"optimizer/{index}", tensors).items()} for index in parameters
    }
    trainer.optimizer.load_state_dict(saved)
    if trainer.average is not None:
        for name, value in unnested("average", tensors).items():
            trainer.average.weights[name].copy_(value)
    for name, stream in trainer.streams.items():
        stream.load_state_dict(unnested(f"stream/{name}", tensors))
    trainer.generator.set_state(tensors["generator"].cpu())
    trainer.state_generator.set_state(tensors["state_generator"].cpu())
    trainer.globals.load_state_dict(unnested("globals", tensors))
    trainer.sums = {name: tensor.clone() for name, tensor in _on(trainer.device, unnested("sums", tensors)).items()}
    if trainer.state is not None:
        trainer.state.load_state_dict(unnested("state", tensors))
    trainer.iteration = facts["iteration"]
    trainer.history = deepcopy(facts["history"])
    trainer.iterations = deepcopy(facts["iterations"])
    trainer.trips = deepcopy(facts["trips"])
    trainer.guard.load(facts["guard"])
    trainer._unread = []
    measures = trainer.trips[-1]["measures"] if trainer.trips else []
    trainer.family.config = adjusted(trainer.asked, measures)
    if facts["selected"] is not None:
        epoch, accuracy = facts["selected"]
        weights = _on(trainer.device, unnested("selected", tensors))
        trainer.selected = Selected(epoch, accuracy, weights, _on(trainer.device, unnested("selected_state", tensors)))


def _on(device: torch.device, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
