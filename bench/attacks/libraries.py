"""The attacks of torchattacks and foolbox. A library is imported only when its attack runs."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from typing_extensions import override

from .spec import (
    Attack,
    Count,
    NotNegative,
    Positive,
    Queries,
    Shape,
    Share,
    Step,
    Switch,
    one_of,
    restarts_text,
    written,
)
from .threat import ThreatModel, format_eps, parse_eps, parse_step

if TYPE_CHECKING:
    from torch import Tensor

    from .library import Call
    from .problem import Problem
    from .table import Found

__all__ = ["CWAttack", "LIBRARY_ATTACKS", "LibraryAttack", "TorchattacksSquare"]

# atanh is infinite at pixels of exactly 0 or 1, which would never move (factor of Carlini's code).
_TANH_SHRINK = 0.999999

_TORCHATTACKS_NORMS = {"linf": "Linf", "l2": "L2"}


class LibraryAttack(Attack):
    """An attack of a library; its parameters are those of the library's constructor, and ``restarts``.

    Attributes:
        restarts: Number of runs, each with another seed, on the images that are still classified correctly.
    """

    own: ClassVar[bool] = False
    package: ClassVar[str]
    """Name of the library."""
    library_class: ClassVar[str]
    """Path of the class in its package."""

    restarts: Count = 1

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name, ``restarts`` last."""
        given = super().parameters
        return {**{name: value for name, value in given.items() if name != "restarts"}, "restarts": given["restarts"]}

    @property
    def is_random(self) -> bool:
        """Whether two runs with different seeds may differ; by default, whether it starts at random."""
        return bool(self.parameters.get("random_start"))

    def arguments(self, threat: ThreatModel) -> dict[str, Any]:
        """Arguments of the library's constructor that the definition prints."""
        del threat
        return {name: value for name, value in self.parameters.items() if name != "restarts"}

    def fixed(self, threat: ThreatModel) -> dict[str, Any]:
        """Arguments of the library's constructor that follow from the threat model."""
        del threat
        return {}

    @property
    def note(self) -> str:
        """A remark at the end of the definition; empty by default."""
        return ""

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """For example ``torchattacks.PGD-linf[8/255, alpha=2/255, ..., torchattacks 3.5.1]``."""
        parts = [format_eps(threat.eps)]
        parts += [f"{key}={written(value)}" for key, value in self.arguments(threat).items()]
        parts += [targets] if targets else []
        parts += [restarts_text(self.restarts), *([self.note] if self.note else [])]
        return f"{self.name}-{threat.norm}[{', '.join(parts)}, {self.package} {version(self.package)}]"

    def passes(self) -> float:
        """A forward and a full backward pass per step, also through the weights; or a forward pass per query."""
        given = self.parameters
        if "n_queries" in given:
            return float(given["n_queries"] * self.restarts)
        return 3.0 * float(given["steps"]) * float(given.get("binary_search_steps", 1)) * self.restarts

    def attack(self, problem: Problem) -> Found:
        """Attack batch by batch."""
        from .library import constructor_of, propose
        from .table import Found

        threat = problem.threat
        arguments = {**self.arguments(threat), **self.fixed(threat)}
        make = partial(constructor_of(self.package, self.library_class, arguments), **arguments)
        return Found(propose(self.name, problem, self.restarts, partial(self._proposed, make, threat)))

    @abstractmethod
    def _proposed(self, make: Callable[..., Any], threat: ThreatModel, call: Call) -> Tensor:
        """Let the library attack one batch.

        Args:
            make: Makes the attack of the library, with all arguments but the model and the seed.
            threat: Norm and budget.
            call: The batch.

        Returns:
            (N, C, H, W) proposals.
        """


class _Torchattacks(LibraryAttack):
    package: ClassVar[str] = "torchattacks"

    def _proposed(self, make: Callable[..., Any], threat: ThreatModel, call: Call) -> Tensor:  # noqa: ARG002 - in make
        seed = {"seed": call.seed} if "seed" in inspect.signature(make).parameters else {}
        attack = make(call.model, **seed)
        if call.targets is not None:
            attack.set_mode_targeted_by_label(quiet=True)
        proposals: Tensor = attack(call.images, call.labels if call.targets is None else call.targets)
        return proposals


