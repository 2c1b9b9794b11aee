"""How an attack library is called: what it sees, and what is kept from it.

The libraries only propose; `bench.attacks.judge` decides. They see a model whose logits are shifted
(see `ShiftedLogits`), frozen parameters, and generators of their own seed: global random state is put
back afterwards. An attack object is made for every batch, so that no state leaks between batches.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.rng import derived_seed, seeded

from .frozen import FrozenModel
from .in_turn import InTurn
from .problem import Problem
from .table import Table, unattacked


class ShiftedLogits(nn.Module):
    """The model as libraries see it: every row of logits shifted so that all of them are positive.

    torchattacks.CW (3.5.1) takes maxima over logits multiplied with a one-hot mask, where a masked entry
    counts as 0: with logits <= 0, as those of GMMC, its loss is constant. Subtracting the detached row
    minimum changes neither the prediction, nor differences of logits, nor their gradients; adding the
    detached range keeps the smallest logit from tying with a masked 0.

    Libraries work in float32, whatever the images are in: FAB of torchattacks makes float32 arrays of its own.
    """

    def __init__(self, model: FrozenModel, device: torch.device, number_type: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._type = number_type
        # Libraries read the device from the first parameter.
        self.device_marker = nn.Parameter(torch.zeros((), device=device), requires_grad=False)
        self._view = (model,)  # in a tuple: not a submodule, so that libraries cannot switch its mode

    def forward(self, images: Tensor) -> Tensor:
        """(N, K) shifted logits."""
        logits = self._view[0].logits(images.to(self._type)).float()
        if images.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
            # A model that ignores its input still needs a graph for the library to differentiate.
            logits = logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)
        low, high = logits.detach().aminmax(dim=1, keepdim=True)
        return logits - low + (high - low)


@dataclass(frozen=True)
class Call:
    """One batch for a library.

    Attributes:
        model: Shifted logits.
        images: (N, C, H, W) on the model's device.
        labels: (N,) true classes.
        targets: (N,) or None.
        seed: Seed of the batch.
        classes: Number of classes.
    """

    model: ShiftedLogits
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    seed: int
    classes: int


def propose(name: str, problem: Problem, restarts: int, run: Callable[[Call], Tensor]) -> Table:
    """Attack batch by batch; the first restart that the judge accepts is kept, else the last.

    Args:
        name: Of the attack: its batches have seeds of their own.
        problem: The images.
        restarts: How often images that are still classified correctly are attacked again with another seed.
        run: Calls the library for one batch.
    """
    turns = InTurn(problem, keep="last")
    model = ShiftedLogits(problem.model, problem.device, problem.images.dtype)
    for restart in range(restarts):
        rows = turns.left()
        if not len(rows):
            break
        part = problem.part(rows).within(f"restart {restart}")
        batches = []
        for start in range(0, len(rows), problem.batch_size):
            batch = part.part(np.arange(start, min(start + problem.batch_size, len(rows))))
            compute = partial(_call, name, batch, model, restart, run)
            batches.append(part.remember(f"batch {start}", compute))
        found = Table.joined(batches)
        turns.take(rows, 0, found, found["final"], restart)
    return turns.table


def _call(name: str, batch: Problem, model: ShiftedLogits, restart: int, run: Callable[[Call], Tensor]) -> Table:
    """What the library proposes for a batch, and the forward passes an image that it took."""
    before = batch.model.forwards
    targets = batch.targets.to(batch.device) if batch.targets is not None else None
    seed = derived_seed(batch.seed, name, restart, int(batch.ids[0]))
    images = batch.images.to(batch.device, torch.float32)
    call = Call(model.eval(), images, batch.labels.to(batch.device), targets, seed, batch.clean_logits.shape[1])
    with seeded(seed):
        proposals = run(call)
    found = unattacked(proposals.detach().to("cpu", batch.images.dtype))
    found["forwards"].fill_((batch.model.forwards - before) / len(batch.images))
    return found


def load(package: str) -> Any:
    """Import an attack library.

    Raises:
        ValueError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # old imports inside the libraries
            return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ValueError(f"{package} is not installed; attacks named '{package}.…' need it") from error


def constructor_of(package: str, path: str, params: Iterable[str]) -> Callable[..., Any]:
    """The attack class of an installed library, after a check that it takes these parameters."""
    constructor = load(package)
    for part in path.split("."):
        constructor = getattr(constructor, part)
    known = inspect.signature(constructor).parameters
    for name in params:
        if name not in known:
            raise ValueError(
                f"{package} {version(package)}: {path} has no parameter {name!r} (known: {', '.join(known)})"
            )
    checked: Callable[..., Any] = constructor
    return checked
