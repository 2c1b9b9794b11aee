"""Carlini-Wagner L2 (Carlini & Wagner 2017, arXiv:1608.04644, section V.A): the suite's entry ``cw``.

Runs torchattacks.CW on shifted logits with every parameter stated. One constant c for all images, no
binary search: norms are upper bounds of the smallest perturbation. `bench.attacks.norms` summarises them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from .libraries import build_torchattacks_cw
from .library import LibraryAttack
from .problem import Problem, Proposals
from .threat import ThreatModel, format_eps


@dataclass(frozen=True)
class CarliniWagnerL2:
    """The attack with its parameters.

    Attributes:
        library: The adapter that runs it.
    """

    library: LibraryAttack

    @property
    def own(self) -> bool:
        """False: the proposals are a library's."""
        return False

    @property
    def iterate(self) -> str:
        """The smallest successful iterate decides, as the library returns it."""
        return "final"

    @property
    def definition(self) -> str:
        """For example ``cw-l2[100, c=1, kappa=0, lr=0.01, no binary search, ...]``."""
        params = self.library.params
        parts = [str(params["steps"]), *(f"{name}={params[name]:g}" for name in ("c", "kappa", "lr"))]
        if self.library.threat.eps != float("inf"):
            parts.append(f"within {format_eps(self.library.threat.eps)}")
        parts += ["given targets"] if self.library.targeted else []
        parts += [self.library.note, f"torchattacks {version('torchattacks')}"]
        return f"cw-l2[{', '.join(parts)}]"

    def propose(self, problem: Problem) -> Proposals:
        """Attack the images of a problem."""
        return self.library.propose(problem)


def build(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> CarliniWagnerL2:
    """Check the parameters of a catalogue entry (see `bench.attacks.catalogue`).

    Raises:
        ValueError: A parameter has a wrong value, or torchattacks is not installed.
    """
    for name in ("c", "kappa", "lr"):
        value = params[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"cw: {name} must be a number >= 0, got {value!r}")
    return CarliniWagnerL2(build_torchattacks_cw({**params, "restarts": 1}, threat, targeted=targeted))