class TorchattacksPGD(_Torchattacks):
    """PGD of torchattacks. ``alpha`` is an absolute step as in the library, or a string such as ``"eps/30"``."""

    name: ClassVar[str] = "torchattacks.PGD"
    summary: ClassVar[str] = "PGD of torchattacks: cross-entropy, final iterate."
    source: ClassVar[str] = "torchattacks"
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    library_class: ClassVar[str] = "PGD"

    alpha: Step = "2/255"
    steps: Count = 10
    random_start: Switch = True

    def arguments(self, threat: ThreatModel) -> dict[str, Any]:
        """Arguments of the constructor, with the step size in pixel units."""
        alpha = self.alpha
        step = parse_step(alpha).resolve(threat.eps) if isinstance(alpha, str) else parse_eps(alpha)
        return {**super().arguments(threat), "alpha": step}

    def fixed(self, threat: ThreatModel) -> dict[str, Any]:
        """The budget in pixel units."""
        return {"eps": threat.eps}


class TorchattacksCW(_Torchattacks):
    """Carlini-Wagner L2 of torchattacks on shifted logits; starts keep a small distance from pixels of 0 and 1."""

    name: ClassVar[str] = "torchattacks.CW"
    summary: ClassVar[str] = "Carlini-Wagner L2 of torchattacks on shifted logits, with the library's defaults."
    source: ClassVar[str] = "torchattacks"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    minimises_norm: ClassVar[bool] = True
    library_class: ClassVar[str] = "CW"

    c: NotNegative = 1.0
    kappa: NotNegative = 0.0
    steps: Count = 50
    lr: Positive = 0.01

    @property
    def note(self) -> str:
        """Two properties that matter for its norms."""
        return "no binary search, early stop on the batch"

    def _proposed(self, make: Callable[..., Any], threat: ThreatModel, call: Call) -> Tensor:
        inside = 0.5 + (call.images - 0.5) * _TANH_SHRINK
        proposals = super()._proposed(make, threat, replace(call, images=inside))
        # The library returns its input where it failed: replace it by the clean image.
        unchanged = (proposals == inside).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return call.images.where(unchanged, proposals)


class CWAttack(Attack):
    """Carlini & Wagner 2017, section V.A, with one constant c for all images and no binary search, so norms are upper
    bounds of the smallest perturbation. Runs torchattacks.CW on shifted logits with every parameter stated.

    Attributes:
        steps: Adam iterations.
        c: Factor of the margin.
        kappa: Margin that a success must have.
        lr: Learning rate of Adam.
    """

    name: ClassVar[str] = "cw"
    summary: ClassVar[str] = (
        "Carlini-Wagner L2 with one constant c, no binary search; run by torchattacks on shifted logits."
    )
    source: ClassVar[str] = "Carlini & Wagner 2017, arXiv:1608.04644; torchattacks.CW"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    own: ClassVar[bool] = False
    minimises_norm: ClassVar[bool] = True

    steps: Count = 100
    c: NotNegative = 1.0
    kappa: NotNegative = 0.0
    lr: Positive = 0.01

    @property
    def _library(self) -> TorchattacksCW:
        return TorchattacksCW(c=self.c, kappa=self.kappa, steps=self.steps, lr=self.lr)

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """For example ``cw-l2[100, c=1, kappa=0, lr=0.01, no binary search, ...]``."""
        parts = [str(self.steps), *(f"{name}={getattr(self, name):g}" for name in ("c", "kappa", "lr"))]
        parts += [f"within {format_eps(threat.eps)}"] if math.isfinite(threat.eps) else []
        parts += [targets] if targets else []
        return f"cw-l2[{', '.join(parts)}, {self._library.note}, torchattacks {version('torchattacks')}]"

    def passes(self) -> float:
        """A forward and a backward pass per iteration; the library may stop earlier."""
        return self._library.passes()

    def attack(self, problem: Problem) -> Found:
        """Attack batch by batch; the library returns the smallest successful iterate of each image."""
        return self._library.attack(problem)


class _AutoattackPart(_Torchattacks):
    """A component of AutoAttack, untargeted."""

    targetable: ClassVar[bool] = False

    def fixed(self, threat: ThreatModel) -> dict[str, Any]:
        """Budget in pixel units, and norm."""
        return {"eps": threat.eps, "norm": _TORCHATTACKS_NORMS[threat.norm]}


