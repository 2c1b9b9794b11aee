"""Warning signs of gradient masking next to a robust accuracy (Carlini et al. 2019; Tramèr et al. 2020).

A robust accuracy is an upper bound whatever happens. These checks say when it is known to be a loose one.
Pure NumPy: verdicts are recomputed from stored results without a network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.metrics.paired import mcnemar_exact

Word = Literal["masked", "inconclusive", "no warning"]

WORDS: tuple[str, ...] = ("masked", "inconclusive", "no warning")
"""The worst first."""

ZERO_GRADIENT_LIMIT = 0.01
LOSS_GAP_LIMIT = 0.02
FLAT_LIMIT = 0.05
WELL_BELOW_CLEAN = 0.10
UNBOUNDED_LIMIT = 0.02
UNBOUNDED_EPS = 128 / 255
NOISE_LIMIT = 0.005
BLACKBOX_LIMIT = 0.002
ITER_LIMIT = 0.01
NORM_LIMIT = 0.03
SIGNIFICANCE = 0.05

CHECKS = (
    "GRAD0",
    "LOSSGAP",
    "FLAT",
    "NOISE",
    "BLACKBOX",
    "UNBOUNDED",
    "ITER",
    "MINNORM",
    "LOGITS",
    "RANDOM",
    "DYNAMIC",
)
"""Every check that can be made of a robust accuracy."""


@dataclass(frozen=True)
class Flag:
    """One check that was made.

    Attributes:
        name: One of ``CHECKS``.
        raised: Whether it warns.
        implies: What it makes of the number when raised.
        values: What was measured; shares and accuracies in [0, 1].
        text: One sentence with the values.
    """

    name: str
    raised: bool
    implies: Word
    values: Mapping[str, float]
    text: str


@dataclass(frozen=True)
class Verdict:
    """What may be said of one robust accuracy.

    Attributes:
        flags: Every check that was made, raised or not.
        not_measured: Names of the checks for which there was no data.
    """

    flags: tuple[Flag, ...]
    not_measured: tuple[str, ...]

    @property
    def word(self) -> Word:
        """``masked`` if a masking sign is raised; else ``inconclusive`` if another one is, or if GRAD0 or
        LOSSGAP could not be measured; else ``no warning``.
        """
        implied = {flag.implies for flag in self.flags if flag.raised}
        if "masked" in implied:
            return "masked"
        if implied or {"GRAD0", "LOSSGAP"} & set(self.not_measured):
            return "inconclusive"
        return "no warning"

    @property
    def raised(self) -> tuple[str, ...]:
        """Names of the raised flags."""
        return tuple(flag.name for flag in self.flags if flag.raised)


def gradient_flag(zero_share: float, certain_share: float) -> Flag:
    """GRAD0: the loss has an exactly zero input gradient for more than 1 % of the attacked images.

    Args:
        zero_share: Share with exactly zero gradient, in [0, 1].
        certain_share: Share with p_y == 1 in float32, in [0, 1]; printed, does not raise the flag.
    """
    for name, share in (("zero_share", zero_share), ("certain_share", certain_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {share!r}")
    text = f"input gradient exactly zero on {zero_share:.1%}, p_y rounds to 1 on {certain_share:.1%}"
    values = {"zero_gradient_share": zero_share, "certain_share": certain_share}
    return Flag("GRAD0", zero_share > ZERO_GRADIENT_LIMIT, "masked", values, text)


def loss_gap_flag(paper_robust: NDArray[np.bool_], adaptive_robust: Mapping[str, NDArray[np.bool_]]) -> Flag:
    """LOSSGAP: another loss leaves more than 2 points less, beyond chance.

    Exact McNemar test on the same images; p is multiplied by the number of adaptive losses (Bonferroni),
    since the strongest is picked. A gap that is large but not significant is inconclusive: n is too small.

    Args:
        paper_robust: (N,) robust under the paper's loss.
        adaptive_robust: By name of the loss, (N,) robust under it, on the same images.
    """
    if not adaptive_robust:
        raise ValueError("adaptive_robust needs at least one loss")
    for name, flags in adaptive_robust.items():
        if flags.shape != paper_robust.shape or flags.ndim != 1 or not len(flags):
            raise ValueError(f"{name}: expected flags of shape {paper_robust.shape}, got {flags.shape}")
    best = min(adaptive_robust, key=lambda name: (float(adaptive_robust[name].mean()), name))
    # Differences of counts: 2 points of 100 images are exactly 2, not 2.0000000000000018.
    lost = int(paper_robust.sum()) - int(adaptive_robust[best].sum())
    gap = lost / len(paper_robust)
    p = min(1.0, mcnemar_exact(paper_robust, adaptive_robust[best]) * len(adaptive_robust))
    large = gap > LOSS_GAP_LIMIT
    significant = p < SIGNIFICANCE
    test = f"exact McNemar p = {p:.2g}, n = {len(paper_robust)}"
    text = f"{best} leaves {gap * 100:.1f} points less than the paper's loss ({test})"
    if large and not significant:
        text += "; n is too small to tell"
    values = {"gap": gap, "p": p, "n": float(len(paper_robust))}
    return Flag("LOSSGAP", large, "masked" if significant else "inconclusive", values, text)


def flat_flag(eps: Sequence[float], robust: Sequence[NDArray[np.bool_]], clean: NDArray[np.bool_]) -> Flag:
    """FLAT: more budget does not help the attack although it worked at first, or even helps the defender.

    Raised if accuracy at 4 eps is within 5 points of that at eps, where the latter is at least 10 points
    below the clean accuracy and the former above 5 %; or if accuracy rises between two budgets by more
    than two standard errors of the paired difference.

    Args:
        eps: Increasing budgets, at least two.
        robust: For each budget (N,) robust flags from independent runs (not chained: chaining hides a rise).
        clean: (N,) clean-correct flags of the same images.
    """
    _check_curve(eps, robust, clean)
    accuracies = [float(flags.mean()) for flags in robust]
    clean_accuracy = float(clean.mean())
    flat = [
        (small, large)
        for small, before in zip(eps, accuracies, strict=True)
        for large, after in zip(eps, accuracies, strict=True)
        if math.isclose(large, 4 * small, rel_tol=1e-6)
        and before - after < FLAT_LIMIT
        and after > FLAT_LIMIT
        and clean_accuracy - before > WELL_BELOW_CLEAN
    ]
    rises = [_rise(robust[i], robust[i + 1]) for i in range(len(robust) - 1)]
    rise = max((gain for gain, significant in rises if significant), default=0.0)
    curve = ", ".join(f"{budget * 255:.3g}/255: {value:.1%}" for budget, value in zip(eps, accuracies, strict=True))
    text = f"clean {clean_accuracy:.1%}; {curve}"
    values = {"flat_pairs": float(len(flat)), "largest_significant_rise": rise}
    return Flag("FLAT", bool(flat) or rise > 0, "masked", values, text)


def unbounded_flag(eps: float, robust: NDArray[np.bool_]) -> Flag:
    """UNBOUNDED: an L_inf budget of at least 128/255, which can turn any image grey, leaves 2 % or more.

    Raises:
        ValueError: A smaller budget: it says nothing.
    """
    if eps < UNBOUNDED_EPS - 1e-9:
        raise ValueError(f"the check needs an L_inf budget of at least 128/255, got {eps * 255:.3g}/255")
    accuracy = float(robust.mean())
    text = f"accuracy {accuracy:.1%} at {eps * 255:.3g}/255, where nothing can be robust"
    return Flag("UNBOUNDED", accuracy >= UNBOUNDED_LIMIT, "inconclusive", {"accuracy": accuracy}, text)


def blackbox_flag(white_box: NDArray[np.bool_], with_search: NDArray[np.bool_], search: str) -> Flag:
    """BLACKBOX: a search without gradients breaks more than .2 points of what gradients left (rule of AutoAttack).

    Exact McNemar test on the same images; where the gap is not significant, n is too small to tell.

    Args:
        white_box: (N,) robust under the attacks with gradients.
        with_search: (N,) robust under these and the search.
        search: Its name.
    """
    told = f"{search} breaks", "that attacks with gradients did not"
    return _taken("BLACKBOX", white_box, with_search, BLACKBOX_LIMIT, told)


def iter_flag(half: NDArray[np.bool_], full: NDArray[np.bool_], half_budget: str, full_budget: str) -> Flag:
    """ITER: doubling the budget still takes more than 1 point: the attack has not converged.

    Args:
        half: (N,) robust under half of the budget.
        full: (N,) robust under all of it.
        half_budget: What half is, such as ``"2 restarts"``.
        full_budget: What all is, such as ``"4 restarts"``.
    """
    if half.shape != full.shape or half.ndim != 1 or not len(half):
        raise ValueError(f"expected two arrays of one shape (N,), got {half.shape} and {full.shape}")
    gap = (int(half.sum()) - int(full.sum())) / len(half)
    text = f"{full_budget} leave {gap * 100:.1f} points less than {half_budget}"
    return Flag("ITER", gap > ITER_LIMIT, "inconclusive", {"gap": gap, "n": float(len(half))}, text)


def minimal_norm_flag(norms: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]]) -> Flag:
    """MINNORM: other attacks lower the mean of what an attack calls minimal norms by more than 3 %.

    A smaller perturbation of the same image that fools the same model is a fact, not a sample: no test is needed. The
    limit is the distance to which our own attack is held on models whose minimal norms are known.

    Args:
        norms: (N,) of the attack, infinite where it broke nothing, finite at least once.
        others: By name of another attack, (N,) its norms on the same images, infinite where there is none.

    Raises:
        ValueError: There is no other attack, no finite norm, or a shape differs.
    """
    if not others or not np.isfinite(norms).any():
        raise ValueError("need another attack, and an image that was broken")
    for name, found in others.items():
        if found.shape != norms.shape or norms.ndim != 1:
            raise ValueError(f"{name}: expected norms of shape {norms.shape}, got {found.shape}")
    broken = np.isfinite(norms)
    own = norms[broken]
    smallest = np.minimum.reduce([own, *(found[broken] for found in others.values())])
    mean, least = float(own.mean()), float(smallest.mean())
    best = max(others, key=lambda name: (float(np.maximum(own - others[name][broken], 0).sum()), name))
    smaller = int((smallest < own).sum())
    text = f"{best if len(others) == 1 else 'others, most of all ' + best} found smaller perturbations of "
    text += f"{smaller} of {len(own)} shared items: mean {least:.3g} instead of {mean:.3g}"
    values = {"mean": mean, "smallest": least, "n": float(len(own))}
    return Flag("MINNORM", mean > (1 + NORM_LIMIT) * least, "inconclusive", values, text)


def contradiction_flag(robust: NDArray[np.bool_], without: NDArray[np.bool_], other: str) -> Flag:
    """MINNORM of an accuracy: an attack that minimises norms broke more than .2 points of it inside the budget.

    Exact McNemar test on the same images; where the gap is not significant, n is too small to tell.

    Args:
        robust: (N,) robust under the attack.
        without: (N,) robust under it and not broken within the budget by the other.
        other: Name of the attack that minimises norms.
    """
    told = f"{other} broke", "inside the budget that this attack left"
    return _taken("MINNORM", robust, without, BLACKBOX_LIMIT, told)


def noise_flag(attacked: NDArray[np.bool_], with_noise: NDArray[np.bool_], draws: int) -> Flag:
    """NOISE: random points of the ball break more than .5 points of what gradients left: they lead nowhere.

    Exact McNemar test on the same images; where the gap is not significant, n is too small to tell.

    Args:
        attacked: (N,) robust under the attack with gradients.
        with_noise: (N,) robust under it and under random points.
        draws: Points tried for each image.
    """
    told = f"{draws} random points break", "that the attack did not"
    return _taken("NOISE", attacked, with_noise, NOISE_LIMIT, told)


def logits_flag(probabilities: bool, not_finite_share: float = 0.0) -> Flag:
    """LOGITS: the model returns probabilities, so that losses on logits are attenuated, or values that are no numbers.

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
    which images share the batch.
    """
    text = "two forward passes differ" if random else "two forward passes agree"
    text += ", a prediction changes with the rest of its batch" if batch_dependent else ""
    values = {"random": float(random), "batch_dependent": float(batch_dependent)}
    return Flag("RANDOM", random or batch_dependent, "inconclusive", values, text)


def dynamic_flag(dynamic: bool) -> Flag:
    """DYNAMIC: the forward pass takes gradients itself (purification, refinement): attacks must go through them."""
    text = "gradients are taken inside the forward pass" if dynamic else "no gradient is taken in the forward pass"
    return Flag("DYNAMIC", dynamic, "inconclusive", {"dynamic": float(dynamic)}, text)


def transfer_flag() -> Flag:
    """TRANSFER: always raised, where images of another model are all that was tried: the bound is usually loose."""
    text = "an attack without the model's own gradients: a bound that is usually loose"
    return Flag("TRANSFER", True, "inconclusive", {}, text)


def verdict(flags: Sequence[Flag]) -> Verdict:
    """Collect the checks of one robust accuracy.

    Raises:
        ValueError: A check was given twice.
    """
    names = [flag.name for flag in flags]
    if len(set(names)) != len(names):
        raise ValueError(f"every check once, got {names}")
    return Verdict(tuple(flags), tuple(name for name in CHECKS if name not in names))


def _taken(name: str, before: NDArray[np.bool_], after: NDArray[np.bool_], limit: float, told: tuple[str, str]) -> Flag:
    """Raised if more than ``limit`` is lost from ``before`` to ``after``, both (N,) of the same images: masked where
    the exact McNemar test says that it is beyond chance. ``told`` stands around the points in its sentence.
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"expected two arrays of one shape (N,), got {before.shape} and {after.shape}")
    p = mcnemar_exact(before, after)
    lost = (int(before.sum()) - int(after.sum())) / len(before)
    raised, significant = lost > limit, p < SIGNIFICANCE
    text = f"{told[0]} {100 * lost:.1f} points {told[1]} (exact McNemar p = {p:.2g}, n = {len(before)})"
    if raised and not significant:
        text += "; n is too small to tell"
    values = {"gap": lost, "p": p, "n": float(len(before))}
    return Flag(name, raised, "masked" if significant else "inconclusive", values, text)


def _check_curve(eps: Sequence[float], robust: Sequence[NDArray[np.bool_]], clean: NDArray[np.bool_]) -> None:
    if len(eps) < 2 or len(eps) != len(robust) or any(b <= a for a, b in pairwise(eps)):
        raise ValueError(f"need at least two increasing budgets with one array each, got {list(eps)}")
    if not len(clean) or any(flags.shape != clean.shape for flags in robust):
        raise ValueError(f"all flags must have the shape {clean.shape} of the clean ones, with N >= 1")


def _rise(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, bool]:
    """Gain of accuracy, and whether it exceeds two standard errors of the paired difference."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return (gained - lost) / len(before), gained - lost > 2 * math.sqrt(gained + lost)
