"""How an attack library is called: what it sees, and what is kept from it.

The libraries only propose; `bench.attacks.judge` decides. They see a model whose logits are shifted
(see `ShiftedLogits`), frozen parameters, and generators of their own seed: global random state is put
back afterwards. An attack object is made for every batch, so that no state leaks between batches.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.rng import derived_seed, seeded

from .frozen import FrozenModel
from .problem import GradientHealth, Problem, Proposals
from .threat import ThreatModel, format_eps


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


@dataclass(frozen=True)
class LibraryAttack:
    """A library's attack with checked parameters.

    Attributes:
        name: Entry name, such as ``"torchattacks.PGD"``.
        threat: The threat model.
        params: Constructor arguments, resolved.
        restarts: How often images that are still classified correctly are attacked again with another seed.
        targeted: Whether targets are given.
        run: Calls the library for one batch.
        note: What the definition adds.
    """

    name: str
    threat: ThreatModel
    params: Mapping[str, object]
    restarts: int
    targeted: bool
    run: Callable[[Call], Tensor]
    note: str = ""

    @property
    def own(self) -> bool:
        """False: proposals outside the threat model are invalid, not an error."""
        return False

    @property
    def iterate(self) -> str:
        """What the library returns decides."""
        return "final"

    @property
    def definition(self) -> str:
        """For example ``torchattacks.PGD-linf[8/255, alpha=2/255, ..., torchattacks 3.5.1]``."""
        package = self.name.partition(".")[0]
        parts = [format_eps(self.threat.eps)]
        parts += [f"{key}={_written(value)}" for key, value in self.params.items()]
        parts += ["given targets"] if self.targeted else []
        parts += [f"{self.restarts} restart{'s' if self.restarts > 1 else ''}"]
        parts += [self.note] if self.note else []
        return f"{self.name}-{self.threat.norm}[{', '.join(parts)}, {package} {version(package)}]"

    def propose(self, problem: Problem) -> Proposals:
        """Attack batch by batch; the first restart that the judge accepts is kept, else the last."""
        count = len(problem.images)
        best = problem.images.clone()
        success = np.zeros(count, dtype=np.bool_)
        forwards = np.zeros(count)
        model = ShiftedLogits(problem.model, problem.device, problem.images.dtype)
        for restart in range(self.restarts):
            waiting = np.flatnonzero(~success)
            for start in range(0, len(waiting), problem.batch_size):
                rows = waiting[start : start + problem.batch_size]
                compute = partial(self._call, problem, model, rows, restart)
                found = problem.remember(f"restart {restart}, batch {start}", compute)
                forwards[rows] += float(found["forwards"]) / len(rows)
                best[torch.from_numpy(rows)] = found["images"]
                success[rows] = problem.judge(found["images"], rows).success
        return Proposals(
            images=best,
            forwards=forwards,
            steps=0,
            loss=np.full(count, np.nan),
            first_wrong=None,
            first_step=np.full(count, -1, dtype=np.int64),
            has_final=True,
            health=GradientHealth.unmeasured(count),
        )

    def _call(self, problem: Problem, model: ShiftedLogits, rows: np.ndarray, restart: int) -> dict[str, Tensor]:
        """What the library proposes for a batch, ``images``, and its forward passes, ``forwards``."""
        before = problem.model.forwards
        index = torch.from_numpy(rows)
        targets = problem.targets[index].to(problem.device) if problem.targets is not None else None
        seed = derived_seed(problem.seed, self.name, restart, int(problem.ids[rows[0]]))
        call = Call(
            model.eval(),
            problem.images[index].to(problem.device, torch.float32),
            problem.labels[index].to(problem.device),
            targets,
            seed,
            problem.clean_logits.shape[1],
        )
        with seeded(seed):
            proposals = self.run(call)
        return {
            "images": proposals.detach().to("cpu", problem.images.dtype),
            "forwards": torch.tensor(problem.model.forwards - before),
        }


def _written(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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


def constructor_of(package: str, path: str, params: Mapping[str, object]) -> Callable[..., Any]:
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