class TorchattacksAPGD(_AutoattackPart):
    """Auto-PGD with 100 steps as published; the library's default is 10."""

    name: ClassVar[str] = "torchattacks.APGD"
    summary: ClassVar[str] = (
        "Auto-PGD with cross-entropy or DLR loss; 100 steps as published (the library's default is 10)."
    )
    source: ClassVar[str] = "Croce & Hein 2020, arXiv:2003.01690; torchattacks"
    library_class: ClassVar[str] = "APGD"

    steps: Count = 100
    n_restarts: Count = 1
    loss: Annotated[str, one_of("ce", "dlr")] = "ce"
    eot_iter: Count = 1
    rho: Share = 0.75

    @property
    @override
    def is_random(self) -> bool:
        return True


class TorchattacksFAB(_AutoattackPart):
    """Fast adaptive boundary attack with 100 steps as published; results within eps are kept."""

    name: ClassVar[str] = "torchattacks.FAB"
    summary: ClassVar[str] = "Fast adaptive boundary attack, kept where it stays within eps; 100 steps as published."
    source: ClassVar[str] = "Croce & Hein 2020, arXiv:1907.02044; torchattacks"
    library_class: ClassVar[str] = "FAB"

    steps: Count = 100
    n_restarts: Count = 1
    alpha_max: NotNegative = 0.1
    eta: NotNegative = 1.05
    beta: NotNegative = 0.9

    @property
    def is_random(self) -> bool:
        """Whether there is more than one restart: the first one begins at the image."""
        return self.n_restarts != 1


class _TorchattacksTargeted(_AutoattackPart):
    """A member of AutoAttack that aims in turn at the highest rival classes of each clean image.

    torchattacks takes a number of classes and aims at one fewer, 9 by default. With fewer than 10 classes it would look
    for rivals that do not exist (IndexError), so it gets the smaller of this number and K.

    Attributes:
        n_target_classes: Number of rival classes, 9 as published; K - 1 if there are fewer.
    """

    n_target_classes: Count = 9

    @override
    def arguments(self, threat: ThreatModel) -> dict[str, Any]:
        given = super().arguments(threat)
        return {name: value for name, value in given.items() if name != "n_target_classes"}

    @property
    @override
    def note(self) -> str:
        return f"{self.n_target_classes} target classes or K-1"

    @override
    def passes(self) -> float:
        return super().passes() * self.n_target_classes * int(self.parameters["n_restarts"])

    @override
    def _proposed(self, make: Callable[..., Any], threat: ThreatModel, call: Call) -> Tensor:
        # Without gradients, one image tells the number of classes.
        classes = call.model(call.images[:1]).shape[1]
        return super()._proposed(partial(make, n_classes=min(self.n_target_classes + 1, classes)), threat, call)


class TorchattacksAPGDT(_TorchattacksTargeted):
    """Auto-PGD with the targeted DLR loss and 100 steps as published; the library's default is 10."""

    name: ClassVar[str] = "torchattacks.APGDT"
    summary: ClassVar[str] = "Auto-PGD with targeted DLR loss towards 9 classes in turn; 100 steps as published."
    source: ClassVar[str] = "Croce & Hein 2020, arXiv:2003.01690; torchattacks"
    library_class: ClassVar[str] = "APGDT"

    steps: Count = 100
    n_restarts: Count = 1
    eot_iter: Count = 1
    rho: Share = 0.75

    @property
    @override
    def is_random(self) -> bool:
        return True

    def impossible(self, norm: str, shape: Shape, classes: int) -> str | None:  # noqa: ARG002
        """Why it cannot run, or None: the targeted DLR loss divides by a difference with the fourth highest logit."""
        if classes >= 4:
            return None
        return f"{self.name} needs at least 4 classes for the targeted DLR loss, there are {classes}"


class TorchattacksFABT(_TorchattacksTargeted, TorchattacksFAB):
    """Targeted fast adaptive boundary attack with 100 steps as published; results within eps are kept."""

    name: ClassVar[str] = "torchattacks.FABT"
    summary: ClassVar[str] = "Fast adaptive boundary attack towards 9 classes in turn; 100 steps as published."
    source: ClassVar[str] = "Croce & Hein 2020, arXiv:1907.02044 and 2003.01690; torchattacks"

    @override
    def fixed(self, threat: ThreatModel) -> dict[str, Any]:
        return {**super().fixed(threat), "multi_targeted": True}


