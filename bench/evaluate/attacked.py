"""What the record keeps of every item that was attacked, whatever the attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.attacks import AttackResult

__all__ = ["item_arrays"]


def item_arrays(result: AttackResult, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Arrays (N,) by name, each after ``prefix``: what was predicted, how far the image was moved, how close the
    attack came, what it spent, and whether it had a gradient.

    ``prediction`` of the adversarial; ``linf`` and ``norm_l2`` of the perturbation, pixels in [0, 1]; ``margin_before``
    and ``margin_after``, max_{k != y} z_k - z_y, positive where wrong; ``first_step``, the first wrong iterate, -1 for
    never; ``loss`` at the last iterate; ``forwards``, passes spent; ``start_gradient`` and ``last_gradient``, the
    largest absolute input gradient; ``start_p`` and ``last_p``, softmax(z)_y in float32. NaN where not measured.
    """
    arrays: dict[str, NDArray[Any]] = {
        "prediction": result.predictions,
        "linf": result.linf,
        "norm_l2": result.l2,
        "margin_before": result.margin_before,
        "margin_after": result.margin_after,
        "first_step": result.first_step,
        "loss": result.loss,
        "forwards": result.forwards,
        "start_gradient": result.health.start_gradient,
        "last_gradient": result.health.last_gradient,
        "start_p": result.health.start_probability,
        "last_p": result.health.last_probability,
    }
    return {f"{prefix}{name}": array for name, array in arrays.items()}
