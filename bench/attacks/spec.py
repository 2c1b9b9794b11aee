"""The base class of attacks: parameters with their checks, definition, cost, and execution.

An attack is one frozen object without torch and is its own configuration. Suites, plans and tables read it; a worker
calls ``attack``, which imports the code that does the work. A new attack is one module with such a class, registered in
`bench.attacks.named` or, by other packages, under the entry-point group ``bench.attacks``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, isfinite
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, WithJsonSchema, model_validator
from typing_extensions import override

from bench.registry import Configured

from .losses import LOSSES, get_loss, loss_schema
from .threat import LARGEST, NORMS, StepSize, ThreatModel, format_eps, parse_eps, parse_step

if TYPE_CHECKING:
    from .problem import Problem
    from .table import Found

__all__ = [
    "HALVE_AT",
    "GIVEN_TARGETS",
    "PRECISIONS",
    "Attack",
    "Count",
    "Decaying",
    "Switch",
    "LossName",
    "Precision",
    "NotNegative",
    "Positive",
    "Queries",
    "Shape",
    "Share",
    "Step",
    "check_reach",
    "halved_text",
    "one_of",
    "restarts_text",
    "search_text",
    "sweep_definition",
    "written",
]

Shape = tuple[int, int, int]
"""Channels, height, width."""
HALVE_AT = (0.5, 0.75)
"""Shares of the steps after which attacks with decaying steps halve their step size."""
PRECISIONS = ("float32", "bf16", "auto")
"""Values of the parameter ``search_precision`` of attacks."""
GIVEN_TARGETS = "given targets"
"""Text of definitions for attacks with a given target class for each image."""


def _checked(allowed: Callable[[Any], bool], wanted: str) -> BeforeValidator:
    """A validator of a parameter that must be ``allowed``; the value is not converted."""

    def check(value: Any) -> Any:
        if not allowed(value):
            raise ValueError(f"must be {wanted}, got {value!r}")
        return value

    return BeforeValidator(check)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _step(value: Any) -> Any:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"must be a number or a string, got {value!r}")
    parse_step(value)
    return value


def _loss(value: Any) -> Any:
    get_loss(value)
    return value


Count = Annotated[int, _checked(lambda v: _whole(v) and 1 <= v < 2**31, "an integer >= 1")]
Queries = Annotated[int, _checked(lambda v: _whole(v) and 0 <= v < 2**31, "an integer >= 0")]
Switch = Annotated[bool, _checked(lambda v: isinstance(v, bool), "true or false")]
Positive = Annotated[
    Any, _checked(lambda v: _number(v) and 1 / LARGEST <= v <= LARGEST, f"a number > 0 and at most {LARGEST:g}")
]
NotNegative = Annotated[Any, _checked(lambda v: _number(v) and 0 <= v <= LARGEST, f"a number from 0 to {LARGEST:g}")]
Share = Annotated[Any, _checked(lambda v: _number(v) and 0 < v <= 1, "a number > 0 and at most 1")]
Step = Annotated[Any, BeforeValidator(_step)]
LossName = Annotated[str, BeforeValidator(_loss), WithJsonSchema(loss_schema())]


def one_of(*names: str) -> BeforeValidator:
    """A validator of a parameter that must be one of ``names``."""
    return _checked(lambda v: v in names, " or ".join(map(repr, names)))


Precision = Annotated[str, one_of(*PRECISIONS)]
"""The precision of a search; see `bench.attacks.searching`."""


class Attack(Configured, ABC):
    """An attack with its parameters; those that are not given have their defaults.

    Class attributes:
        name: As written in suites.
        summary, source: For ``describe``.
        norms: Supported norms.
        version: Raised by hand when a change of code changes a number; None: keys contain the digest of the source. The
            versions of evaluations cover our own attacks.
        own: Whether a proposal outside the threat model is a bug; otherwise, as for libraries, it is not a success.
        minimises_norm: Whether it searches for the smallest perturbation, so that eps is optional.
        targetable: Whether it accepts targets.
        startable: Whether it accepts images to start from.
        needs_surrogate: Whether it takes its gradients from another model.
        later: Parameters that were added after results had been stored. While they have their defaults, definitions do
            not name them.
    """

    plugin_kind = "attack"

    summary: ClassVar[str]
    source: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = NORMS
    version: ClassVar[int | None] = None
    own: ClassVar[bool] = True
    minimises_norm: ClassVar[bool] = False
    targetable: ClassVar[bool] = True
    startable: ClassVar[bool] = False
    needs_surrogate: ClassVar[bool] = False
    later: ClassVar[frozenset[str]] = frozenset({"search_precision"})

    @property
    def decided_by(self) -> str:
        """``"final"`` if the last proposal decides, ``"any"`` if one wrong iterate is enough."""
        return "final"

    @property
    def stated(self) -> dict[str, Any]:
        """The parameters that a definition names, by name."""
        fields = type(self).model_fields
        given = self.parameters.items()
        return {name: value for name, value in given if name not in self.later or value != fields[name].default}

    @property
    def is_random(self) -> bool:
        """Whether two runs with different seeds may differ."""
        return False

    @property
    def needs_centers(self) -> bool:
        """Whether it applies only to models with class centers."""
        loss = getattr(self, "loss", None)
        return loss in LOSSES and LOSSES[loss].needs_centers

    @abstractmethod
    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """Every resolved parameter, for the caption of a number.

        Args:
            threat: Norm and budget.
            targets: How the classes to reach are chosen, as text; None: any wrong class is a success.
        """

    @abstractmethod
    def passes(self) -> float:
        """Network passes, in forward-equivalents, for an image that survives the whole attack, without the judge's."""

    def impossible(self, norm: str, shape: Shape, classes: int) -> str | None:  # noqa: ARG002 - for subclasses
        """Why the attack cannot run, or None if nothing is known to prevent it.

        The default checks the number of classes that a parameter ``loss`` needs.

        Args:
            norm: ``"linf"`` or ``"l2"``.
            shape: Channels, height and width of an image.
            classes: Number of classes K.
        """
        loss = getattr(self, "loss", None)
        least = get_loss(loss).min_classes if loss is not None else 2
        if classes >= least:
            return None
        return f"{self.name} with loss {loss} needs at least {least} classes, there are {classes}"

    def check(self, threat: ThreatModel, *, targeted: bool) -> None:
        """Check the parameters against a threat model, and whether targets are accepted.

        Raises:
            ValueError: Targets are not accepted, or the parameters do not fit the threat model.
        """
        if targeted and not self.targetable:
            raise ValueError(f"attack {self.name!r} takes no targets")
        if not self.minimises_norm and not isfinite(threat.eps):
            raise ValueError(f"{self.name} needs a finite eps")

    @abstractmethod
    def attack(self, problem: Problem) -> Found:
        """Attack the images of a problem. Runs in a worker; may import torch."""