class TorchattacksSquare(_AutoattackPart):
    """Square attack with 5000 queries; the schedule is not rescaled, as published."""

    name: ClassVar[str] = "torchattacks.Square"
    summary: ClassVar[str] = "Score-based random search; 5000 queries, schedule not rescaled as published."
    source: ClassVar[str] = "Andriushchenko et al. 2020, arXiv:1912.00049; torchattacks"
    library_class: ClassVar[str] = "Square"

    n_queries: Queries = 5000
    n_restarts: Count = 1
    p_init: Share = 0.8
    loss: Annotated[str, one_of("margin", "ce")] = "margin"
    resc_schedule: Switch = False

    @property
    @override
    def is_random(self) -> bool:
        return True

    def impossible(self, norm: str, shape: Shape, classes: int) -> str | None:  # noqa: ARG002
        """Why the L2 attack cannot run on images of this shape, or None; L_inf has no such limit.

        In L2, torchattacks (3.5.1) covers the image with tiles of a fifth of the height, after a margin at the top and
        on the left that does not count when it computes their number. It moves a square window with an odd side of
        about sqrt(p_init H W), at least 3. Tiles or windows that leave the image end in an error. In L_inf, the parts
        outside of the image are cut off.
        """
        _, height, width = shape
        if norm != "l2":
            return None
        size = f"got {height}x{width}"
        tile = height // 5
        if tile == 0:
            return f"{self.name} with norm l2 needs images of a height of at least 5, {size}"
        margin = (height - 5 * tile) // 2
        # A tile of one pixel that lies outside is cut off without an error.
        if tile > 1 and any(margin + side // tile * tile > side for side in (height, width)):
            return f"{self.name} with norm l2 cannot lay its tiles of {tile}x{tile} over such images, {size}"
        window = max(round(math.sqrt(self.p_init * height * width)), 3)
        window += window % 2 == 0
        if window > min(height, width):
            return (
                f"{self.name} with norm l2 needs images that hold its first window of {window}x{window} "
                f"(p_init = {self.p_init:g}), {size}"
            )
        return None


class _Foolbox(LibraryAttack):
    package: ClassVar[str] = "foolbox"

    def _proposed(self, make: Callable[..., Any], threat: ThreatModel, call: Call) -> Tensor:
        from .library import load

        foolbox = load(self.package)
        model = foolbox.PyTorchModel(call.model, bounds=(0, 1), device=call.images.device)
        if call.targets is None:
            criterion = foolbox.criteria.Misclassification(call.labels)
        else:
            criterion = foolbox.criteria.TargetedMisclassification(call.targets)
        budget = threat.eps if math.isfinite(threat.eps) else None
        proposals: Tensor
        _, proposals, _ = make()(model, call.images, criterion, epsilons=budget)
        return proposals


class FoolboxLinfPGD(_Foolbox):
    """PGD of foolbox with the step size of the paper's code."""

    name: ClassVar[str] = "foolbox.LinfPGD"
    summary: ClassVar[str] = "PGD of foolbox: cross-entropy, step eps/30, final iterate."
    source: ClassVar[str] = "foolbox"
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    library_class: ClassVar[str] = "attacks.LinfProjectedGradientDescentAttack"

    rel_stepsize: Positive = 1 / 30
    abs_stepsize: Positive | None = None
    steps: Count = 40
    random_start: Switch = True


class FoolboxL2CarliniWagner(_Foolbox):
    """Carlini-Wagner L2 of foolbox with a binary search over c for each image; batches do not abort early."""

    name: ClassVar[str] = "foolbox.L2CarliniWagner"
    summary: ClassVar[str] = (
        "Carlini-Wagner L2 of foolbox with binary search over c per image; no early abort of batches."
    )
    source: ClassVar[str] = "Carlini & Wagner 2017, arXiv:1608.04644; foolbox"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    minimises_norm: ClassVar[bool] = True
    library_class: ClassVar[str] = "attacks.L2CarliniWagnerAttack"

    binary_search_steps: Count = 9
    steps: Count = 1000
    stepsize: Positive = 0.01
    confidence: NotNegative = 0.0
    initial_const: Positive = 1e-3
    abort_early: Switch = False


LIBRARY_ATTACKS: tuple[Attack, ...] = (
    CWAttack(),
    TorchattacksPGD(),
    TorchattacksCW(),
    TorchattacksAPGD(),
    TorchattacksAPGDT(),
    TorchattacksFAB(),
    TorchattacksFABT(),
    TorchattacksSquare(),
    FoolboxLinfPGD(),
    FoolboxL2CarliniWagner(),
)
