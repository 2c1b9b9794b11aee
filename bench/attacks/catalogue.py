"""The attacks by name: what they do, what they take, where the code is. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .preconditions import Shape, of_loss, of_losses, of_square


@dataclass(frozen=True)
class AttackEntry:
    """A light description of an attack.

    Attributes:
        name: As written in suites.
        summary: One sentence.
        norms: Threat models that it knows.
        parameters: Every parameter with its default.
        source: Paper or library.
        implementation: ``"module:function"``, imported only where the attack runs.
        minimises_norm: Whether it searches the smallest perturbation, so that eps may be left out.
        targetable: Whether it can be given targets.
        startable: Whether it can be given images to start from.
        needs_surrogate: Whether it takes its gradients from another model.
        draws: Whether it draws: always, never, or by the parameters that this function gets.
        precondition: Why it is impossible with a norm, parameters, an image shape and a number of classes, or None.
    """

    name: str
    summary: str
    norms: tuple[str, ...]
    parameters: Mapping[str, object]
    source: str
    implementation: str
    minimises_norm: bool = False
    targetable: bool = field(default=True)
    startable: bool = False
    needs_surrogate: bool = False
    draws: bool | Callable[[Mapping[str, object]], bool] = False
    precondition: Callable[[str, str, Mapping[str, object], Shape, int], str | None] | None = None

    def random(self, params: Mapping[str, object]) -> bool:
        """Whether two runs with other seeds may differ.

        Args:
            params: All parameters, resolved.
        """
        return self.draws if isinstance(self.draws, bool) else self.draws(params)

    def impossible(self, norm: str, params: Mapping[str, object], shape: Shape, classes: int) -> str | None:
        """Why the attack cannot run, or None if nothing is known to speak against it.

        Args:
            norm: ``"linf"`` or ``"l2"``.
            params: All parameters, resolved.
            shape: Channels, height and width of an image.
            classes: K.
        """
        if self.precondition is None:
            return None
        return self.precondition(self.name, norm, params, shape, classes)

    def resolve(self, params: Mapping[str, object]) -> dict[str, object]:
        """Defaults overlaid with the given parameters.

        Raises:
            ValueError: An unknown parameter; the nearest name is suggested.
        """
        for key in params:
            if key not in self.parameters:
                raise ValueError(
                    f"attack {self.name!r} has no parameter {key!r}{_hint(key, self.parameters)} "
                    f"(known: {', '.join(self.parameters)})"
                )
        return {**self.parameters, **params}


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


_LIBRARY = "bench.attacks.libraries:"

ADAPTIVE_LOSSES = ("ce@T", "margin", "margin-targeted", "distance-targeted", "dlr")
"""Losses of ``adaptive_pgd`` in the order of attack; T is chosen by the model's median clean gap."""

