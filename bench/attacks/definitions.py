"""How attacks of our own describe themselves. Imports no torch: columns are defined before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from .threat import StepSize, format_eps, parse_eps

HALVE_AT = (0.5, 0.75)
"""Shares of the steps after which adaptive PGD halves its step size."""
TYPICAL_GAP = 5.5
"""Gap z_y - max_k z_k of logits that leaves cross-entropy a gradient: 1 - p_y is about 1 % or more."""

LEAST_CLASSES = {"dlr": 3}
"""By loss, the fewest classes for which it is defined, where that is more than two."""

TANH_DIVISOR = 1.9
"""C&W pixels are 1/2 + tanh(w) / 1.9: with 2, as published, pixels of exactly 0 or 1 would lie at infinite w."""

PATIENT_STEPS = 400
"""Fewest C&W steps of a round for which images may end it early."""


def adaptive_pgd(
    *,
    norm: str,
    eps: float,
    steps: int,
    step: str,
    losses: Sequence[str],
    rivals: int,
    restarts: int,
    complete: bool,
) -> str:
    """For example ``adaptive-pgd-linf[100, 8/255, step=eps/10 halved at 50% and 75%, losses …]``."""
    halved = " and ".join(f"{share:.0%}" for share in HALVE_AT)
    parts = [str(steps), format_eps(eps), f"step={step} halved at {halved}"]
    parts.append("losses " + " + ".join(_described(loss, rivals) for loss in losses))
    parts += ["any iterate", f"{restarts} restart{'s' if restarts > 1 else ''}"]
    parts.append("every loss on every image" if complete else "each loss on what is left")
    return f"adaptive-pgd-{norm}[{', '.join(parts)}]"


def transfer(*, norm: str, eps: float, steps: int, step: str, loss: str, restarts: int) -> str:
    """For example ``transfer-linf[100, 8/255, step=eps/10 halved at 50% and 75%, margin, …]``.

    Which model the surrogate is says whoever knows its name.
    """
    halved = " and ".join(f"{share:.0%}" for share in HALVE_AT)
    parts = [str(steps), format_eps(eps), f"step={step} halved at {halved}", loss, "final iterate of the surrogate"]
    parts.append(f"{restarts} restart{'s' if restarts > 1 else ''}")
    return f"transfer-{norm}[{', '.join(parts)}]"


def _described(loss: str, rivals: int) -> str:
    if loss == "ce@T":
        return f"ce@T (T: median clean gap / {TYPICAL_GAP})"
    details = [f"top {rivals} rivals"] if loss.endswith("-targeted") else []
    details += ["where there are class centers"] if loss.startswith("distance") else []
    details += ["K >= 3"] if loss == "dlr" else []
    return f"{loss} ({', '.join(details)})" if details else loss


def checked_reach(steps: int, step: StepSize, eps: float | None) -> None:
    """Refuse adaptive PGD that cannot cross its ball: a random start may lie 2 eps from where it must go.

    Args:
        steps: Gradient steps.
        step: First step size, halved as `HALVE_AT` says.
        eps: Budget; None if not known yet: then absolute steps are not checked.

    Raises:
        ValueError: All steps together are shorter than 2 eps.
    """
    if eps == 0 or (eps is None and not step.relative):
        return
    first = step.value if step.relative else step.resolve(eps or 0.0) / (eps or 1.0)
    # Steps before each halving; counted, not walked through: a suite may ask for any number.
    ends = [math.ceil(share * steps) for share in HALVE_AT] + [steps]
    reach = sum(first * 0.5**halved * (end - begin) for halved, (begin, end) in enumerate(pairwise([0, *ends])))
    if reach < 2:
        raise ValueError(
            f"{steps} steps of {step.text}, halved at 50% and 75%, reach {reach:.2g} eps, less than the 2 eps across "
            "the ball: take more or longer steps"
        )


def cw_l2(
    *,
    steps: int,
    rounds: int,
    c0: float,
    kappa: float,
    lr: float,
    patience: int | None,
    targets: str,
    eps: float = math.inf,
) -> str:
    """For example ``cw-l2[100 x 9 rounds, c0=0.01, kappa=0, lr=0.01, untargeted, smallest success …]``."""
    parts = [f"{steps} x {rounds} rounds", f"c0={c0:g}", f"kappa={kappa:g}", f"lr={lr:g}", targets]
    parts += [f"patience {patience}"] if patience is not None else []
    parts += [f"within {format_eps(eps)}"] if math.isfinite(eps) else []
    return f"cw-l2[{', '.join(parts)}, x = 1/2 + tanh(w)/{TANH_DIVISOR:g}, smallest success of each image]"


def effective_patience(steps: int, patience: int) -> int | None:
    """None in short runs, where most images still improve when their patience would end."""
    return patience if steps >= PATIENT_STEPS else None


def sweep(eps: Sequence[str | float], attack: str) -> str:
    """Of a chained sweep, from the definition of its attack at the first budget."""
    budgets = [format_eps(parse_eps(value)) for value in eps]
    at_any = attack.replace(f", {budgets[0]},", ", eps,", 1)
    return (
        f"chained eps sweep {', '.join(budgets)}: an image broken at one eps counts as broken at all larger ones, the "
        "others go on from their perturbation scaled to the new eps, or from a random start where the gradient there "
        f"is zero: {at_any}"
    )
