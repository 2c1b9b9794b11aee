"""Calls attack libraries.

The libraries only propose images; `bench.attacks.judge` decides. They get a model with shifted logits (see
`ShiftedLogits`), frozen parameters, and global generators seeded for the call; the global random state is restored
afterwards. Every batch has its own attack object, so that no state leaks between batches.
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

import torch
from torch import Tensor, nn

from bench.rng import derived_seed, seeded

from .frozen import FrozenModel
from .in_turn import InTurn
from .problem import Problem
from .table import Table, unattacked


class ShiftedLogits(nn.Module):
    """The model as libraries see it: every row of logits shifted so that all of them are positive.

    torchattacks.CW (3.5.1) takes maxima over logits multiplied by a one-hot mask, where a masked entry counts as 0:
    with logits <= 0, such as those of GMMC, its loss is constant. Subtracting the detached row minimum changes neither
    the prediction, nor differences of logits, nor their gradients; adding the detached range keeps the smallest logit
    above a masked 0.

    Libraries always work in float32: FAB of torchattacks creates float32 arrays.
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
            # The library needs a graph to differentiate, even if the model ignores its input.
            logits = logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)
        low, high = logits.detach().aminmax(dim=1, keepdim=True)
        return logits - low + (high - low)


@dataclass(frozen=True)
class Call:
    """One batch for a library.

    Attributes:
        model: The model with shifted logits.
        images: (N, C, H, W) in [0, 1], float32, on the model's device.
        labels: (N,) true classes.
        targets: (N,) classes to reach, or None.
        seed: Seed of the batch.
    """

    model: ShiftedLogits
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    seed: int


def propose(name: str, problem: Problem, restarts: int, run: Callable[[Call], Tensor]) -> Table:
    """Attack batch by batch; the first proposal that the judge accepts is kept, else the last one.

    Args:
        name: Name of the attack, from which the seeds of batches are derived.
        problem: The images.
        restarts: Number of runs, each with another seed, on the images that are still classified correctly.
        run: Calls the library for one batch.
    """
    turns = InTurn(problem, keep="last")
    model = ShiftedLogits(problem.model, problem.device, problem.images.dtype)
    for restart in range(restarts):
        rows = turns.left()
        if not len(rows):
            break
        part = problem.part(rows).within(f"restart {restart}")
        call = partial(_call, name, model, restart, run)
        found = Table.joined([part.remember(piece, partial(call, batch)) for piece, batch in part.batches()])
        turns.take(rows, 0, found, found["final"], restart)
    return turns.table


def _call(name: str, model: ShiftedLogits, restart: int, run: Callable[[Call], Tensor], batch: Problem) -> Table:
    """The proposals of the library for a batch, and its forward passes per image."""
    before = batch.model.forwards
    goal = batch.goal.to(batch.device)
    seed = derived_seed(batch.seed, name, restart, int(batch.ids[0]))
    images = batch.images.to(batch.device, torch.float32)
    call = Call(model.eval(), images, goal.labels, goal.targets, seed)
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
    """The attack class of an installed library.

    Raises:
        ValueError: The library is not installed, or the class has no parameter of one of these names.
    """
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
