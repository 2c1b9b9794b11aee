"""Warning signs other than shares of broken images: properties of the model's outputs, and attacks left out."""

from __future__ import annotations

from collections.abc import Mapping

from bench.attacks.verdict import Flag

__all__ = ["coverage_flag", "dynamic_flag", "logits_flag", "random_flag", "transfer_flag"]


def logits_flag(probabilities: bool, not_finite_share: float = 0.0) -> Flag:
    """LOGITS: the model returns probabilities, which attenuate losses on logits, or values that are not finite.

    Args:
        probabilities: Whether the outputs look like probabilities.
        not_finite_share: Share of images with a NaN or infinite output, in [0, 1].
    """
    text = "outputs look like probabilities" if probabilities else "outputs are logits"
    text += f", not finite on {not_finite_share:.1%}" if not_finite_share else ""
    values = {"probabilities": float(probabilities), "not_finite_share": not_finite_share}
    return Flag("LOGITS", probabilities or not_finite_share > 0, "inconclusive", values, text)


def random_flag(random: bool, batch_dependent: bool = False) -> Flag:
    """RANDOM: two forward passes differ, so that attacks need expectations over the noise; or a prediction depends on
    the other images of the batch.
    """
    text = "two forward passes differ" if random else "two forward passes agree"
    text += ", a prediction changes with the rest of its batch" if batch_dependent else ""
    values = {"random": float(random), "batch_dependent": float(batch_dependent)}
    return Flag("RANDOM", random or batch_dependent, "inconclusive", values, text)


def dynamic_flag(dynamic: bool) -> Flag:
    """DYNAMIC: the forward pass takes gradients (purification, refinement): attacks must differentiate through them."""
    text = "gradients are taken inside the forward pass" if dynamic else "no gradient is taken in the forward pass"
    return Flag("DYNAMIC", dynamic, "inconclusive", {"dynamic": float(dynamic)}, text)


def transfer_flag() -> Flag:
    """TRANSFER: always raised if only adversarials of another model were tried; the bound is usually loose."""
    text = "an attack without the model's own gradients: a bound that is usually loose"
    return Flag("TRANSFER", True, "inconclusive", {}, text)


def coverage_flag(left_out: Mapping[str, str]) -> Flag:
    """COVERAGE: attacks of the definition were left out; always raised, because the worst case covers fewer attacks.

    Args:
        left_out: The reason by attack, at least one.
    """
    text = "left out: " + "; ".join(f"{name} ({why})" for name, why in left_out.items())
    return Flag("COVERAGE", True, "inconclusive", {"left_out": float(len(left_out))}, text)