ENTRIES: dict[str, AttackEntry] = {
    entry.name: entry
    for entry in (
        AttackEntry(
            "pgd",
            "Projected gradient ascent; loss, step and restarts to choose; final and any iterate.",
            ("linf", "l2"),
            {
                "steps": 40,
                "step": "eps/30",
                "loss": "ce",
                "restarts": 1,
                "random_start": True,
                "iterate": "final",
                "survivors_only": False,
                "rivals": None,
            },
            "Madry et al. 2018, arXiv:1706.06083",
            "bench.attacks.pgd:build",
            startable=True,
            draws=lambda params: bool(params["random_start"]),
            precondition=of_loss,
        ),
        AttackEntry(
            "adaptive_pgd",
            "PGD with several losses in turn, each on what the ones before left; any iterate; decaying steps.",
            ("linf", "l2"),
            {
                "losses": ADAPTIVE_LOSSES,
                "steps": 100,
                "step": "eps/10",
                "restarts": 5,
                "rivals": 9,
                "complete": False,
            },
            "Tramèr et al. 2020, arXiv:2002.08347; Carlini et al. 2019, arXiv:1902.06705",
            "bench.attacks.adaptive:build",
            targetable=False,
            startable=True,
            draws=True,
            precondition=of_losses,
        ),
        AttackEntry(
            "noise",
            "Random corners of the L_inf ball, or points of the L2 sphere; no gradient, no search.",
            ("linf", "l2"),
            {"draws": 10},
            "Carlini et al. 2019, arXiv:1902.06705, section 4 (random search as a check)",
            "bench.attacks.random_points:build",
            draws=True,
        ),
        AttackEntry(
            "transfer",
            "PGD on another model, the surrogate; what fools this one counts. Needs no gradient of this one.",
            ("linf", "l2"),
            {"loss": "margin", "steps": 100, "step": "eps/10", "restarts": 1},
            "Papernot et al. 2016, arXiv:1605.07277; Liu et al. 2017, arXiv:1611.02770",
            "bench.attacks.transfer:build",
            targetable=False,
            needs_surrogate=True,
            draws=True,
            precondition=of_loss,
        ),
        AttackEntry(
            "cw_l2",
            "Carlini-Wagner L2 with binary search over c, every image on its own: independent of batching.",
            ("l2",),
            {"steps": 100, "rounds": 9, "c0": 0.01, "lr": 0.01, "kappa": 0.0, "patience": 50},
            "Carlini & Wagner 2017, arXiv:1608.04644, section VI.A",
            "bench.attacks.carlini_wagner:build",
            minimises_norm=True,
        ),
        AttackEntry(
            "cw",
            "Carlini-Wagner L2 with one constant c, no binary search; run by torchattacks on shifted logits.",
            ("l2",),
            {"steps": 100, "c": 1.0, "kappa": 0.0, "lr": 0.01},
            "Carlini & Wagner 2017, arXiv:1608.04644; torchattacks.CW",
            "bench.attacks.cw:build",
            minimises_norm=True,
        ),
        AttackEntry(
            "torchattacks.PGD",
            "PGD of torchattacks: cross-entropy, final iterate.",
            ("linf",),
            {"alpha": "2/255", "steps": 10, "random_start": True, "restarts": 1},
            "torchattacks",
            f"{_LIBRARY}build_torchattacks_pgd",
            draws=lambda params: bool(params["random_start"]),
        ),
        AttackEntry(
            "torchattacks.CW",
            "Carlini-Wagner L2 of torchattacks on shifted logits, with the library's defaults.",
            ("l2",),
            {"c": 1.0, "kappa": 0.0, "steps": 50, "lr": 0.01, "restarts": 1},
            "torchattacks",
            f"{_LIBRARY}build_torchattacks_cw",
            minimises_norm=True,
        ),
        AttackEntry(
            "torchattacks.APGD",
            "Auto-PGD with cross-entropy or DLR loss; 100 steps as published (the library's default is 10).",
            ("linf", "l2"),
            {"steps": 100, "n_restarts": 1, "loss": "ce", "eot_iter": 1, "rho": 0.75, "restarts": 1},
            "Croce & Hein 2020, arXiv:2003.01690; torchattacks",
            f"{_LIBRARY}build_torchattacks_apgd",
            targetable=False,
            draws=True,
            precondition=of_loss,
        ),
        AttackEntry(
            "torchattacks.FAB",
            "Fast adaptive boundary attack, kept where it stays within eps; 100 steps as published.",
            ("linf", "l2"),
            {
                "steps": 100,
                "n_restarts": 1,
                "alpha_max": 0.1,
                "eta": 1.05,
                "beta": 0.9,
                "restarts": 1,
            },
            "Croce & Hein 2020, arXiv:1907.02044; torchattacks",
            f"{_LIBRARY}build_torchattacks_fab",
            targetable=False,
            # The first of its restarts begins at the image.
            draws=lambda params: params["n_restarts"] != 1,
        ),
        AttackEntry(
            "torchattacks.Square",
            "Score-based random search; 5000 queries, schedule not rescaled as published.",
            ("linf", "l2"),
            {
                "n_queries": 5000,
                "n_restarts": 1,
                "p_init": 0.8,
                "loss": "margin",
                "resc_schedule": False,
                "restarts": 1,
            },
            "Andriushchenko et al. 2020, arXiv:1912.00049; torchattacks",
            f"{_LIBRARY}build_torchattacks_square",
            targetable=False,
            draws=True,
            precondition=of_square,
        ),
        AttackEntry(
            "foolbox.LinfPGD",
            "PGD of foolbox: cross-entropy, step eps/30, final iterate.",
            ("linf",),
            {
                "rel_stepsize": 1 / 30,
                "abs_stepsize": None,
                "steps": 40,
                "random_start": True,
                "restarts": 1,
            },
            "foolbox",
            f"{_LIBRARY}build_foolbox_linf_pgd",
            draws=lambda params: bool(params["random_start"]),
        ),
        AttackEntry(
            "foolbox.L2CarliniWagner",
            "Carlini-Wagner L2 of foolbox with binary search over c per image; no early abort of batches.",
            ("l2",),
            {
                "binary_search_steps": 9,
                "steps": 1000,
                "stepsize": 0.01,
                "confidence": 0.0,
                "initial_const": 1e-3,
                "abort_early": False,
                "restarts": 1,
            },
            "Carlini & Wagner 2017, arXiv:1608.04644; foolbox",
            f"{_LIBRARY}build_foolbox_l2_carlini_wagner",
            minimises_norm=True,
        ),
    )
}


def find(name: str) -> AttackEntry:
    """The entry of a name.

    Raises:
        ValueError: Unknown; the nearest name is suggested.
    """
    if name not in ENTRIES:
        raise ValueError(f"unknown attack {name!r}{_hint(name, ENTRIES)} (known: {', '.join(ENTRIES)})")
    return ENTRIES[name]


def checked_int(attack: str, params: Mapping[str, object], name: str) -> int:
    """A parameter that must be an integer >= 1."""
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attack}: {name} must be an integer >= 1, got {value!r}")
    return value


def checked_number(attack: str, params: Mapping[str, object], name: str, *, above_zero: bool = False) -> float:
    """A parameter that must be a finite number >= 0, or > 0."""
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{attack}: {name} must be a number {'> 0' if above_zero else '>= 0'}, got {value!r}")
    if above_zero and value == 0:
        raise ValueError(f"{attack}: {name} must be a number > 0, got {value!r}")
    return float(value)


def checked_bool(attack: str, params: Mapping[str, object], name: str) -> bool:
    """A parameter that must be true or false."""
    value = params[name]
    if not isinstance(value, bool):
        raise ValueError(f"{attack}: {name} must be true or false, got {value!r}")
    return value