class Decaying(Attack):
    """An attack from random starts whose step size is halved after the shares `HALVE_AT`; its steps together must cross
    the ball.
    """

    if TYPE_CHECKING:
        steps: int
        step: Any

    @model_validator(mode="after")
    def _reach(self) -> Self:
        check_reach(self.steps, parse_step(self.step), None)
        return self

    @property
    @override
    def is_random(self) -> bool:
        return True

    def check(self, threat: ThreatModel, *, targeted: bool) -> None:
        """Check also that the steps cross the ball.

        Raises:
            ValueError: They do not, or the checks of `Attack.check` fail.
        """
        super().check(threat, targeted=targeted)
        check_reach(self.steps, parse_step(self.step), threat.eps)


def written(value: object) -> str:
    """The value of a parameter as definitions print it.

    >>> written(1 / 3), written(["ce", "margin"]), written(True)
    ('0.333333', 'ce + margin', 'True')
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    return " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def restarts_text(restarts: int) -> str:
    """Text such as ``"2 restarts"``."""
    return f"{restarts} restart{'s' if restarts > 1 else ''}"


def search_text(precision: str, last: str | None) -> list[str]:
    """What a definition says of the precision of a search: nothing for float32.

    Args:
        precision: One of `PRECISIONS`.
        last: What runs in float32 all the same at the end of the search, such as ``"last restart"``.

    >>> search_text("bf16", "last restart"), search_text("float32", None)
    (['search in bf16 (last restart in float32)'], [])
    """
    if precision == "float32":
        return []
    text = "search in bf16" + ("" if precision == "bf16" else " where the device has it")
    return [text if last is None else f"{text} ({last} in float32)"]


def halved_text(step: str | float) -> str:
    """Text such as ``"step=eps/10 halved at 50% and 75%"``."""
    return f"step={parse_step(step).text} halved at {' and '.join(f'{share:.0%}' for share in HALVE_AT)}"


def check_reach(steps: int, step: StepSize, eps: float | None) -> None:
    """Refuse an attack with decaying steps that cannot cross its ball: a random start may lie 2 eps from its goal.

    Args:
        steps: Gradient steps.
        step: First step size, halved after the shares `HALVE_AT`.
        eps: Budget in pixel units; None if it is not known yet; then absolute steps are not checked.

    Raises:
        ValueError: The sum of all steps is shorter than 2 eps.
    """
    if eps == 0 or (eps is None and not step.relative):
        return
    first = step.value if step.relative else step.resolve(eps or 0.0) / (eps or 1.0)
    # The number of steps before each halving is computed, not iterated, because a suite may ask for any number.
    ends = [ceil(share * steps) for share in HALVE_AT] + [steps]
    reach = sum(first * 0.5**halved * (end - begin) for halved, (begin, end) in enumerate(pairwise([0, *ends])))
    if reach < 2:
        raise ValueError(
            f"{steps} steps of {step.text}, halved at 50% and 75%, reach {reach:.2g} eps, less than the 2 eps across "
            "the ball: take more or longer steps"
        )


def sweep_definition(eps: Sequence[str | float], attack: str) -> str:
    """The definition of a chained sweep over budgets, from the definition of its attack at the first budget."""
    budgets = [format_eps(parse_eps(value)) for value in eps]
    at_any = attack.replace(f", {budgets[0]},", ", eps,", 1)
    return (
        f"chained eps sweep {', '.join(budgets)}: an image broken at one eps counts as broken at all larger ones, the "
        "others go on from their perturbation scaled to the new eps, or from a random start where the gradient there "
        f"is zero: {at_any}"
    )
