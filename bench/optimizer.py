"""How weights are updated: the settings of the optimiser, and the schedule of the learning rate. Free of torch."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    model_validator,
)

__all__ = ["SHORT", "Betas", "Optimizer", "OptimizerConfig", "Schedule", "learning_rate"]

Schedule = Literal["step", "cosine", "constant"]
Betas = tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
_Kind = Literal["adam", "adamw", "sgd"]

SHORT = "adam"
"""The default in one word, as suites and keys have it."""


class OptimizerConfig(BaseModel):
    """``[model.optimizer]``: the rule of torch.optim by which gradients change weights.

    Examples:
        >>> str(OptimizerConfig(kind="sgd", momentum=0.9, nesterov=True, weight_decay=5e-4))
        'sgd, momentum 0.9, Nesterov, weight decay 0.0005'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    kind: _Kind = Field(
        "adam", description="adam (Kingma and Ba 2015), adamw (Loshchilov and Hutter 2019) or sgd, as in torch.optim"
    )
    betas: Betas = Field((0.9, 0.999), description="Decays of Adam's two moving averages; not for sgd")
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of sgd")
    nesterov: bool = Field(False, description="Nesterov's form of the momentum of sgd")
    weight_decay: NonNegativeFloat = Field(
        0.0,
        description="Weight decay: added to the gradient by adam and sgd (an L2 penalty of half this factor), taken off"
        " the weights apart from the gradient by adamw",
    )

    @model_validator(mode="after")
    def _fits(self) -> OptimizerConfig:
        if self.kind == "sgd" and self.betas != (0.9, 0.999):
            raise ValueError("sgd has no betas; expected momentum, or kind = 'adam'")
        if self.kind != "sgd" and (self.momentum or self.nesterov):
            raise ValueError(f"{self.kind} has no momentum; expected betas, or kind = 'sgd'")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def __str__(self) -> str:
        parts: list[str] = [self.kind]
        parts += [f"betas {self.betas[0]:g}, {self.betas[1]:g}"] if self.betas != (0.9, 0.999) else []
        parts += [f"momentum {self.momentum:g}"] if self.momentum else []
        parts += ["Nesterov"] if self.nesterov else []
        parts += [f"weight decay {self.weight_decay:g}"] if self.weight_decay else []
        return ", ".join(parts)


def _expanded(value: Any) -> Any:
    """A table: ``"sgd"`` is short for one with this kind. Lists, which JSON has in place of tuples, become tuples."""
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict):
        return {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    return value


Optimizer = Annotated[OptimizerConfig, BeforeValidator(_expanded)]
"""An optimiser as a suite writes it: a table, or the name of its kind."""


def learning_rate(config: Any, iteration: int, per_epoch: PositiveInt) -> float:
    """The learning rate of an iteration, from 0.

    While ``iteration <= warmup`` it is ``lr * iteration / warmup``, as in the JEM and GMMC code: iteration 0 changes
    nothing, and decays during the warm-up are lost. Afterwards:

    - ``step``: ``lr`` times ``decay_rate`` for each listed epoch that has begun since the warm-up.
    - ``cosine``: from ``lr`` at the end of the warm-up to ``final_lr`` after the last iteration, along half a period
      of a cosine (Loshchilov and Hutter 2017, Eq. 5, without restarts).
    - ``constant``: ``lr``.

    Args:
        config: The values of lr, warmup, schedule, decay_epochs, decay_rate, final_lr and epochs.
        iteration: Number of the iteration, from 0.
        per_epoch: Iterations per epoch.
    """
    if config.warmup and iteration <= config.warmup:
        return float(config.lr * iteration / config.warmup)
    if config.schedule == "constant":
        return float(config.lr)
    if config.schedule == "cosine":
        done = (iteration - config.warmup) / max(1, config.epochs * per_epoch - config.warmup)
        return float(config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * done)) / 2)
    starts = {epoch * per_epoch for epoch in config.decay_epochs}  # an epoch listed twice decays once
    begun = sum(start <= iteration and (start > config.warmup or not config.warmup) for start in starts)
    return float(config.lr * config.decay_rate**begun)
