"""Checks the results of a family and its classifier against their contract (``bench.family``) at each call.

A family may be a plug-in. Logits of a wrong shape may broadcast without an error and end as a validation accuracy of
175 %; a log called ``loss`` would hide divergence from the guard. The errors name the function that broke the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.family import Classifier, Model, Step, StreamSpec

__all__ = [
    "RESERVED",
    "FamilyContractError",
    "checked_model",
    "checked_state",
    "checked_step",
    "checked_streams",
    "check_rows",
]

RESERVED = frozenset({"loss", "epoch", "iteration", "iterations", "lr", "validation_accuracy", "seconds"})
"""Names that the training loop logs itself; the logs of a step cannot use them."""


class FamilyContractError(BenchError):
    """A family or its classifier returned something that its contract does not allow."""


def checked_model(
    model: object, num_classes: int, image_shape: tuple[int, int, int], who: str, *, classifies: bool = True
) -> Model:
    """The checked result of ``Family.build``.

    Args:
        model: The result.
        num_classes: K.
        image_shape: (C, H, W).
        who: The family, for messages.
        classifies: Whether the spec says so.

    Raises:
        FamilyContractError: It is not a ``Classifier``, or a ``Model`` if the family does not classify, or has another
            number of classes or image shape.
    """
    expected = Classifier if classifies else Model
    if not isinstance(model, expected):
        raise FamilyContractError(f"{who}.build returned {_kind(model)}, expected a bench.family.{expected.__name__}")
    if isinstance(model, Classifier) != classifies:
        raise FamilyContractError(f"{who}.build returned a Classifier, but its spec says classifies = False")
    if model.num_classes != num_classes:
        raise FamilyContractError(f"{who}.build: num_classes is {model.num_classes!r}, expected {num_classes}")
    if tuple(model.image_shape) != tuple(image_shape):
        raise FamilyContractError(f"{who}.build: image_shape is {model.image_shape!r}, expected {tuple(image_shape)}")
    return model


def checked_streams(streams: object, who: str) -> Mapping[str, StreamSpec]:
    """The checked result of ``Family.streams``.

    Raises:
        FamilyContractError: It is not a mapping from names to ``StreamSpec``, or it is empty.
    """
    if not isinstance(streams, Mapping) or not streams:
        raise FamilyContractError(f"{who}.streams returned {_kind(streams)}, expected at least one StreamSpec by name")
    for name, stream in streams.items():
        if not isinstance(name, str) or not isinstance(stream, StreamSpec):
            raise FamilyContractError(f"{who}.streams: {name!r} is {_kind(stream)}, expected a StreamSpec by name")
    return streams


def checked_state(state: Any, who: str) -> Any:
    """The checked result of ``Family.start``: None, or an object whose ``state_dict`` can be saved.

    Raises:
        FamilyContractError: It is neither.
    """
    if state is None:
        return None
    if not all(callable(getattr(state, name, None)) for name in ("state_dict", "load_state_dict")):
        raise FamilyContractError(
            f"{who}.start returned {_kind(state)}, expected None or a state with state_dict and load_state_dict"
        )
    tensors = state.state_dict()
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise FamilyContractError(f"{who}.start: state_dict of the state returns no mapping from names to tensors")
    return state


def checked_step(step: object, who: str) -> Step:
    """The checked result of ``Family.training_step``, with detached logs; Python numbers in them become tensors.

    Raises:
        FamilyContractError: It is not a ``Step``, its loss is not a real scalar with a gradient, a log is not a real
            scalar, or a log has a name in ``RESERVED``.
    """
    where = f"{who}.training_step"
    if not isinstance(step, Step):
        raise FamilyContractError(f"{where} returned {_kind(step)}, expected a bench.family.Step")
    loss: Any = step.loss
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        raise FamilyContractError(f"{where}: the loss is {_kind(loss)}, expected a scalar tensor of a floating type")
    if not loss.requires_grad:
        raise FamilyContractError(f"{where}: the loss has no gradient; was it detached, or computed without one?")
    logs: object = step.logs
    if not isinstance(logs, Mapping):
        raise FamilyContractError(f"{where}: the logs are {_kind(logs)}, expected scalars by name")
    if step.again is not None and not callable(step.again):
        raise FamilyContractError(f"{where}: again is {_kind(step.again)}, expected a function that returns the loss")
    return Step(loss, {name: _log(name, value, where, loss) for name, value in logs.items()}, step.again)


def _log(name: object, value: object, where: str, loss: Tensor) -> Tensor:
    if not isinstance(name, str) or name in RESERVED:
        others = ", ".join(sorted(RESERVED))
        raise FamilyContractError(f"{where}: a log is called {name!r}, expected a text that is none of {others}")
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.detach() if value.is_floating_point() else value.detach().float()
    if isinstance(value, Real):
        return torch.full((), float(value), device=loss.device)  # a tensor of a number would be copied to the device
    raise FamilyContractError(f"{where}: the log {name!r} is {_kind(value)}, expected a real scalar")


def check_rows(found: object, name: str, items: int, width: int | None = None, *, vector: bool = False) -> None:
    """Check the shape and type of a classifier's output.

    Args:
        found: The output.
        name: Its name in messages, such as ``"classify"``.
        items: N, the number of images.
        width: Entries of a row, such as K for logits; None for any number.
        vector: Whether the shape is (N,).

    Raises:
        FamilyContractError: It is not a dense floating-point tensor of shape (N, width) or (N,).
    """
    shape = f"({items},)" if vector else f"({items}, {'d' if width is None else width})"
    problem = not isinstance(found, Tensor) or found.layout != torch.strided or not found.is_floating_point()
    if isinstance(found, Tensor) and not problem:
        fits = found.ndim == 1 if vector else found.ndim == 2 and width in (None, found.shape[1])
        problem = not fits or len(found) != items or found.device.type == "meta"
    if problem:
        raise FamilyContractError(
            f"{name} returned {_kind(found)} for {items} images, expected a tensor of a floating type of shape {shape}"
        )


def _kind(value: object) -> str:
    """A short description of a value, for messages."""
    if not isinstance(value, Tensor):
        return type(value).__name__ if value is not None else "None"
    layout = "" if value.layout == torch.strided else f"{value.layout} ".removeprefix("torch.")
    return f"a {layout}tensor of {str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
