"""What values the parameters of the catalogue's attacks may have, known before anything runs. Imports no torch.

The builders of attacks check their own once more; libraries check little, and end somewhere inside.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .definitions import checked_reach
from .threat import LARGEST, parse_eps, parse_step

__all__ = ["LOSS_NAMES", "check_parameters", "checked_loss", "loss_schema"]

AUTOMATIC = "ce@T"
LOSS_NAMES = ("ce", "margin", "margin-targeted", "dlr", "distance", "distance-targeted")
"""The losses of ``bench.attacks.losses`` that have no temperature."""
_LOSSES = {"torchattacks.APGD": ("ce", "dlr"), "torchattacks.Square": ("margin", "ce")}
"""The losses of attacks that have their own."""
_ITERATES = ("final", "any")
_COUNTS = ("steps", "restarts", "n_restarts", "n_queries", "rounds", "binary_search_steps", "draws", "eot_iter")
_POSITIVE = ("c0", "initial_const", "lr", "stepsize", "rel_stepsize", "abs_stepsize")
_NOT_NEGATIVE = ("c", "kappa", "confidence", "alpha_max", "eta", "beta")
_SHARES = ("rho", "p_init")
_LEAST_PATIENCE = 50


def checked_loss(name: object, known: Iterable[str] = LOSS_NAMES) -> str:
    """A loss under the name that definitions print: ``ce@20.0`` is ``ce@20``.

    Args:
        name: As written.
        known: Names without a temperature that are allowed; with ``"ce"`` among them, ``"ce@<temperature>"`` is too.

    Raises:
        ValueError: An unknown name, or a temperature that is no positive number of float32.
    """
    known = tuple(known)
    if isinstance(name, str) and name in known:
        return name
    if isinstance(name, str) and "ce" in known and name.startswith("ce@"):
        written = name.removeprefix("ce@")
        temperature = float(written) if re.fullmatch(r"\d+(\.\d+)?", written) else 0.0
        if not 1 / LARGEST <= temperature <= LARGEST:
            raise ValueError(f"loss {name!r}: the temperature must be a positive number, as in 'ce@20'")
        return f"ce@{temperature:g}"
    near = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    also = ", ce@<temperature>" if "ce" in known else ""
    raise ValueError(f"unknown loss {name!r}, expected one of {', '.join(known)}{also}{hint}")


def loss_schema(known: Iterable[str] = LOSS_NAMES) -> dict[str, Any]:
    """The names that ``checked_loss`` accepts, as a JSON schema."""
    temperature = {"type": "string", "pattern": r"^ce@\d+(\.\d+)?$"}
    return {"anyOf": [{"enum": list(known)}, temperature]}


def check_parameters(attack: str, params: Mapping[str, object], eps: Iterable[str] = (), *, targeted: bool) -> None:
    """Hold all parameters of an attack against what it can do with them.

    Args:
        attack: Name in the catalogue.
        params: All parameters, resolved, each of the kind of its default.
        eps: The budgets.
        targeted: Whether the images come with targets.

    Raises:
        ValueError: A value has no meaning for the attack.
    """
    for key, value in params.items():
        if value is not None and not _allowed(key, value):
            raise ValueError(f"{attack}: {key} must be {_wanted(key)}, got {value!r}")
    for key in ("step", "alpha"):
        if key in params:
            _check_step(attack, params, key, eps)
    if "losses" in params:
        losses = params["losses"]
        assert isinstance(losses, list | tuple)  # like its default
        names = [checked_loss(loss, (*LOSS_NAMES, AUTOMATIC)) for loss in losses]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"{attack}: losses must be a list of at least one loss, each once")
    elif "loss" in params:
        try:
            loss = checked_loss(params["loss"], LOSS_NAMES) if attack not in _LOSSES else params["loss"]
        except ValueError as error:
            raise ValueError(f"{attack}: {error}") from None
        if attack in _LOSSES and loss not in _LOSSES[attack]:
            raise ValueError(f"{attack}: loss must be {' or '.join(map(repr, _LOSSES[attack]))}, got {loss!r}")
        if params.get("rivals") is not None and not str(loss).endswith("-targeted"):
            raise ValueError(f"{attack}: rivals has no meaning for loss {loss!r}, only for losses '...-targeted'")
        if targeted and (loss == "dlr" or str(loss).endswith("-targeted")):
            raise ValueError(f"{attack}: loss {loss!r} has no targeted form; use 'margin' or 'ce' with targets")
    if params.get("survivors_only") and params.get("iterate") != "any":
        raise ValueError(f"{attack}: survivors_only needs iterate = 'any'")


def _allowed(key: str, value: object) -> bool:
    if key in _COUNTS or key == "rivals":
        return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
    if key == "patience":
        return isinstance(value, int) and not isinstance(value, bool) and value >= _LEAST_PATIENCE
    if key == "iterate":
        return value in _ITERATES
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in _POSITIVE:
        return number and 1 / LARGEST <= float(value) <= LARGEST  # type: ignore[arg-type]
    if key in _NOT_NEGATIVE:
        return number and 0 <= float(value) <= LARGEST  # type: ignore[arg-type]
    if key in _SHARES:
        return number and 0 < float(value) <= 1  # type: ignore[arg-type]
    return True


def _wanted(key: str) -> str:
    if key in _COUNTS or key == "rivals":
        return "an integer >= 1"
    if key == "patience":
        return f"an integer >= {_LEAST_PATIENCE}: fewer steps end images before they converge"
    if key == "iterate":
        return "'final' or 'any'"
    return {
        **dict.fromkeys(_POSITIVE, f"a number > 0 and at most {LARGEST:g}"),
        **dict.fromkeys(_NOT_NEGATIVE, f"a number from 0 to {LARGEST:g}"),
        **dict.fromkeys(_SHARES, "a number > 0 and at most 1"),
    }[key]


def _check_step(attack: str, params: Mapping[str, object], key: str, eps: Iterable[str]) -> None:
    """A step size can be read, and crosses the ball where the attack must."""
    value = params[key]
    if not isinstance(value, str | int | float):
        raise ValueError(f"{attack}: {key} must be a number or a string, got {value!r}")
    size = parse_step(value)
    if attack == "adaptive_pgd":
        for budget in eps:
            checked_reach(int(str(params["steps"])), size, parse_eps(budget))
